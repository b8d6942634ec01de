"""From a downloaded database to a ``meta_info`` csv that pyiqa's data sets read.

The first columns are image name and MOS, in the database's own unit; then, as far as
the database has them, ``std``, ``ref_name``, ``distortion``, ``level``, ``subset``,
``group`` and ``official_split``; then ten splits. A split never tears a group, or where
there are none a reference, apart; CID2013 is split by its subsets. Splits depend on
the score file alone: leaving images out moves none from one part to another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.data.databases.sources import Labels, PublishedRow
from metaiqa_plugin.data.images import ImagesOnDisk, name_key
from metaiqa_plugin.data.labels import (
    IMAGE_COLUMNS,
    REFERENCE_COLUMNS,
    CsvTable,
    image_and_mos,
    low_high,
    outside,
)
from metaiqa_plugin.data.splits import split_columns
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import check_output, write_table
from metaiqa_plugin.option_yaml import dump

__all__ = ['Prepared', 'as_text', 'prepare', 'prepare_csv']

COUNTED = {
    'ref_name': 'references',
    'distortion': 'types',
    'subset': 'subsets',
    'group': 'groups',
}
OPTIONAL_COLUMNS = PublishedRow._fields[3:]


@dataclass(frozen=True)
class Prepared:
    """What was written.

    Attributes:
        meta_info: the csv.
        images_folder: what its image names are relative to.
        rows: its rows; ``image`` is the name on disk.
        mos_range, lower_better: scale and direction of the scores.
        left_out: labelled images that are not on disk.
        notes: what the user should know.
    """

    meta_info: Path
    images_folder: Path
    rows: Sequence[PublishedRow]
    mos_range: tuple[float, float]
    lower_better: bool
    left_out: Sequence[str]
    notes: Sequence[str]

    def summary(self) -> str:
        """One line: how many images, references, types; the scores found."""
        counts = [f'{len(self.rows)} images']
        for column, words in COUNTED.items():
            values = {getattr(row, column) for row in self.rows} - {''}
            if values:
                counts.append(f'{len(values)} {words}')
        scores = [row.mos for row in self.rows]
        found = f'mos {as_text(min(scores))} to {as_text(max(scores))}'
        return f'{self.meta_info}: {", ".join(counts)}, {found}'

    def options(self) -> str:
        """YAML lines for the block of a pyiqa data set."""
        block = {
            'meta_info_file': os.path.abspath(self.meta_info),
            'dataroot_target': os.path.abspath(self.images_folder),
            'mos_range': list(self.mos_range),
            'lower_better': self.lower_better,
        }
        style = {'allow_unicode': True, 'default_flow_style': None, 'width': 10_000}
        return dump(block, **style).rstrip()


def prepare(
    name: str,
    root: str | os.PathLike,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    skip_missing: bool = False,
    score_range: Sequence[float] | None = None,
    groups: str | os.PathLike | None = None,
) -> Prepared:
    """Write the ``meta_info`` csv of a published database.

    Args:
        name: a key of ``DATABASES``.
        root: folder of the download.
        out: csv to write; None: ``meta_info_NAME.csv`` in ``root``.
        overwrite: replace ``out`` if it exists.
        skip_missing: leave out labelled images that are not on disk.
        score_range: (low, high), where the scores do not fit the published range.
        groups: csv of image names and ``group``, such as studies/near_duplicates.py
            writes, of images that a split keeps together; None: those of the package,
            if it has any.

    Raises:
        UserError: unknown name, incomplete download, unreadable or odd score file,
            missing images without ``skip_missing``, ``out`` in use.
    """
    if name not in DATABASES:
        raise UserError(f'database={name!r}: expected csv or one of {list(DATABASES)}')
    database, root = DATABASES[name], Path(root)
    folder = database.images_folder(root)
    groups = groups or database.groups
    inputs = [*database.labels(root), *([groups] if groups else [])]
    out = _free(out or root / database.meta_info_name, overwrite, inputs)
    labels = database.read(root)
    if groups:
        labels = _grouped(labels, groups)
    mos_range = _range(score_range) or labels.mos_range or database.mos_range
    prepared = _write(
        name, out, folder, labels, mos_range, database.lower_better, skip_missing
    )
    written = len(prepared.rows)
    if written == database.images:
        return prepared
    note = f'{written} images; the published database has {database.images}'
    return replace(prepared, notes=(*prepared.notes, note))


def prepare_csv(
    images: str | os.PathLike,
    scores: str | os.PathLike,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    skip_missing: bool = False,
    score_range: Sequence[float] | None = None,
    lower_better: bool = False,
    image_column: str | None = None,
    score_column: str | None = None,
    reference_column: str | None = None,
    group_column: str | None = None,
    groups: str | os.PathLike | None = None,
) -> Prepared:
    """Write the ``meta_info`` csv of images and scores of one's own.

    Args:
        images: folder of the images.
        scores: csv with a column of image names and one of scores.
        out: csv to write; None: ``meta_info_FOLDER.csv`` in the current folder.
        overwrite, skip_missing, groups: as for :func:`prepare`.
        score_range: (low, high) of the study; None: scores must lie in [0, 1].
        lower_better: low scores are good ones.
        image_column, score_column: None: found by name, see ``image_and_mos``.
        reference_column: images of one reference stay together in a split; None:
            ``ref_name`` or ``ref_img``, if there is one.
        group_column: images of one group stay together in a split; each reference
            must be in one group; None: ``group``, if there is one.

    Raises:
        UserError: as for :func:`prepare`; no such column.
    """
    folder = Path(images)
    if groups is not None and group_column is not None:
        raise UserError(
            f'groups={groups!r} and group_column={group_column!r}: give one'
        )
    if not folder.is_dir():
        raise UserError(f'root={str(folder)!r}: no such folder')
    table = CsvTable(scores, 'scores')
    name = folder.resolve().name
    out = Path(out or f'meta_info_{name}.csv')
    _free(out, overwrite, [scores, *([groups] if groups else [])])
    image, mos = image_and_mos(table, image_column, score_column)
    ref_name = table.column('--reference-column', reference_column, REFERENCE_COLUMNS)
    group = table.column('--group-column', group_column, ('group',))
    rows = [
        PublishedRow(
            cells[image],
            table.number(cells, mos, line),
            table.where(line),
            ref_name='' if ref_name is None else cells[ref_name],
            group='' if group is None else cells[group],
        )
        for line, cells in table.rows()
    ]
    labels = Labels(rows) if groups is None else _grouped(Labels(rows), groups)
    mos_range = _range(score_range) or (0, 1)
    return _write(name, out, folder, labels, mos_range, lower_better, skip_missing)


def _free(out: str | os.PathLike, overwrite: bool, inputs: Iterable) -> Path:
    out = check_output(out, overwrite, inputs=inputs)
    if out.suffix.lower() != '.csv':  # an image of the database, say
        raise UserError(f'out={str(out)!r}: expected a name that ends in .csv')
    return out


def _grouped(labels: Labels, groups: str | os.PathLike) -> Labels:
    """The labels with the groups of a csv; what it does not name is in none."""
    table = CsvTable(groups, 'groups')
    image = table.column('--groups', None, IMAGE_COLUMNS) or 0
    group = table.column('--groups', 'group', ())
    of = {name_key(cells[image]): cells[group] for _, cells in table.rows()}
    rows = [row._replace(group=of.get(name_key(row.image), '')) for row in labels.rows]
    if not any(row.group for row in rows):
        note = f'none of the {len(of)} images of {table.source} is in the database'
        return replace(labels, notes=(*labels.notes, note))
    return replace(labels, rows=rows)


def _range(score_range: Sequence[float] | None) -> tuple[float, float] | None:
    if score_range is None:
        return None
    bounds = low_high(score_range, 'score_range')
    return tuple(int(bound) if bound == int(bound) else bound for bound in bounds)


def _write(
    name: str,
    out: Path,
    folder: Path,
    labels: Labels,
    mos_range: tuple[float, float],
    lower_better: bool,
    skip_missing: bool,
) -> Prepared:
    """Check the labels, join them with the images, write the csv."""
    if not labels.rows:
        raise UserError(f'{name}: the score file has no row with an image')
    _check_rows(labels.rows, mos_range)
    disk = ImagesOnDisk(folder)
    images, left_out = _on_disk(name, labels.rows, disk, skip_missing)
    present = [row for row in labels.rows if row.image in images]
    rows = [row._replace(image=images[row.image]) for row in present]
    _refuse_repeated(rows)
    columns = [
        column
        for column in OPTIONAL_COLUMNS
        if any(getattr(row, column) not in ('', None) for row in rows)
    ]
    apart = labels.judged_apart
    units = {_unit(row, apart) for row in labels.rows}
    splits = split_columns(units, apart)
    table = (
        [row.image, as_text(row.mos)]
        + [as_text(getattr(row, column)) for column in columns]
        + [split[_unit(labelled, apart)] for split in splits.values()]
        for labelled, row in zip(present, rows, strict=True)
    )
    write_table(out, ['img_name', 'mos', *columns, *splits], table)
    notes = (*labels.notes, *_unscored_note(rows, labels.unscored, disk))
    return Prepared(out, folder, rows, mos_range, lower_better, left_out, notes)


def _check_rows(rows: Sequence[PublishedRow], mos_range: tuple[float, float]) -> None:
    """Every row has a name of its own, a score in the range, a group of its reference.

    Raises:
        UserError: names file and row of the first fault.
    """
    low, high = mos_range
    _refuse_repeated(rows)
    first: dict[str, PublishedRow] = {}
    for row in rows:
        if not row.image:
            raise UserError(f'{row.source}: no image name')
        if not low <= row.mos <= high:
            raise UserError(outside(row.source, row.image, row.mos, low, high))
        other = first.setdefault(row.ref_name, row)
        if row.ref_name and row.group != other.group:
            raise UserError(
                f'{row.source}: reference {row.ref_name!r} is in group {row.group!r} '
                f'here and in {other.group!r} in {other.source}; no split can keep '
                'both together (group_column)'
            )


def _refuse_repeated(rows: Sequence[PublishedRow]) -> None:
    """Raises a UserError that names both rows if an image has two."""
    seen: dict[str, PublishedRow] = {}
    for row in rows:
        other = seen.setdefault(row.image, row)
        if other is not row:
            raise UserError(
                f'{row.source}: image {row.image!r} has a second score; the first is '
                f'in {other.source}; remove one'
            )


def _on_disk(
    name: str, rows: Sequence[PublishedRow], disk: ImagesOnDisk, skip_missing: bool
) -> tuple[dict[str, str], list[str]]:
    """Names on disk by labelled name, and the labelled names that are not there."""
    found, missing = {}, []
    for row in rows:
        image = disk.find(row.image)
        if image is None:
            missing.append(row)
        else:
            found[row.image] = image
    if missing and (not skip_missing or not found):
        way_out = 'complete the folder, or leave them out with --skip-missing'
        raise UserError(
            f'{name}: {len(missing)} of {len(rows)} images are not below '
            f'{str(disk.folder)!r}, the first is {missing[0].image!r} '
            f'({missing[0].source}); {way_out if found else "is it the right folder?"}'
        )
    return found, [row.image for row in missing]


def as_text(value: str | float | None) -> str:
    """A cell; the shortest text that is exactly the number."""
    if value is None:
        return ''
    return value if isinstance(value, str) else repr(value).removesuffix('.0')


def _unit(row: PublishedRow, judged_apart: bool) -> str:
    """What a split keeps together."""
    return row.subset if judged_apart else row.group or row.ref_name or row.image


def _unscored_note(
    rows: Sequence[PublishedRow], unscored: Sequence[str], disk: ImagesOnDisk
) -> list[str]:
    """On images that lie beside the labelled ones, and are not references."""
    known = {name_key(row.image) for row in rows} | set(map(name_key, unscored))
    references = {name_key(row.ref_name) for row in rows}
    found = [
        image
        for image in disk.beside(row.image for row in rows)
        if (key := name_key(image)) not in known
        and key.rpartition('/')[2] not in references
    ]
    if not found:
        return []
    folder, first = str(disk.folder), found[0]
    return [f'{len(found)} images in {folder!r} have no score, the first is {first!r}']
