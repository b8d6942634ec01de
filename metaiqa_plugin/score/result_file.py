"""Tables of scores: csv, JSON lines and Parquet, written row by row and resumable.

A csv or JSON-lines file gets each row as it comes, whole or not at all. A Parquet file
cannot grow: its rows are gathered in ``NAME.unfinished.jsonl`` beside it, and it is
written at the end; so is a file that replaces another, ``NAME.unfinished.rows.csv``.
Until then ``NAME.unfinished.json`` holds what the scores depend on, and afterwards
a hidden ``.NAME.settings.json``, so that no run resumes with other settings.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
from pyarrow import parquet

from metaiqa_plugin.errors import UserError, one_line
from metaiqa_plugin.files import (
    check_output,
    locked,
    replacing,
    same_settings,
    write_settings,
)
from metaiqa_plugin.score.pipeline import ScoreRow

__all__ = [
    'ERROR',
    'HEIGHT',
    'PATH',
    'WIDTH',
    'Csv',
    'JsonLines',
    'ResultFile',
    'check_table',
    'result_file',
]

PATH, WIDTH, HEIGHT, ERROR = 'path', 'width', 'height', 'error'
SUFFIXES = ('.csv', '.jsonl', '.parquet')
ROWS = 50_000
"""Of a row group of Parquet."""


class Csv:
    """Rows as comma-separated values with a header; blanks where there is nothing."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._columns = _columns(metrics)
        self.header = _csv_line(self._columns)

    def encode(self, row: ScoreRow) -> bytes:
        """A record, with the end of its last line."""
        scores = ['' if score is None else f'{score:.8g}' for score in row.scores]
        size = ['' if side is None else side for side in (row.width, row.height)]
        return _csv_line([row.path, *scores, *size, row.error])

    def decode(self, record: bytes) -> ScoreRow:
        """Inverse of :meth:`encode` but for the last digits of scores.

        Raises:
            ValueError: no such record.
        """
        text = record.decode('utf-8', 'surrogateescape')
        try:
            cells = next(csv.reader(io.StringIO(text, newline=''), strict=True), [])
        except csv.Error as error:
            raise ValueError(str(error)) from error
        if len(cells) != len(self._columns):
            raise ValueError(f'{len(cells)} cells, expected {len(self._columns)}')
        path, *scores, width, height, error = cells
        return ScoreRow(
            path,
            tuple(float(score) if score else None for score in scores),
            int(width) if width else None,
            int(height) if height else None,
            error,
        )

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole records after the header; half of one at the end is left out.

        Raises:
            UserError: the file has other columns.
        """
        whole = _csv_records(file)
        header = next(whole, b'')
        if header.removeprefix(codecs.BOM_UTF8).rstrip() != self.header.rstrip():
            raise _other_columns(file.name, self._columns)
        yield from whole


class JsonLines:
    """Rows as JSON objects, one per line; null where there is nothing."""

    header = b''

    def __init__(self, metrics: Sequence[str]) -> None:
        self._columns = _columns(metrics)

    def encode(self, row: ScoreRow) -> bytes:
        """As :meth:`Csv.encode`."""
        values = (row.path, *row.scores, row.width, row.height, row.error or None)
        line = dict(zip(self._columns, values, strict=True))
        return json.dumps(line).encode() + b'\n'

    def decode(self, record: bytes) -> ScoreRow:
        """As :meth:`Csv.decode`; no digit of a score is lost."""
        values = json.loads(record)
        if not isinstance(values, dict) or list(values) != self._columns:
            raise ValueError('other keys than expected')
        return _row_of(values.values())

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole records; half of one at the end is left out."""
        return (line for line in file if line.endswith(b'\n'))


class ResultFile:
    """A file of rows that grows; see :func:`result_file`."""

    def __init__(self, file: io.FileIO, row_format: Csv | JsonLines) -> None:
        self._file, self._format = file, row_format

    def rows(self) -> Iterator[ScoreRow]:
        """The rows that are written."""
        return _rows_of(self._file.name, self._format)

    def write(self, row: ScoreRow) -> None:
        """Append a row.

        Raises:
            UserError: the disk is full; what was written before is whole.
        """
        record = self._format.encode(row)
        before, fault = os.fstat(self._file.fileno()).st_size, 'the disk is full'
        try:
            if self._file.write(record) == len(record):
                return
        except OSError as error:
            fault = error.strerror
        self._file.truncate(before)
        raise UserError(
            f'{self._file.name!r} cannot be written ({fault}); make room and continue '
            'with --resume'
        )


def _rows_of(
    path: str | os.PathLike, row_format: Csv | JsonLines, unfinished: bool = False
) -> Iterator[ScoreRow]:
    """Rows of a file, but for half of one at its end.

    Args:
        path: an empty file has none.
        row_format: how they are written.
        unfinished: the run that wrote it was stopped; it may end in half a row that
            looks whole.

    Raises:
        UserError: the file has other columns, or is damaged elsewhere.
    """

    def damaged(record: bytes) -> UserError:
        return UserError(
            f'{os.fspath(path)!r} has a line that is not a row of this table: '
            f'{record[:80]!r}; mend it, or give another --out'
        )

    def is_row(line: bytes) -> bool:
        with contextlib.suppress(ValueError):
            row_format.decode(line)
            return line.endswith(b'\n')
        return False

    if not os.path.getsize(path):
        return
    with open(path, 'rb') as file:
        whole = len(file.readline()) if row_format.header else 0
        file.seek(0)
        for record in row_format.records(file):
            try:
                row = row_format.decode(record)
            except ValueError as error:
                raise damaged(record) from error
            yield row
            whole += len(record)
        file.seek(whole)
        rest = file.readlines()
    if any(map(is_row, rest)) or (rest and rest[-1].endswith(b'\n') and not unfinished):
        raise damaged(rest[0])


class _Table:
    """Where a table is, and the files beside it while it is not finished.

    Attributes:
        mark: what the scores depend on; there while it is unfinished.
        settings: the same of a finished table.
        growing: the file that takes rows.
        unfinished: whether an earlier run was stopped.
    """

    def __init__(
        self, path: Path, metrics: Sequence[str], resume: bool, overwrite: bool
    ) -> None:
        if path.suffix not in SUFFIXES:
            raise UserError(
                f'out={str(path)!r}: expected a name that ends in {", ".join(SUFFIXES)}'
            )
        self.path = path
        self.parquet = _Parquet(path, metrics) if path.suffix == '.parquet' else None
        self.row_format = Csv(metrics) if path.suffix == '.csv' else JsonLines(metrics)
        rows_end = 'jsonl' if self.parquet else f'rows{path.suffix}'
        self.mark, self.lock, self.beside = (
            path.with_name(f'{path.name}.unfinished.{end}')
            for end in ('json', 'lock', rows_end)
        )
        self.settings = path.with_name(f'.{path.name}.settings.json')
        self.unfinished = self.mark.exists()
        replaced = path.exists() if overwrite else self.beside.exists()
        aside = self.parquet or (replaced and (overwrite or self.unfinished))
        self.growing = self.beside if aside else path
        self._resume = resume

    def earlier(self) -> Iterable[ScoreRow]:
        """Rows of an earlier run, where it is to be continued."""
        begun = self.path if not self.unfinished else self.growing
        if not self._resume or not begun.exists():
            return ()
        if self.parquet and not self.unfinished:
            return self.parquet.rows()
        return _rows_of(begun, self.row_format, self.unfinished)

    def check(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Raises UserError for what :func:`check_table` names."""
        if not (self._resume or overwrite) and (self.path.exists() or self.unfinished):
            raise UserError(
                f'out={str(self.path)!r} '
                f'{"is unfinished" if self.unfinished else "exists"}; continue '
                'with --resume, or replace it with --overwrite'
            )
        if self._resume and self.unfinished:
            same_settings(self.mark, settings)
        elif self._resume and self.path.exists() and self.settings.exists():
            same_settings(self.settings, settings)
        next(iter(self.earlier()), None)


def check_table(
    path: str | os.PathLike,
    metrics: Sequence[str],
    settings: dict[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike] = (),
) -> None:
    """Find out what :func:`result_file` would, before any work is done.

    Args:
        inputs: see :func:`check_output`.

    Raises:
        UserError: as :func:`result_file`; but rows after the first are not looked at.
    """
    table = _Table(Path(path), metrics, resume, overwrite)
    check_output(path, overwrite=True, inputs=inputs)
    table.check(settings, overwrite)


@contextlib.contextmanager
def result_file(
    path: str | os.PathLike,
    metrics: Sequence[str],
    settings: dict[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    retry: bool = False,
) -> Iterator[ResultFile]:
    """A table to write rows to; complete when the block succeeds.

    After an error it holds the rows so far, and ``resume`` continues it.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.parquet``.
        metrics: names of the columns of scores.
        settings: what the scores depend on, as JSON; kept for ``resume``.
        resume: keep what is written; a file that is not there is begun.
        overwrite: replace it, once the new rows are all there.
        retry: with ``resume``: leave out the rows that have an error.

    Raises:
        UserError: another suffix; the file is there and neither is asked for; other
            metrics or settings than those it was begun with; damage; or another run is
            writing.
    """
    table = _Table(Path(path), metrics, resume, overwrite)
    check_output(path, overwrite=True)
    table.check(settings, overwrite)
    path, mark = table.path, table.mark
    busy = f'{str(path)!r} is being written by another run; wait, or give another --out'
    with locked(table.lock, busy), _removed(table.lock):
        with replacing(table.growing) as temporary, temporary.open('wb') as file:
            file.write(table.row_format.header)
            for row in table.earlier():
                if not (retry and row.error):
                    file.write(table.row_format.encode(row))
        if table.growing == path:
            table.beside.unlink(missing_ok=True)
        with open(str(table.growing), 'ab', buffering=0) as file:
            write_settings(mark, settings)
            rows = ResultFile(file, table.row_format)
            yield rows
        if table.parquet:
            table.parquet.write(rows.rows())
            table.growing.unlink()
        elif table.growing != path:
            os.replace(table.growing, path)
        if settings:
            os.replace(mark, table.settings)
        else:
            mark.unlink()


@contextlib.contextmanager
def _removed(lock: Path) -> Iterator[None]:
    """Remove the lock file at the end; in Windows one that is open stays."""
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            lock.unlink(missing_ok=True)


class _Parquet:
    """A whole table."""

    def __init__(self, path: Path, metrics: Sequence[str]) -> None:
        self._path = path
        types = ['string', *['float64'] * len(metrics), 'int32', 'int32', 'string']
        named = zip(_columns(metrics), types, strict=True)
        self._schema = pyarrow.schema(
            [(name, getattr(pyarrow, kind)()) for name, kind in named]
        )

    def rows(self) -> Iterator[ScoreRow]:
        """Rows of the file that is there.

        Raises:
            UserError: it has other columns, or is damaged.
        """
        try:
            with parquet.ParquetFile(self._path) as file:
                if file.schema_arrow.names != self._schema.names:
                    raise _other_columns(str(self._path), self._schema.names)
                for batch in file.iter_batches(ROWS):
                    for values in batch.to_pylist():
                        yield _row_of(values.values())
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(
                f'{str(self._path)!r} cannot be read as Parquet ({one_line(error)}); '
                'give --overwrite, or another --out'
            ) from error

    def write(self, rows: Iterator[ScoreRow]) -> None:
        lines = (
            [_valid(row.path), *row.scores, row.width, row.height, _valid(row.error)]
            for row in rows
        )
        with (
            replacing(self._path) as temporary,
            parquet.ParquetWriter(temporary, self._schema) as writer,
        ):
            while some := list(itertools.islice(lines, ROWS)):
                arrays = [list(column) for column in zip(*some, strict=True)]
                writer.write_table(pyarrow.table(arrays, schema=self._schema))


def _valid(text: str) -> str | None:
    """Text for Parquet, which takes no bytes that are not UTF-8; None for none."""
    return text.encode('utf-8', 'backslashreplace').decode() or None


def _columns(metrics: Sequence[str]) -> list[str]:
    return [PATH, *metrics, WIDTH, HEIGHT, ERROR]


def _row_of(values: Iterable[Any]) -> ScoreRow:
    """A row from the values of its columns."""
    path, *scores, width, height, error = values
    return ScoreRow(path or '', tuple(scores), width, height, error or '')


def _other_columns(name: str, columns: Sequence[str]) -> UserError:
    return UserError(
        f'{name!r} has other columns than {",".join(columns)}; give the same metrics '
        'in the same order, or another --out'
    )


def _csv_line(cells: Sequence) -> bytes:
    line = io.StringIO(newline='')
    # the module csv leaves a carriage return bare, and cannot read that
    bare = any('\r' in str(cell) for cell in cells)
    quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    csv.writer(line, lineterminator='\n', quoting=quoting).writerow(cells)
    return line.getvalue().encode('utf-8', 'surrogateescape')


def _csv_records(file: BinaryIO) -> Iterator[bytes]:
    """Records may have ends of lines inside of quotes."""
    lines, open_quote = [], False
    for line in file:
        lines.append(line)
        open_quote ^= line.count(b'"') % 2 == 1
        if not open_quote and line.endswith(b'\n'):
            yield b''.join(lines)
            lines = []
