"""Reading the labels of a database: any csv with an image and a score column."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metaiqa_plugin.data.databases import describe_names
from metaiqa_plugin.data.rows import (
    WHOLE_DATABASE,
    LabelledRows,
    Row,
    read_places,
)
from metaiqa_plugin.errors import UserError

__all__ = ['DatabaseOptions', 'low_high', 'read_rows']

IMAGE_COLUMNS = ('img_name', 'dist_name', 'dist_img', 'image_name', 'image')
MOS_COLUMNS = ('mos', 'pseudo_mos', 'dmos', 'MOS')
TASK_COLUMNS = ('distortion', 'dist_type')
REFERENCE_COLUMNS = ('ref_name', 'ref_img')


@dataclass(frozen=True)
class DatabaseOptions:
    """One database, as an option block describes it.

    Attributes:
        meta_info_file: csv with one row an image; pyiqa's own files will do.
        dataroot_target: folder of the images.
        mos_range: worst-to-best scale of the study, (low, high); every label must lie
            in it.
        lower_better: whether low scores are good ones (DMOS).
        split_index: use one part of this split, named as pyiqa names it (a number) or
            by its column; None: all rows.
        split_ratio: part of the column's name when ``split_index`` is a number.
        keep_distortions: the only tasks to use, if any are named.
        exclude_distortions: tasks to leave out.
        image_column, mos_column: None: the usual names, else the first and second.
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

    @property
    def source(self) -> str:
        """The csv, for messages."""
        return os.fspath(self.meta_info_file)


def read_rows(database: DatabaseOptions, phase: str = 'train') -> LabelledRows:
    """The labelled images of one database, in the order of its csv.

    Args:
        database: where and how.
        phase: which part of the split, if there is one.

    Returns:
        rows with MOS normalised to [0, 1], higher better.

    Raises:
        UserError: no such csv, column, split or distortion; a score that is no number
            or outside ``mos_range``; an image with two rows; a reference in more than
            one part of the split. Names the file and, where there is one, the row.
    """
    if database.rows is not None:
        every = _all_rows(replace(database, rows=None))
        return every.at(read_places(database.rows, len(every)))
    try:
        with _open_csv(database.source) as file:
            return _read(csv.reader(file), database, phase)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f'meta_info_file={database.source!r} is no readable csv: {error}'
        ) from error


_READ: dict[tuple[str, int], LabelledRows] = {}


def _all_rows(database: DatabaseOptions) -> LabelledRows:
    """Read once in a process, however many parts of it are asked for."""
    path = Path(database.meta_info_file)
    key = repr(database), path.stat().st_mtime_ns if path.is_file() else 0
    if key not in _READ:
        _READ[key] = read_rows(database)
    return _READ[key]


def _read(reader, database: DatabaseOptions, phase: str) -> LabelledRows:
    header = next(reader, None)
    if not header or len(header) < 2:
        raise UserError(
            f'meta_info_file={database.source!r}: expected a csv with a header and at '
            'least image name and MOS'
        )
    layout = _Layout(header, database, phase)
    lines = (_cells(cells, layout, reader.line_num) for cells in reader if cells)
    rows = LabelledRows(layout.rows(lines), database.dataroot_target, database.source)
    layout.check_read(rows)
    return rows


def low_high(mos_range: Sequence[float]) -> tuple[float, float]:
    """The two bounds; raises UserError where they are no range."""
    try:
        low, high = (float(bound) for bound in mos_range)
    except (TypeError, ValueError):
        raise UserError(
            f'mos_range={mos_range!r}: expected two numbers, low high'
        ) from None
    if not low < high:
        raise UserError(f'mos_range={mos_range!r}: expected low < high')
    return low, high


class _Layout:
    """What the columns of one csv mean, and the checks that need all rows."""

    def __init__(
        self, header: list[str], database: DatabaseOptions, phase: str
    ) -> None:
        self.width = len(header)
        self.source = database.source
        self._database = database
        self._low, self._high = low_high(database.mos_range)
        self._phase = phase

        def find(argument: str, usual: Sequence[str], default: int | None):
            wanted = getattr(database, argument)
            return _find_column(header, argument, wanted, usual, default, self.source)

        self._image = find('image_column', IMAGE_COLUMNS, 0)
        self._mos = find('mos_column', MOS_COLUMNS, 1)
        self._task = find('task_column', TASK_COLUMNS, None)
        self._reference = find('reference_column', REFERENCE_COLUMNS, None)
        self._split = None
        if database.split_index is not None:
            self._split = _split_place(header, database)
        columns_speak = self._task is not None and self._reference is not None
        self._names_speak = False if columns_speak else None
        self._tasks: set[str] = set()
        self._elsewhere: dict[str, int] = {}

    def rows(self, lines: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
        """The rows of the wanted part and tasks."""
        keep = set(self._database.keep_distortions)
        exclude = set(self._database.exclude_distortions)
        for number, cells in lines:
            task, reference = self._task_and_reference(cells, number)
            self._tasks.add(task)
            if self._split is not None and cells[self._split] != self._phase:
                if reference:
                    self._elsewhere.setdefault(reference, number)
                continue
            if task in exclude or (keep and task not in keep):
                continue
            score = self._score(cells, number)
            yield Row(cells[self._image], score, task, reference, number)

    def check_read(self, rows: LabelledRows) -> None:
        """Raises UserError for what only shows when all rows are read."""
        if not self._tasks:
            raise UserError(f'meta_info_file={self.source!r} has no row')
        for argument in ('keep_distortions', 'exclude_distortions'):
            unknown = sorted(set(getattr(self._database, argument)) - self._tasks)
            if unknown:
                raise UserError(
                    f'{argument}={unknown}: not in {self.source}, which has '
                    f'{sorted(self._tasks)}'
                )
        if not rows:
            raise UserError(
                f'{self.source}: no row is left of split_index='
                f'{self._database.split_index!r}, part {self._phase!r}, after '
                'keep_distortions and exclude_distortions'
            )
        self._refuse_shared_references(rows)
        _refuse_duplicates(rows.images, self.source)

    def _task_and_reference(self, cells: list[str], number: int) -> tuple[str, str]:
        said = self._said_by_name(cells[self._image], number)
        task = said.distortion if said else ''
        reference = said.reference if said else ''
        if self._task is not None:
            task = cells[self._task]
        if self._reference is not None:
            reference = cells[self._reference]
        return task or WHOLE_DATABASE, reference

    def _said_by_name(self, image: str, number: int):
        """Type and reference from the file name, if the first row's name has them."""
        if self._names_speak is False:
            return None
        said = describe_names([image])
        if self._names_speak is None:
            self._names_speak = said is not None
        elif said is None:
            raise UserError(
                f'{self.source}: the name of image {image!r} (row {number}) does not '
                'say its distortion as the names before it do; add a column '
                "'distortion', or name one with task_column"
            )
        return said[0] if said else None

    def _score(self, cells: list[str], number: int) -> float:
        text, image = cells[self._mos], cells[self._image]
        try:
            value = float(text)
        except ValueError:
            value = float('nan')
        if not np.isfinite(value):
            raise UserError(
                f'{self.source}: score {text!r} of image {image!r} (row {number}) '
                'is no number'
            )
        if not self._low <= value <= self._high:
            raise UserError(
                f'{self.source}: score {text} of image {image!r} (row {number}) is '
                f'outside the range {self._low:g} to {self._high:g}; give the range '
                'of the study (mos_range)'
            )
        normalised = (value - self._low) / (self._high - self._low)
        return 1 - normalised if self._database.lower_better else normalised

    def _refuse_shared_references(self, rows: LabelledRows) -> None:
        for name in rows.references:
            if name in self._elsewhere:
                raise UserError(
                    f'{self.source}: reference {name!r} is in part {self._phase!r} '
                    f'and in another part (row {self._elsewhere[name]}) of split '
                    f'{self._database.split_index!r}; split by reference, or set '
                    'reference_column to the image column to allow it'
                )


def _open_csv(source: str):
    if not Path(source).is_file():
        raise UserError(f'meta_info_file={source!r}: no such file')
    return open(source, encoding='utf-8-sig', newline='')


def _cells(cells: list[str], layout: _Layout, number: int) -> tuple[int, list[str]]:
    if len(cells) != layout.width:
        raise UserError(
            f'{layout.source}: row {number} has {len(cells)} cells, the header has '
            f'{layout.width}'
        )
    return number, cells


def _find_column(
    header: list[str],
    argument: str,
    wanted: str | None,
    usual: Sequence[str],
    default: int | None,
    source: str,
) -> int | None:
    if wanted is not None:
        if wanted not in header:
            raise UserError(f'{argument}={wanted!r}: {source} has the columns {header}')
        return header.index(wanted)
    return next((header.index(name) for name in usual if name in header), default)


def _split_place(header: list[str], database: DatabaseOptions) -> int:
    column = database.split_index
    if isinstance(column, int):
        column = f'ratio{database.split_ratio}_seed123_split_{column:02d}'
    if column not in header:
        known = [name for name in header if 'split' in name]
        raise UserError(
            f'split_index={database.split_index!r}: {database.source} has no column '
            f'{column!r}; its splits are {known}'
        )
    return header.index(column)


def _refuse_duplicates(images: Sequence[str], source: str) -> None:
    hashes = np.fromiter((hash(name) for name in images), np.int64, len(images))
    order = np.argsort(hashes, kind='stable')
    suspects = order[1:][np.diff(hashes[order]) == 0]
    before = order[:-1][np.diff(hashes[order]) == 0]
    for first, second in zip(before.tolist(), suspects.tolist(), strict=True):
        if images[first] == images[second]:
            raise UserError(
                f'{source}: image {images[first]!r} has more than one row; keep one'
            )
