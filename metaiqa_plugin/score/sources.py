"""Which images: files, folders, patterns, lists, tables; and how they are read."""

from __future__ import annotations

import glob
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import pyarrow
from PIL import Image
from pyarrow import parquet

from metaiqa_plugin.data.images import as_rgb, as_seen, decoded, iterate_images
from metaiqa_plugin.data.labels import (
    IMAGE_COLUMNS,
    MOS_COLUMNS,
    CsvTable,
    find_column,
    first_two,
)
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import refuse_inputs

__all__ = ['FILE_SIZE', 'STDIN', 'Reader', 'Sources', 'file_key']

FILE_SIZE = 'size of the file'
"""In an image's ``info``: width and height before it was turned or decoded smaller."""

TABLES = ('.csv', '.parquet')
ROWS = 10_000
STDIN = '-'
FORMULAS = ('=', '+', '-', '@', '\t', '\r')
"""Beginnings of cells that spreadsheets compute."""


class Sources:
    """Paths of images as they are given to a command.

    Each of ``given`` is a file; a folder, for the images in it and its sub-folders,
    hidden ones left out; a pattern such as ``photos/**/*.jpg``; a table, ``.csv`` or
    ``.parquet``, with a column of paths; or ``-``: one path per line on standard input.
    What a table or list names need not exist (reading it tells).

    Attributes:
        left_out: suffixes of files in folders that are no images, and how many, most
            first; known when all have been iterated over.

    Args:
        given: at least one.
        column: of tables; None: the first of the usual names.
        root: folder that paths of tables and lists are below; None: as they stand.
        stdin: the list for ``-``; None: standard input.

    Raises:
        UserError: nothing is given; and when iterated, a folder, pattern or table has
            no image, or a table no such column.
    """

    def __init__(
        self,
        given: Sequence[str],
        column: str | None = None,
        root: str | None = None,
        stdin: BinaryIO | None = None,
    ) -> None:
        if not given:
            raise UserError('no images are given; name files, folders or - for a list')
        self._given, self._column, self._root = list(given), column, root
        self._stdin = stdin
        self._left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Each file once, in the order given; what is inside of a folder sorted.

        A path that a spreadsheet would take for a formula begins with ``./``.
        """
        seen: set[bytes] = set()
        self._left_out.clear()
        for name in self._given:
            for path in self._paths(name):
                key = file_key(path)
                if key not in seen:
                    seen.add(key)
                    yield f'./{path}' if path.startswith(FORMULAS) else path

    @property
    def left_out(self) -> list[tuple[str, int]]:
        return self._left_out.most_common()

    def files(self, out: str | None = None) -> list[str]:
        """All of them, sorted; of several paths to the same file the first.

        Raises:
            UserError: see :meth:`check`; or ``out`` would replace what is given.
        """
        if out is not None:
            refuse_inputs(out, 'out', self._given)
        self.check()
        once = {os.path.realpath(path): path for path in sorted(self, reverse=True)}
        return sorted(once.values())

    def check(self) -> None:
        """Find out at once what iterating would.

        Raises:
            UserError: as iterating does; and a file that is given does not exist.
        """
        for name in self._given:
            first = STDIN if name == STDIN else next(self._paths(name))
            if first == name != STDIN and not os.path.exists(name):
                raise UserError(f'images={name!r}: no such file or folder')

    def count(self) -> int | None:
        """How many there are, found by going over them; None with standard input."""
        if STDIN in self._given:
            return None
        return sum(1 for _ in self)

    def _paths(self, name: str) -> Iterator[str]:
        if name == STDIN:
            yield from self._below_root(
                map(os.fsdecode, _lines(self._stdin or sys.stdin.buffer))
            )
        elif os.path.isdir(name):
            below = iterate_images(name, 'images', self._left_out)
            found = (os.path.join(name, path) for path in below)
            yield from _some(found, f'images={name!r}: no image in this folder')
        elif name.lower().endswith(TABLES):
            found = self._below_root(self._of_table(name))
            yield from _some(found, f'images={name!r}: the table has no rows')
        elif glob.has_magic(name) and not os.path.lexists(name):
            found = filter(os.path.isfile, sorted(glob.iglob(name, recursive=True)))
            yield from _some(found, f'images={name!r}: no file matches this pattern')
        else:
            yield name

    def _below_root(self, names: Iterator[str]) -> Iterator[str]:
        return (os.path.join(self._root or '', name) for name in names)

    def _of_table(self, name: str) -> Iterator[str]:
        if not os.path.isfile(name):
            raise UserError(f'images={name!r}: no such table')
        if name.lower().endswith('.csv'):
            yield from self._of_csv(name)
        else:
            yield from self._of_parquet(name)

    def _of_csv(self, name: str) -> Iterator[str]:
        table = CsvTable(name, 'images', 'surrogateescape')
        cells_of_rows = (cells for _, cells in table.rows())
        column = self._chosen(name, table.header, cells_of_rows)
        for _, cells in table.rows(strip=False):
            if cells[column]:
                yield cells[column]

    def _of_parquet(self, name: str) -> Iterator[str]:
        try:
            file = parquet.ParquetFile(name)
            names = file.schema_arrow.names
            batches = (batch.to_pylist() for batch in file.iter_batches(1))
            cells_of_rows = (list(rows[0].values()) for rows in batches)
            column = names[self._chosen(name, names, cells_of_rows)]
            for batch in file.iter_batches(ROWS, columns=[column]):
                yield from filter(
                    None, batch.column(0).cast(pyarrow.string()).to_pylist()
                )
        except pyarrow.ArrowException as error:
            raise UserError(f'images={name!r} cannot be read: {error}') from error

    def _chosen(
        self, name: str, header: Sequence[str], rows: Iterator[Sequence]
    ) -> int:
        source, argument = f'images={name!r}', '--column'
        column = find_column(source, header, argument, self._column, IMAGE_COLUMNS)
        if column is not None:
            return column
        mos = find_column(source, header, argument, None, MOS_COLUMNS)
        return first_two(source, header, next(rows, ()), argument, mos)[0]


@dataclass(frozen=True)
class Reader:
    """Reads an image in RGB.

    Attributes:
        as_seen: turn it upright by its EXIF orientation and scale 16 bits to 8; pyiqa
            does neither, and cuts deeper pixels off at 255.
        min_side: decode a JPEG at half, a quarter or an eighth of its size where its
            shorter side stays at least this many pixels; None: never.
        root: folder that paths are below; None: the current one.
    """

    as_seen: bool = False
    min_side: int | None = None
    root: str | None = None

    def __call__(self, path: str, content: bytes | None = None) -> Image.Image:
        """The image; its ``info`` has :data:`FILE_SIZE`.

        Args:
            path: of the file.
            content: of the file, where it is in memory.

        Raises:
            UserError: the file is missing or cannot be decoded; names it.
        """

        def convert(image: Image.Image) -> Image.Image:
            size = self._drafted(image)
            image = as_seen(image) if self.as_seen else as_rgb(image)
            image.info[FILE_SIZE] = size
            return image

        return decoded(os.path.join(self.root or '', path), convert, content)

    def pixels(self, path: str, content: bytes | None = None) -> int:
        """How many it decodes, by the file's header; arguments as for the image."""

        def count(image: Image.Image) -> int:
            self._drafted(image)
            return math.prod(image.size)

        return decoded(os.path.join(self.root or '', path), count, content)

    def _drafted(self, image: Image.Image) -> tuple[int, int]:
        """Its width and height, before it is set to be decoded smaller."""
        size = image.size
        if self.min_side is not None:
            part = self.min_side / min(size)
            image.draft('RGB', tuple(math.ceil(side * part) for side in size))
        return size


def file_key(path: str) -> bytes:
    """The same for all spellings of a path, and for links to folders above the file.

    Bytes that are not UTF-8 count as what a Parquet file has in their place.
    """
    folder, name = os.path.split(path)
    real = _real(os.path.join(os.getcwd(), folder))
    return os.path.join(real, name).encode('utf-8', 'backslashreplace')


_real = lru_cache(os.path.realpath)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    for line in stream:
        name = line.rstrip(b'\r\n')
        if name:
            yield name


def _some(paths: Iterator[str], otherwise: str) -> Iterator[str]:
    """The paths; raises UserError with the message if there are none."""
    empty = True
    for path in paths:
        empty = False
        yield path
    if empty:
        raise UserError(otherwise)
