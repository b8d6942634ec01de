"""Labels of images: the one reader of csv files, and what their columns mean."""

from __future__ import annotations

import codecs
import csv
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from metaiqa_plugin.data.databases.names import NameParts, describe_name
from metaiqa_plugin.data.images import name_below
from metaiqa_plugin.data.rows import (
    WHOLE_DATABASE,
    LabelledRow,
    LabelledRows,
    read_places,
)
from metaiqa_plugin.errors import UserError

__all__ = [
    'IMAGE_COLUMNS',
    'MOS_COLUMNS',
    'REFERENCE_COLUMNS',
    'CsvTable',
    'DatabaseOptions',
    'find_column',
    'first_two',
    'image_and_mos',
    'low_high',
    'number',
    'outside',
    'read_rows',
    'split_place',
]

IMAGE_COLUMNS = tuple(
    'path img_name dist_name dist_img image_name image filename file name '
    'img_path'.split()
)
"""Names of the column of images, in any case; the first in this order counts."""

MOS_COLUMNS = ('mos', 'score', 'pseudo_mos', 'dmos')
TASK_COLUMNS = ('distortion', 'dist_type')
REFERENCE_COLUMNS = ('ref_name', 'ref_img')
NOTHING_SAID = NameParts('', '', '')


@dataclass(frozen=True)
class DatabaseOptions:
    """One database, as an option block describes it.

    Attributes:
        meta_info_file: csv with one row per image; pyiqa's own files work.
        dataroot_target: folder of the images.
        mos_range: worst-to-best scale of the study, (low, high); every label must lie
            in it.
        lower_better: whether low scores are good ones (DMOS).
        split_index: use one part of this split, named as pyiqa names it (a number) or
            by its column; None: all rows.
        split_ratio: part of the column's name when ``split_index`` is a number.
        keep_distortions: the only tasks to use, if any are named.
        exclude_distortions: tasks to leave out.
        image_column, mos_column: None: found by name, see :func:`image_and_mos`.
        task_column: tasks are the values of this column; None: ``distortion`` or
            ``dist_type``, else the type in the file names of TID2013, KADID-10k, LIVE
            and CSIQ, else the whole database is one task. Rows whose type is blank
            are one task together.
        reference_column: None: ``ref_name`` or ``ref_img``, else the reference in the
            file names, else each image is its own reference.
        rows: use these rows alone, in this order, by their places from 0 among all
            that the other options leave, e.g. ``'0-799,803'``; None: all.
    """

    meta_info_file: str
    dataroot_target: str
    mos_range: Sequence[float] = (0, 1)
    lower_better: bool = False
    split_index: int | str | None = None
    split_ratio: str = '802'
    keep_distortions: Sequence[str] = ()
    exclude_distortions: Sequence[str] = ()
    image_column: str | None = None
    mos_column: str | None = None
    task_column: str | None = None
    reference_column: str | None = None
    rows: str | None = None

    def __post_init__(self) -> None:
        for name in ('meta_info_file', 'dataroot_target'):
            value = getattr(self, name)
            if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
                raise UserError(f'{name}={value!r}: expected a path')
        if not isinstance(self.lower_better, bool):
            raise UserError(f'lower_better={self.lower_better!r}: true or false')
        for name in ('keep_distortions', 'exclude_distortions'):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise UserError(f'{name}={value!r}: expected a list of names')
        if self.rows is not None and self.split_index is not None:
            raise UserError(
                f'rows={self.rows!r} and split_index={self.split_index!r}: give one'
            )
        low_high(self.mos_range)


class CsvTable:
    """A csv with a header, read row by row.

    In UTF-8, or in UTF-16 with a byte order mark; cells are separated by what is most
    frequent in the header of commas, semicolons and tabs.

    Attributes:
        source: the file, for messages.
        header: names of the columns, stripped.

    Args:
        path: the file.
        argument: that it was given by, for messages.
        errors: of decoding, as ``open`` has it.

    Raises:
        UserError: no such file; it is empty, or not a readable csv.
    """

    def __init__(
        self, path: str | os.PathLike, argument: str, errors: str = 'strict'
    ) -> None:
        self.source = os.fspath(path)
        self._argument, self._errors = argument, errors
        if not Path(path).is_file():
            raise UserError(f'{argument}={self.source!r}: no such file')
        self._encoding, self._delimiter = 'utf-8-sig', ','
        with suppress(OSError), open(path, 'rb') as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                self._encoding = 'utf-16'
        header = ','.join(next(self._lines(), (0, []))[1])
        self._delimiter = max(',;\t', key=header.count)
        self.header = [name.strip() for name in next(self._lines(), (0, []))[1]]
        if not self.header:
            raise UserError(f'{argument}={self.source!r} is empty')

    def rows(self, strip: bool = True) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells, stripped or not, of each row that is not blank.

        Raises:
            UserError: a row that is shorter or longer than the header; damage.
        """
        lines = self._lines()
        next(lines, None)
        for line, cells in lines:
            if len(cells) != len(self.header):
                raise UserError(
                    f'{self.where(line)}: {len(cells)} cells under {len(self.header)} '
                    'column names'
                )
            yield line, [cell.strip() for cell in cells] if strip else cells

    def where(self, line: int) -> str:
        """File and line of a row, for messages."""
        return f'{self.source}, row {line}'

    def number(self, cells: Sequence[str], place: int, line: int) -> float:
        """A finite number; where commas do not separate cells they are points.

        Raises:
            UserError: names column, cell and row.
        """
        text = cells[place]
        if self._delimiter != ',':
            text = text.replace(',', '.')
        return number(text, self.header[place], self.where(line))

    def column(
        self, argument: str, wanted: str | None, usual: Sequence[str]
    ) -> int | None:
        """Place of a column, see :func:`find_column`."""
        return find_column(self.source, self.header, argument, wanted, usual)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        try:
            with open(
                self.source, encoding=self._encoding, errors=self._errors, newline=''
            ) as file:
                reader = csv.reader(file, delimiter=self._delimiter)
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
        except (csv.Error, UnicodeError) as error:
            raise UserError(
                f'{self._argument}={self.source!r} is not a readable csv in UTF-8: '
                f'{error}; save it as UTF-8'
            ) from error
        except OSError as error:
            raise UserError(
                f'{self._argument}={self.source!r} cannot be read: {error.strerror}'
            ) from error


def find_column(
    source: str,
    header: Sequence[str],
    argument: str,
    wanted: str | None,
    usual: Sequence[str],
) -> int | None:
    """Place of a column in a table.

    Args:
        source: the table, for messages.
        header: its columns.
        argument: that names the column.
        wanted: exact name; None: the first of ``usual``, whatever its case.
        usual: names in lower case.

    Returns:
        None: there is none of the usual ones.

    Raises:
        UserError: no column ``wanted``.
    """
    if wanted is None:
        folded = [name.casefold() for name in header]
        return next((folded.index(name) for name in usual if name in folded), None)
    if wanted not in header:
        raise UserError(
            f'{source}: no column {wanted!r} ({argument}); its columns are '
            f'{list(header)}'
        )
    return header.index(wanted)


def image_and_mos(
    table: CsvTable, image_column: str | None = None, mos_column: str | None = None
) -> tuple[int, int]:
    """Places of the columns of image names and scores.

    None stands for the usual names, :data:`IMAGE_COLUMNS` and :data:`MOS_COLUMNS`, in
    any case; without a usual name of images see :func:`first_two`. A MOS beside a usual
    name is not guessed.

    Raises:
        UserError: no such column.
    """
    names = 'image_column and mos_column'
    image = table.column('image_column', image_column, IMAGE_COLUMNS)
    mos = table.column('mos_column', mos_column, MOS_COLUMNS)
    if image is None:
        first = next(table.rows(), (0, ()))[1]
        return first_two(table.source, table.header, first, names, mos)
    if mos is None or image == mos:
        raise _unclear(table.source, table.header, names)
    return image, mos


def first_two(
    source: str,
    header: Sequence[str],
    first: Sequence,
    names: str,
    mos: int | None = None,
) -> tuple[int, int]:
    """Places of images and scores in a table without a usual name of images.

    As in pyiqa's files they are the first and the second column. What is taken is said
    on stderr, once.

    Args:
        source: the table, for messages.
        header: its columns.
        first: cells of its first row; none: it has no row.
        names: the arguments that name columns, for messages.
        mos: place of the scores, if that is known.

    Raises:
        UserError: the second column has no numbers, or there is none.
    """
    numbers = len(header) > 1 and not _is_number(header[1])
    if mos == 0 or (mos is None and not (numbers and all(map(_is_number, first[1:2])))):
        raise _unclear(source, header, names)
    mos = mos or 1
    _say(
        f'{source}: takes images from column {header[0]!r} and MOS from {header[mos]!r}'
    )
    return 0, mos


def _unclear(source: str, header: Sequence[str], names: str) -> UserError:
    return UserError(
        f'{source}: which of its columns {list(header)} are image names and MOS cannot '
        f'be told; name them with {names}, or put a line of names such as image,mos '
        'above the first'
    )


@lru_cache
def _say(text: str) -> None:
    print(f'metaiqa: {text}', file=sys.stderr)


def _is_number(text: object) -> bool:
    try:
        float(str(text).replace(',', '.'))
    except ValueError:
        return False
    return True


def number(text: object, column: str, where: str) -> float:
    """A finite number from a cell; raises UserError with column, text and place."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f'{where}: {column}={text!r} is not a number')
    return value


def low_high(
    bounds: Sequence[float], argument: str = 'mos_range'
) -> tuple[float, float]:
    """The two bounds; raises UserError with the argument where they are not a range."""
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise UserError(
            f'{argument}={bounds!r}: expected two numbers, low high'
        ) from None
    if not (low < high and math.isfinite(high - low)):
        raise UserError(f'{argument}={bounds!r}: expected low < high')
    return low, high


def read_rows(
    database: DatabaseOptions, phase: str = 'train', described: bool = True
) -> LabelledRows:
    """The labelled images of one database, in the order of its csv.

    Args:
        database: where and how.
        phase: which part of the split, if there is one.
        described: false: tasks and references are not wanted.

    Returns:
        rows with MOS normalised to [0, 1], higher better.

    Raises:
        UserError: no such csv, column, split or distortion; a score that is not a
            number or outside ``mos_range``; an image with two rows; a reference in more
            than one part of the split. Names the file and, where there is one, the row.
    """
    if database.rows is not None:
        every = _all_rows(replace(database, rows=None))
        return every.at(read_places(database.rows, len(every)))
    reading = _Reading(database, phase, described)
    rows = LabelledRows(reading.rows(), database.dataroot_target, reading.table.source)
    reading.check(rows)
    rows.refuse_duplicates()
    return rows


_READ: dict[tuple[str, int], LabelledRows] = {}


def _all_rows(database: DatabaseOptions) -> LabelledRows:
    """Read once in a process, however many parts of it are asked for."""
    path = Path(database.meta_info_file)
    key = repr(database), path.stat().st_mtime_ns if path.is_file() else 0
    if key not in _READ:
        _READ[key] = read_rows(database)
    return _READ[key]


class _Reading:
    """What the columns of one csv mean, and the checks that need all rows."""

    def __init__(self, database: DatabaseOptions, phase: str, described: bool) -> None:
        self.table = table = CsvTable(database.meta_info_file, 'meta_info_file')
        self._database, self._phase = database, phase
        self._image, self._mos = image_and_mos(
            table, database.image_column, database.mos_column
        )
        self._task = self._reference = None
        if described:
            self._task = table.column('task_column', database.task_column, TASK_COLUMNS)
            self._reference = table.column(
                'reference_column', database.reference_column, REFERENCE_COLUMNS
            )
        self._split = split_place(table, database)
        self._range = low_high(database.mos_range)
        columns_speak = self._task is not None and self._reference is not None
        first = next(table.rows(), None)
        self._names_speak = described and not columns_speak and first is not None
        if self._names_speak:
            self._names_speak = describe_name(first[1][self._image]) is not None
        self._tasks: set[str] = set()
        self._elsewhere: dict[str, int] = {}

    def rows(self) -> Iterator[LabelledRow]:
        """The rows of the wanted part and tasks."""
        keep = set(self._database.keep_distortions)
        exclude = set(self._database.exclude_distortions)
        for line, cells in self.table.rows():
            task, reference = self._task_and_reference(cells, line)
            self._tasks.add(task)
            if self._split is not None and cells[self._split] != self._phase:
                if reference:
                    self._elsewhere.setdefault(reference, line)
                continue
            if task in exclude or (keep and task not in keep):
                continue
            mos = self._normalised(cells, line)
            image = name_below(self._database.dataroot_target, cells[self._image])
            yield LabelledRow(image, mos, task, reference, line)

    def check(self, rows: LabelledRows) -> None:
        """Raises UserError for what only shows when all rows are read."""
        source, database = self.table.source, self._database
        if not self._tasks:
            raise UserError(f'{source} has no row below its header')
        for argument in ('keep_distortions', 'exclude_distortions'):
            unknown = sorted(set(getattr(database, argument)) - self._tasks)
            if unknown:
                raise UserError(
                    f'{argument}={unknown}: not in {source}, which has '
                    f'{sorted(self._tasks)}'
                )
        if not rows:
            raise UserError(
                f'{source}: no row is left of split_index={database.split_index!r}, '
                f'part {self._phase!r}, after keep_distortions and exclude_distortions'
            )
        for name in rows.references:
            if name in self._elsewhere:
                raise UserError(
                    f'{source}: reference {name!r} is in part {self._phase!r} and in '
                    f'another part (row {self._elsewhere[name]}) of split '
                    f'{database.split_index!r}; split by reference, or set '
                    'reference_column to the image column to allow it'
                )

    def _task_and_reference(self, cells: list[str], line: int) -> tuple[str, str]:
        said: NameParts | None = NOTHING_SAID
        if self._names_speak:
            said = describe_name(cells[self._image])
        if said is None:
            raise UserError(
                f'{self.table.where(line)}: the name of image {cells[self._image]!r} '
                'does not say its distortion as the names before it do; add a column '
                "'distortion', or name one with task_column"
            )
        task = said.distortion if self._task is None else cells[self._task]
        reference = said.reference
        if self._reference is not None:
            reference = cells[self._reference]
        return task or WHOLE_DATABASE, reference

    def _normalised(self, cells: list[str], line: int) -> float:
        """The MOS of a row in [0, 1], higher better."""
        where, image = self.table.where(line), cells[self._image]
        if not image:
            raise UserError(f'{where}: no image name')
        value = self.table.number(cells, self._mos, line)
        low, high = self._range
        if not low <= value <= high:
            raise UserError(outside(where, image, value, low, high))
        normalised = (value - low) / (high - low)
        return 1 - normalised if self._database.lower_better else normalised


def outside(where: str, image: str, mos: float, low: float, high: float) -> str:
    """The message about a score outside its range."""
    return (
        f'{where}: score {mos:.10g} of image {image!r} is outside the range {low:g} to '
        f'{high:g}; give the range of the study (mos_range)'
    )


def split_place(table: CsvTable, database: DatabaseOptions) -> int | None:
    """Place of the column of ``split_index``, None where that is None.

    Raises:
        UserError: there is no such column.
    """
    column = database.split_index
    if column is None:
        return None
    if isinstance(column, int):
        column = f'ratio{database.split_ratio}_seed123_split_{column:02d}'
    if column not in table.header:
        known = [name for name in table.header if 'split' in name]
        raise UserError(
            f'split_index={database.split_index!r}: {table.source} has no column '
            f'{column!r}; its splits are {known}'
        )
    return table.header.index(column)
