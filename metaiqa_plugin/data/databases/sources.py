"""What a download holds: labels in text, csv, xlsx and MATLAB files, and the images.

Everything raises a UserError that names the file, and the row where there is one.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from metaiqa_plugin.data.labels import CsvTable, number
from metaiqa_plugin.errors import UserError, needing

__all__ = [
    'Labels',
    'PublishedRow',
    'published',
    'read_csv',
    'read_lines',
    'read_mat',
    'read_sheet',
]

HEADER_ROWS = 50
UNREADABLE_MAT = (MatReadError, NotImplementedError, ValueError, TypeError)
UNREADABLE_MAT += (OSError, zlib.error)


class PublishedRow(NamedTuple):
    """One labelled image; what a database does not have is ``''`` or None.

    Attributes:
        image: path below the images folder with ``/``, or a bare name that may be
            anywhere below it; upper and lower case are not told apart.
        mos: finite, as published.
        source: file and row of the label, for messages.
        std: standard deviation of the opinions on this image.
        ref_name: file name of the pristine photo.
        distortion: type.
        level: severity, a whole number as text.
        subset: part of the database, by where its photos are from.
        group: whatever must not be torn apart by a split.
        official_split: ``train``, ``val`` or ``test``, if the authors publish one.
    """

    image: str
    mos: float
    source: str
    std: float | None = None
    ref_name: str = ''
    distortion: str = ''
    level: str = ''
    subset: str = ''
    group: str = ''
    official_split: str = ''


@dataclass(frozen=True)
class Labels:
    """All labels of a database.

    Attributes:
        rows: one per image.
        unscored: images that the database leaves without a label on purpose.
        mos_range: where it differs from that of the database's description.
        notes: what the user should know about the files read.
        judged_apart: each subset was judged by itself, so splits are of subsets.
    """

    rows: Sequence[PublishedRow]
    unscored: Sequence[str] = ()
    mos_range: tuple[float, float] | None = None
    notes: Sequence[str] = ()
    judged_apart: bool = False


def published(
    source: str,
    cells: Mapping[str, Any],
    image: str,
    mos: str,
    std: str = '',
    **told: str,
) -> PublishedRow:
    """A row of a table, whose columns ``mos`` and ``std`` hold numbers.

    A deviation may be missing or None. ``told`` are other fields of the row.

    Raises:
        UserError: a score or deviation that is not a number.
    """
    spread = cells.get(std) if std else None  # a column may have no name
    return PublishedRow(
        image,
        number(cells[mos], mos, source),
        source,
        None if spread is None else number(spread, std, source),
        **told,
    )


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """``(source, line)`` of each line that is not blank, stripped."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is not UTF-8 text (byte {error.start}); save it as UTF-8'
        ) from error
    for row, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f'{path}, row {row}', line.strip()


def read_csv(
    path: Path, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """``(source, {column: cell})`` of each row of a csv that has at least ``columns``.

    It is in UTF-8 with or without a byte order mark; cells and names are stripped.
    """
    table = CsvTable(path, 'labels')
    missing = [name for name in columns if name not in table.header]
    if missing:
        raise UserError(f'{path} has no column {missing}; it has {table.header}')
    for line, cells in table.rows():
        yield table.where(line), dict(zip(table.header, cells, strict=True))


def read_sheet(
    path: Path, columns: Sequence[str], sheet: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """``(source, {column: value})`` of each row below the header of an ``.xlsx``.

    The header is the first row with all ``columns``, and may have more; rows without a
    value in the first of them are left out. Empty cells are None. Of the workbook's
    sheets the first is read where ``sheet`` is None.
    """
    header: list[str] = []
    for row, cells in enumerate(_sheet_rows(path, sheet), start=1):
        if header:
            values = dict.fromkeys(header) | dict(zip(header, cells, strict=False))
            if values.get(columns[0]) is not None:
                yield f'{path}, row {row}', values
        elif row > HEADER_ROWS:
            break
        else:
            names = ['' if cell is None else str(cell).strip() for cell in cells]
            header = names if set(columns) <= set(names) else []
    if not header:
        raise UserError(
            f'{path}: none of the first {HEADER_ROWS} rows has all of the columns '
            f'{list(columns)}'
        )


def read_mat(path: Path, *variables: str) -> list[list[Any]]:
    """The values of each variable of a MATLAB file as a flat list.

    Text in cell arrays comes as str. All variables have one length.
    """
    try:
        content = loadmat(path, squeeze_me=True)
    except UNREADABLE_MAT as error:
        raise UserError(
            f'{path} is not a readable MATLAB file (version 5 to 7.2): {error}'
        ) from error
    missing = [name for name in variables if name not in content]
    if missing:
        known = [name for name in content if not name.startswith('__')]
        raise UserError(f'{path} has no variable {missing}; its variables are {known}')
    return [np.reshape(content[name], -1).tolist() for name in variables]


def _sheet_rows(path: Path, sheet: str | None) -> list[tuple]:
    with needing('train'):
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    unreadable = (zipfile.BadZipFile, InvalidFileException, KeyError, OSError)
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except unreadable as error:
        raise UserError(f'{path} is not a readable .xlsx file: {error}') from error
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise UserError(
                f'{path} has no sheet {sheet!r}; its sheets are {book.sheetnames}'
            )
        chosen = book.worksheets[0] if sheet is None else book[sheet]
        chosen.reset_dimensions()
        return list(chosen.iter_rows(values_only=True))
    finally:
        book.close()
