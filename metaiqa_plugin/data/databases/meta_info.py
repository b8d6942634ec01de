"""The ``meta_info`` csv of a database, as pyiqa's data sets read it.

The first columns are image name and MOS, in the database's own unit; then, as far as
the database has them, ``std``, ``ref_name``, ``distortion``, ``level``, ``subset``,
``group`` and ``official_split``; then ten splits. A split never tears a group, or where
there are none a reference, apart; CID2013 is split by its sub-sets. Splits depend on
the score file alone: leaving images out moves none from one part to another.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from metaiqa_plugin.data.databases.rows import LabelledRow
from metaiqa_plugin.data.splits import split_columns, subset_split_columns
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['as_text', 'check_rows', 'refuse_repeated', 'write_meta_info']

OPTIONAL_COLUMNS = (
    'std',
    'ref_name',
    'distortion',
    'level',
    'subset',
    'group',
    'official_split',
)


def check_rows(rows: Sequence[LabelledRow], mos_range: tuple[float, float]) -> None:
    """Every row has a name of its own, a score in the range, a group of its reference.

    Raises:
        UserError: names file and row of the first fault.
    """
    low, high = mos_range
    refuse_repeated(rows)
    first: dict[str, LabelledRow] = {}
    for row in rows:
        if not row.image:
            raise UserError(f'{row.source}: no image name')
        if not low <= row.mos <= high:
            raise UserError(
                f'{row.source}: score {row.mos} of image {row.image!r} is outside the '
                f'range {low:g} to {high:g}; if it is right, give the range '
                '(score_range, --score-range)'
            )
        other = first.setdefault(row.ref_name, row)
        if row.ref_name and row.group != other.group:
            raise UserError(
                f'{row.source}: reference {row.ref_name!r} is in group {row.group!r} '
                f'here and in {other.group!r} in {other.source}; no split can keep '
                'both together (group_column, --group-column)'
            )


def refuse_repeated(rows: Sequence[LabelledRow]) -> None:
    """Raises a UserError that names both rows if an image has two."""
    seen: dict[str, LabelledRow] = {}
    for row in rows:
        other = seen.setdefault(row.image, row)
        if other is not row:
            raise UserError(
                f'{row.source}: image {row.image!r} has a second score; the first is '
                f'in {other.source}; remove one'
            )


def write_meta_info(
    path: Path, rows: Sequence[LabelledRow], images: Mapping[str, str]
) -> None:
    """Write the csv, whole or not at all.

    Args:
        path: of the csv.
        rows: all labels; splits are made of all of them.
        images: name on disk by labelled name; rows without one are left out.
    """
    splits = _splits(rows)
    present = [row for row in rows if row.image in images]
    columns = [
        column
        for column in OPTIONAL_COLUMNS
        if any(getattr(row, column) not in ('', None) for row in present)
    ]
    with (
        replacing(path) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['img_name', 'mos', *columns, *splits])
        for row in present:
            cells = [images[row.image], as_text(row.mos)]
            cells += [as_text(getattr(row, column)) for column in columns]
            cells += [split[_unit(row)] for split in splits.values()]
            writer.writerow(cells)


def as_text(value: str | float | None) -> str:
    """A cell; the shortest text that is exactly the number."""
    if value is None:
        return ''
    return value if isinstance(value, str) else repr(value).removesuffix('.0')


def _splits(rows: Sequence[LabelledRow]) -> dict[str, dict[str, str]]:
    units = sorted({_unit(row) for row in rows})
    if all(row.subset for row in rows):
        return subset_split_columns(units)
    return split_columns(units)


def _unit(row: LabelledRow) -> str:
    """What a split keeps together."""
    return row.subset or row.group or row.ref_name or row.image
