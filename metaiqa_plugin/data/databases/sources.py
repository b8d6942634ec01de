"""Reading the score files of databases: text, csv, xlsx and MATLAB files.

Everything raises a UserError that names the file, and the row where there is one.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metaiqa_plugin.errors import UserError

__all__ = ['read_csv', 'read_lines', 'read_mat', 'read_sheet']

HEADER_ROWS = 50


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """``(source, line)`` of each line that is not blank, stripped."""
    for row, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield _source(path, row), line.strip()


def read_csv(
    path: Path, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """``(source, {column: cell})`` of each row; cells and names are stripped.

    Args:
        path: comma-separated, UTF-8 with or without a byte order mark.
        columns: names that the first line must have; it may have more.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=''))
    try:
        header = [name.strip() for name in next(reader, [])]
        _require_columns(path, header, columns)
        for cells in reader:
            source = _source(path, reader.line_num)
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(
                    f'{source}: {len(cells)} cells under {len(header)} column names'
                )
            yield (
                source,
                dict(zip(header, (cell.strip() for cell in cells), strict=True)),
            )
    except csv.Error as error:
        raise UserError(f'{_source(path, reader.line_num)}: {error}') from error


def read_sheet(
    path: Path, columns: Sequence[str], sheet: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """``(source, {column: value})`` of each row below the header.

    The header is the first row with all ``columns``; rows without a value in the first
    of them are left out. Empty cells are None.

    Args:
        path: an Excel workbook, ``.xlsx``.
        columns: names that the header must have; it may have more.
        sheet: its name; None: the first.
    """
    rows = _sheet_rows(path, sheet)
    first, header = _sheet_header(path, rows, columns)
    for row, cells in enumerate(rows[first:], start=first + 1):
        values = dict.fromkeys(header) | dict(zip(header, cells, strict=False))
        if values.get(columns[0]) is not None:
            yield _source(path, row), values


def read_mat(path: Path, *variables: str) -> list[list[Any]]:
    """The values of each variable of a MATLAB file as a flat list.

    Text in cell arrays comes as str. All variables have one length.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    unreadable = (MatReadError, NotImplementedError, ValueError, TypeError)
    try:
        content = loadmat(path, squeeze_me=True)
    except (*unreadable, OSError, zlib.error) as error:
        raise UserError(
            f'{path} is no readable MATLAB file (version 5 to 7.2): {error}'
        ) from error
    missing = [name for name in variables if name not in content]
    if missing:
        known = [name for name in content if not name.startswith('__')]
        raise UserError(f'{path} has no variable {missing}; its variables are {known}')
    return [np.reshape(content[name], -1).tolist() for name in variables]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise UserError(f'{path} can not be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is no UTF-8 text (byte {error.start}); save it as UTF-8'
        ) from error


def _sheet_rows(path: Path, sheet: str | None) -> list[tuple]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise UserError(
            f'{path}: reading it needs openpyxl; pip install openpyxl'
        ) from error
    unreadable = (zipfile.BadZipFile, InvalidFileException, KeyError, OSError)
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except unreadable as error:
        raise UserError(f'{path} is no readable .xlsx file: {error}') from error
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


def _sheet_header(
    path: Path, rows: Sequence[tuple], columns: Sequence[str]
) -> tuple[int, list[str]]:
    """How many rows end with the header, and its names."""
    for count, cells in enumerate(rows[:HEADER_ROWS], start=1):
        header = ['' if cell is None else str(cell).strip() for cell in cells]
        if set(columns) <= set(header):
            return count, header
    raise UserError(
        f'{path}: none of the first {HEADER_ROWS} rows has all of the columns '
        f'{list(columns)}'
    )


def _require_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(f'{path} has no column {missing}; it has {list(header)}')


def _source(path: Path, row: int) -> str:
    return f'{path}, row {row}'
