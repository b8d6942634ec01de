"""Rows as text: one record a row, which a reader can tell from half of one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.rows import ERROR, HEIGHT, PATH, WIDTH, ScoreRow, columns

__all__ = ['Csv', 'JsonLines', 'RowFormat']


class RowFormat(Protocol):
    """How rows of some metrics are written."""

    header: bytes

    def encode(self, row: ScoreRow) -> bytes:
        """A record, with the end of its last line."""

    def decode(self, record: bytes) -> ScoreRow:
        """Inverse of :meth:`encode` but for the last digits of scores.

        Raises:
            ValueError: no such record.
        """

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole records of a file after its header; a half one at its end is left out.

        Raises:
            UserError: the file has other columns.
        """


class Csv:
    """Comma-separated values with a header; blanks where there is nothing."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._columns = columns(metrics)
        self.header = _csv_line(self._columns)

    def encode(self, row: ScoreRow) -> bytes:
        scores = ['' if score is None else f'{score:.8g}' for score in row.scores]
        size = ['' if side is None else side for side in (row.width, row.height)]
        return _csv_line([row.path, *scores, *size, row.error])

    def decode(self, record: bytes) -> ScoreRow:
        text = record.decode('utf-8', 'surrogateescape')
        cells = next(csv.reader(io.StringIO(text, newline=''), strict=True))
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
        whole = _csv_records(file)
        header = next(whole, None)
        if header != self.header:
            raise UserError(
                f'{file.name!r} has other columns than {",".join(self._columns)}; give '
                'the same metrics in the same order, or another --out'
            )
        yield from whole


class JsonLines:
    """A JSON object a line; null where there is nothing."""

    header = b''

    def __init__(self, metrics: Sequence[str]) -> None:
        self._metrics = list(metrics)

    def encode(self, row: ScoreRow) -> bytes:
        scores = dict(zip(self._metrics, row.scores, strict=True))
        size = {WIDTH: row.width, HEIGHT: row.height}
        line = {PATH: row.path, **scores, **size, ERROR: row.error or None}
        return json.dumps(line).encode() + b'\n'

    def decode(self, record: bytes) -> ScoreRow:
        values = json.loads(record)
        if not isinstance(values, dict) or list(values) != columns(self._metrics):
            raise ValueError('other keys than expected')
        return ScoreRow(
            values[PATH],
            tuple(values[name] for name in self._metrics),
            values[WIDTH],
            values[HEIGHT],
            values[ERROR] or '',
        )

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        return (line for line in file if line.endswith(b'\n'))


def _csv_line(cells: Sequence) -> bytes:
    line = io.StringIO(newline='')
    # the module csv leaves a carriage return bare, and can not read that
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
