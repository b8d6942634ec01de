"""From a downloaded database to a ``meta_info`` csv that pyiqa's data sets read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metaiqa_plugin.data.databases.authentic import read_any_csv
from metaiqa_plugin.data.databases.disk import ImagesOnDisk, name_key
from metaiqa_plugin.data.databases.meta_info import (
    as_text,
    check_rows,
    refuse_repeated,
    write_meta_info,
)
from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.data.databases.rows import LabelledRow, Labels
from metaiqa_plugin.errors import UserError, real_number
from metaiqa_plugin.option_yaml import dump

__all__ = ['Prepared', 'prepare', 'prepare_csv']


@dataclass(frozen=True)
class Prepared:
    """What was written.

    Attributes:
        name: of the database.
        meta_info: the csv.
        images_folder: what its image names are relative to.
        rows: its rows; ``image`` is the name on disk.
        mos_range, lower_better: scale and direction of the scores.
        left_out: labelled images that are not on disk.
        notes: what the user should know.
    """

    name: str
    meta_info: Path
    images_folder: Path
    rows: Sequence[LabelledRow]
    mos_range: tuple[float, float]
    lower_better: bool
    left_out: Sequence[str]
    notes: Sequence[str]

    def summary(self) -> str:
        """One line: how many images, references, types; the scores found."""
        counts = [f'{len(self.rows)} images']
        for column, words in (
            ('ref_name', 'references'),
            ('distortion', 'types'),
            ('subset', 'sub-sets'),
            ('group', 'groups'),
        ):
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
        return dump(
            block,
            allow_unicode=True,
            default_flow_style=None,
            width=10_000,
        ).rstrip()


def prepare(
    name: str,
    root: str | os.PathLike,
    out: str | os.PathLike | None = None,
    force: bool = False,
    skip_missing: bool = False,
    score_range: Sequence[float] | None = None,
) -> Prepared:
    """Write the ``meta_info`` csv of a published database.

    Args:
        name: a key of ``DATABASES``.
        root: folder of the download.
        out: csv to write; None: ``meta_info_NAME.csv`` in ``root``.
        force: replace ``out`` if it exists.
        skip_missing: leave out labelled images that are not on disk.
        score_range: (low, high), where the scores do not fit the published range.

    Raises:
        UserError: unknown name, incomplete download, unreadable or odd score file,
            missing images without ``skip_missing``, ``out`` in use.
    """
    if name not in DATABASES:
        raise UserError(f'database={name!r}: expected csv or one of {list(DATABASES)}')
    database = DATABASES[name]
    root = Path(root)
    out = _free(root / f'meta_info_{name}.csv' if out is None else Path(out), force)
    folder = database.images_folder(root)
    labels = database.read(root)
    prepared = _write(
        Prepared(
            name,
            out,
            folder,
            labels.rows,
            _range(score_range) or labels.mos_range or database.mos_range,
            database.lower_better,
            (),
            tuple(labels.notes),
        ),
        labels,
        skip_missing,
    )
    written = len(prepared.rows)
    if written == database.images:
        return prepared
    note = f'{written} images; the published database has {database.images}'
    return replace(prepared, notes=(*prepared.notes, note))


def prepare_csv(
    images: str | os.PathLike,
    scores: str | os.PathLike | None,
    out: str | os.PathLike | None = None,
    force: bool = False,
    skip_missing: bool = False,
    score_range: Sequence[float] | None = None,
    lower_better: bool = False,
    image_column: str | None = None,
    score_column: str | None = None,
    reference_column: str | None = None,
    group_column: str | None = None,
) -> Prepared:
    """Write the ``meta_info`` csv of images and scores of one's own.

    Args:
        images: folder of the images.
        scores: csv with a column of image names and one of scores.
        out: csv to write; None: ``meta_info_FOLDER.csv`` in ``images``.
        force, skip_missing: as for :func:`prepare`.
        score_range: (low, high) of the study; None: scores must lie in [0, 1].
        lower_better: low scores are good ones.
        image_column, score_column: None: the usual names.
        reference_column: images of one reference stay together in a split.
        group_column: images of one group stay together in a split; each reference
            must be in one group.

    Raises:
        UserError: as for :func:`prepare`; no such column.
    """
    folder = Path(images)
    if scores is None:
        raise UserError('scores=None: name the csv with the scores (--scores)')
    if not folder.is_dir():
        raise UserError(f'root={str(folder)!r}: no such folder')
    name = folder.resolve().name
    default = folder / f'meta_info_{name}.csv'
    out = _free(default if out is None else Path(out), force)
    if out.resolve() == Path(scores).resolve():
        raise UserError(f'out={str(out)!r} is the file of scores; name another (--out)')
    labels = read_any_csv(
        Path(scores), image_column, score_column, reference_column, group_column
    )
    mos_range = _range(score_range) or (0, 1)
    planned = Prepared(
        name, out, folder, labels.rows, mos_range, lower_better, (), tuple(labels.notes)
    )
    return _write(planned, labels, skip_missing)


def _free(out: Path, force: bool) -> Path:
    if out.is_dir():
        raise UserError(f'out={str(out)!r} is a folder; name a csv file')
    if out.exists() and not force:
        raise UserError(
            f'out={str(out)!r} exists; force=True (--overwrite) replaces it, or name '
            'another file'
        )
    return out


def _range(score_range: Sequence[float] | None) -> tuple[float, float] | None:
    if score_range is None:
        return None
    if len(score_range) != 2:
        raise UserError(f'score_range={list(score_range)}: expected two numbers')
    low, high = score_range
    real_number('score_range', low)
    real_number('score_range', high)
    if not low < high:
        raise UserError(f'score_range={list(score_range)}: expected low < high')
    return tuple(int(bound) if bound == int(bound) else bound for bound in (low, high))


def _write(planned: Prepared, labels: Labels, skip_missing: bool) -> Prepared:
    """Check the labels, join them with the images, write the csv."""
    if not labels.rows:
        raise UserError(f'{planned.name}: the score file has no row with an image')
    check_rows(labels.rows, planned.mos_range)
    disk = ImagesOnDisk(planned.images_folder)
    images, left_out = _on_disk(planned, disk, skip_missing)
    rows = [
        row._replace(image=images[row.image])
        for row in labels.rows
        if row.image in images
    ]
    refuse_repeated(rows)
    try:
        write_meta_info(planned.meta_info, labels.rows, images)
    except OSError as error:
        raise UserError(
            f'out={str(planned.meta_info)!r} can not be written: {error.strerror}'
        ) from error
    notes = (*planned.notes, *_unscored_note(planned, labels, disk, rows))
    return replace(planned, rows=rows, left_out=left_out, notes=notes)


def _on_disk(
    planned: Prepared, disk: ImagesOnDisk, skip_missing: bool
) -> tuple[dict[str, str], list[str]]:
    """Names on disk by labelled name, and the labelled names that are not there."""
    found, missing = {}, []
    for row in planned.rows:
        image = disk.find(row.image)
        if image is None:
            missing.append(row)
        else:
            found[row.image] = image
    if missing and (not skip_missing or not found):
        way_out = 'complete the folder, or leave them out with --skip-missing'
        raise UserError(
            f'{planned.name}: {len(missing)} of {len(planned.rows)} images are not '
            f'below {str(planned.images_folder)!r}, the first is {missing[0].image!r} '
            f'({missing[0].source}); {way_out if found else "is it the right folder?"}'
        )
    return found, [row.image for row in missing]


def _unscored_note(
    planned: Prepared,
    labels: Labels,
    disk: ImagesOnDisk,
    rows: Sequence[LabelledRow],
) -> list[str]:
    """On images that lie beside the labelled ones, and are no references."""
    known = {name_key(row.image) for row in rows}
    known |= {name_key(image) for image in labels.unscored}
    references = {name_key(row.ref_name) for row in rows}
    unscored = []
    for image in disk.beside(row.image for row in rows):
        key = name_key(image)
        if key not in known and key.rpartition('/')[2] not in references:
            unscored.append(image)
    if not unscored:
        return []
    return [
        f'{len(unscored)} images in {str(planned.images_folder)!r} have no score, the '
        f'first is {unscored[0]!r}'
    ]
