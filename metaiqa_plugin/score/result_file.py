"""Tables of scores: csv, JSON lines and Parquet, written row by row and resumable.

A csv or JSON-lines file gets each row as it comes, whole or not at all. A Parquet file
cannot grow: its rows are gathered in ``NAME.unfinished.jsonl`` beside it, and it is
written at the end; so is a file that replaces another, ``NAME.unfinished.rows.csv``.
Until then ``NAME.unfinished.json`` holds what the scores depend on, so that no run
resumes with other settings.
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

from metaiqa_plugin.errors import UserError
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
        if header != self.header:
            raise UserError(
                f'{file.name!r} was saved by another program, with a byte order mark '
                'or other ends of lines; save it as UTF-8 with line feeds, or give '
                'another --out'
            )
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

    def clear(self) -> None:
        """Start with no rows."""
        self._file.truncate(0)
        self._append(self._format.header)

    def repair(self, unfinished: bool) -> None:
        """Cut off half a row at the end, which a full disk or lost power may leave.

        Args:
            unfinished: the run that wrote it was stopped.

        Raises:
            UserError: the file has other columns, or is damaged elsewhere.
        """
        if self._size() == 0:
            self.clear()
            return
        whole = len(self._format.header)
        for record, _ in self._records():
            whole += len(record)
        with open(self._file.name, 'rb') as file:
            file.seek(whole)
            rest = file.readlines()
        if any(map(self._is_row, rest)) or (
            rest and rest[-1].endswith(b'\n') and not unfinished
        ):
            raise self._damaged(rest[0])
        self._file.truncate(whole)

    def rows(self) -> Iterator[ScoreRow]:
        """The rows that are written."""
        for _, row in self._records():
            yield row

    def write(self, row: ScoreRow) -> None:
        """Append a row.

        Raises:
            UserError: the disk is full; what was written before is whole.
        """
        self._append(self._format.encode(row))

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _append(self, record: bytes) -> None:
        before, fault = self._size(), 'the disk is full'
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

    def _records(self) -> Iterator[tuple[bytes, ScoreRow]]:
        with open(self._file.name, 'rb') as file:
            for record in self._format.records(file):
                try:
                    row = self._format.decode(record)
                except ValueError as error:
                    raise self._damaged(record) from error
                yield record, row

    def _is_row(self, line: bytes) -> bool:
        try:
            self._format.decode(line)
        except ValueError:
            return False
        return line.endswith(b'\n')

    def _damaged(self, record: bytes) -> UserError:
        return UserError(
            f'{self._file.name!r} has a line that is not a row of this table: '
            f'{record[:80]!r}; mend it, or give another --out'
        )


@contextlib.contextmanager
def result_file(
    path: str | os.PathLike,
    metrics: Sequence[str],
    settings: dict[str, Any],
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[ResultFile]:
    """A table to write rows to; complete when the block succeeds.

    After an error it holds the rows so far, and ``resume`` continues it.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.parquet``.
        metrics: names of the columns of scores.
        settings: what the scores depend on, as JSON.
        resume: keep what is written; a file that is not there is begun.
        overwrite: replace it, once the new rows are all there.

    Raises:
        UserError: another suffix; the file is there and neither is asked for; other
            metrics or settings than those it was begun with; or another run is writing.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(
            f'out={str(path)!r}: expected a name that ends in {", ".join(SUFFIXES)}'
        )
    parquet = path.suffix == '.parquet'
    rows_end = 'jsonl' if parquet else f'rows{path.suffix}'
    mark, lock, beside = (
        path.with_name(f'{path.name}.unfinished.{end}')
        for end in ('json', 'lock', rows_end)
    )
    unfinished = mark.exists()
    replaced = path.exists() if overwrite else unfinished and beside.exists()
    growing = beside if parquet or replaced else path
    finished = path.exists() and not unfinished
    if not (resume or overwrite) and (path.exists() or unfinished):
        raise UserError(
            f'out={str(path)!r} {"exists" if finished else "is unfinished"}; continue '
            'with --resume, or replace it with --overwrite'
        )
    if resume and unfinished:
        same_settings(mark, settings)
    table = _Parquet(path, metrics) if parquet else None
    earlier = table.rows() if parquet and resume and finished else ()
    check_output(path, overwrite=True)
    row_format = Csv(metrics) if path.suffix == '.csv' else JsonLines(metrics)
    busy = f'{str(path)!r} is being written by another run; wait, or give another --out'
    with locked(lock, busy), _removed(lock):
        with open(str(growing), 'ab', buffering=0) as file:
            rows = ResultFile(file, row_format)
            if growing == path:
                beside.unlink(missing_ok=True)
            if resume and (unfinished or growing == path):
                rows.repair(unfinished)
            else:
                rows.clear()
            for row in earlier:
                rows.write(row)
            write_settings(mark, settings)
            yield rows
        if parquet:
            table.write(rows.rows())
            growing.unlink()
        elif growing != path:
            os.replace(growing, path)
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
        """Rows of the file that is there; raises UserError for other columns."""
        file = parquet.ParquetFile(self._path)
        if file.schema_arrow.names != self._schema.names:
            raise _other_columns(str(self._path), self._schema.names)
        return (
            _row_of(values.values())
            for batch in file.iter_batches(ROWS)
            for values in batch.to_pylist()
        )

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
