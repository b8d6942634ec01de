"""A table of rows that grows while images are scored, and can be gone on with.

A csv or JSON-lines file gets each row as it comes, whole or not at all. A Parquet file
can not grow: its rows are gathered in ``NAME.unfinished.jsonl`` beside it, and it is
written at the end. Until then ``NAME.unfinished.json`` holds what the scores depend on,
so that nobody goes on with other settings.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.files import replacing
from metaiqa_plugin.score.formats import Csv, JsonLines, RowFormat
from metaiqa_plugin.score.rows import ERROR, HEIGHT, PATH, WIDTH, ScoreRow, columns

__all__ = ['ResultFile', 'result_file']

SUFFIXES = ('.csv', '.jsonl', '.parquet')
ROWS = 50_000


class ResultFile:
    """What :func:`result_file` gives."""

    def __init__(self, path: Path, row_format: RowFormat) -> None:
        self._path, self._format = path, row_format
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise UserError(
                f'{str(path)!r} is being written by another run; wait for it, or give '
                'another --out'
            ) from error

    def clear(self) -> None:
        """Start with no rows."""
        os.ftruncate(self._file, 0)
        self._append(self._format.header)

    def repair(self) -> None:
        """Cut off half a row at the end, which a full disk or lost power may leave.

        Raises:
            UserError: the file has other columns, or is damaged elsewhere.
        """
        if os.fstat(self._file).st_size == 0:
            self.clear()
            return
        whole = len(self._format.header)
        with self._path.open('rb') as file:
            for record in self._format.records(file):
                self._decoded(record)
                whole += len(record)
        os.ftruncate(self._file, whole)

    def rows(self) -> Iterator[ScoreRow]:
        """The rows that are written."""
        with self._path.open('rb') as file:
            for record in self._format.records(file):
                yield self._decoded(record)

    def write(self, row: ScoreRow) -> None:
        """Append a row.

        Raises:
            UserError: the disk is full; what was written before is whole.
        """
        self._append(self._format.encode(row))

    def close(self) -> None:
        os.close(self._file)

    def _append(self, record: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, record)
        except OSError as error:
            os.ftruncate(self._file, before)
            raise UserError(
                f'{str(self._path)!r} can not be written: {error}'
            ) from error
        if written < len(record):
            os.ftruncate(self._file, before)
            raise UserError(
                f'{str(self._path)!r}: the disk is full; make room and go on with '
                '--resume'
            )

    def _decoded(self, record: bytes) -> ScoreRow:
        try:
            return self._format.decode(record)
        except (ValueError, StopIteration) as error:
            raise UserError(
                f'{str(self._path)!r} has a line that is no row of such a table: '
                f'{record[:80]!r}; give another --out'
            ) from error


@contextmanager
def result_file(
    path: str | os.PathLike,
    metrics: Sequence[str],
    settings: dict,
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[ResultFile]:
    """A table to write rows to; complete when the block succeeds.

    After an error it holds the rows so far, and ``resume`` goes on.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.parquet``.
        metrics: names of the columns of scores.
        settings: what the scores depend on, as JSON.
        resume: keep what is written; a file that is not there is begun.
        overwrite: replace it.

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
    growing = path.with_name(f'{path.name}.unfinished.jsonl') if parquet else path
    mark = path.with_name(f'{path.name}.unfinished.json')
    begun = mark.exists()
    if not resume and not overwrite and (path.exists() or begun):
        what = 'is unfinished' if begun else 'exists'
        raise UserError(
            f'out={str(path)!r} {what}; go on with --resume, or replace it with '
            '--overwrite'
        )
    if resume and begun:
        _check_settings(mark, settings)
    before = resume and parquet and not begun and path.exists()
    if before:
        _check_columns(path, metrics)
    path.parent.mkdir(parents=True, exist_ok=True)
    row_format = Csv(metrics) if path.suffix == '.csv' else JsonLines(metrics)
    rows = ResultFile(growing, row_format)
    try:
        if resume:
            rows.repair()
        else:
            rows.clear()
        if before:
            for row in _parquet_rows(path, metrics):
                rows.write(row)
        with replacing(mark) as temporary:
            temporary.write_text(json.dumps(settings, indent=2), encoding='utf-8')
        yield rows
        if parquet:
            _write_parquet(path, metrics, rows.rows())
            growing.unlink()
        mark.unlink()
    finally:
        rows.close()


def _check_settings(mark: Path, settings: dict) -> None:
    """Raises UserError where a run was begun with others."""
    before = json.loads(mark.read_text(encoding='utf-8'))
    settings = json.loads(json.dumps(settings))
    for name in {**before, **settings}:
        if before.get(name) != settings.get(name):
            raise UserError(
                f'resume: the unfinished run had {name}={before.get(name)!r}, this one '
                f'has {settings.get(name)!r}; give the same, or --overwrite'
            )


def _write_parquet(
    path: Path, metrics: Sequence[str], rows: Iterator[ScoreRow]
) -> None:
    with needing('tables'):
        import pyarrow
        import pyarrow.parquet
    schema = pyarrow.schema(
        [
            (PATH, pyarrow.string()),
            *((name, pyarrow.float64()) for name in metrics),
            (WIDTH, pyarrow.int32()),
            (HEIGHT, pyarrow.int32()),
            (ERROR, pyarrow.string()),
        ]
    )
    with (
        replacing(path) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
    ):
        for some in _chunks(rows):
            lines = [
                [
                    _valid(row.path),
                    *row.scores,
                    row.width,
                    row.height,
                    _valid(row.error),
                ]
                for row in some
            ]
            arrays = [list(column) for column in zip(*lines, strict=True)]
            writer.write_table(pyarrow.table(arrays, schema=schema))


def _check_columns(path: Path, metrics: Sequence[str]) -> None:
    """Raises UserError where a Parquet file is of other metrics."""
    with needing('tables'):
        import pyarrow.parquet
    if pyarrow.parquet.read_schema(path).names != columns(metrics):
        raise UserError(
            f'{str(path)!r} has other columns than {",".join(columns(metrics))}; give '
            'the same metrics in the same order, or another --out'
        )


def _parquet_rows(path: Path, metrics: Sequence[str]) -> Iterator[ScoreRow]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(ROWS):
        for values in batch.to_pylist():
            scores = tuple(values[name] for name in metrics)
            error = values[ERROR] or ''
            yield ScoreRow(values[PATH], scores, values[WIDTH], values[HEIGHT], error)


def _chunks(rows: Iterator[ScoreRow]) -> Iterator[list[ScoreRow]]:
    while some := list(itertools.islice(rows, ROWS)):
        yield some


def _valid(text: str) -> str | None:
    """Text for Parquet, which takes no bytes that are not UTF-8; None for none."""
    return text.encode('utf-8', 'backslashreplace').decode() or None
