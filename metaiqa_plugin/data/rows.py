"""Labelled images of one or several databases, held in a few compact arrays.

A million rows of text would be a gigabyte of Python objects; here they are some tens
of bytes each.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metaiqa_plugin.data.images import ImagesOnDisk
from metaiqa_plugin.errors import UserError

__all__ = [
    'WHOLE_DATABASE',
    'Groups',
    'LabelledRow',
    'LabelledRows',
    'group_rows',
    'join_databases',
    'read_places',
    'written_places',
]

WHOLE_DATABASE = 'all'


class LabelledRow(NamedTuple):
    """One labelled image: its name, MOS in [0, 1], task and reference photo.

    An image without a reference, ``''``, is its own. ``line`` is that of the csv, for
    messages, 0 where there is none.
    """

    image: str
    mos: float
    task: str = WHOLE_DATABASE
    reference: str = ''
    line: int = 0


class LabelledRows(Sequence):
    """Read-only rows; an item is a :class:`LabelledRow`.

    Attributes:
        images: file names below their folder.
        folders: folder of each database.
        folder_of: (N,) int16, index into ``folders``.
        mos: (N,) float32 in [0, 1], higher better.
        tasks: sorted names.
        task_of: (N,) int32, index into ``tasks``.
        references: names; equal ones of different databases are different.
        reference_of: (N,) int32, index into ``references``, -1 for an image that is
            its own reference.
        sources: csv of each database.
        lines: (N,) int32, line of the csv.

    Args:
        rows: what to hold.
        folder: of the images.
        source: of the rows.
    """

    def __init__(
        self,
        rows: Iterable[LabelledRow],
        folder: str | os.PathLike = '.',
        source: str = 'rows',
    ) -> None:
        tasks: dict[str, int] = {}
        references: dict[str, int] = {}
        mos, task_of, reference_of = array('f'), array('i'), array('i')
        lines = array('i')

        def code(codes: dict[str, int], name: str) -> int:
            return codes.setdefault(name, len(codes))

        def names() -> Iterator[str]:
            for row in rows:
                mos.append(row.mos)
                lines.append(row.line)
                task_of.append(code(tasks, row.task))
                own = not row.reference
                reference_of.append(-1 if own else code(references, row.reference))
                yield row.image

        self.images: Sequence[str] = _Texts(names())
        self.folders = [Path(folder)]
        self.sources = [source]
        self.lines = np.asarray(lines, dtype=np.int32)
        self.folder_of = np.zeros(len(self.images), dtype=np.int16)
        self.mos = np.asarray(mos, dtype=np.float32)
        self.tasks = sorted(tasks)
        place = {name: index for index, name in enumerate(self.tasks)}
        places = np.asarray([place[name] for name in tasks], dtype=np.int32)
        self.task_of = places[np.asarray(task_of, dtype=np.int32)]
        self.references: Sequence[str] = _Texts(references)
        self.reference_of = np.asarray(reference_of, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> LabelledRow:
        reference = self.reference_of[index]
        return LabelledRow(
            self.images[index],
            float(self.mos[index]),
            self.tasks[self.task_of[index]],
            self.references[reference] if reference >= 0 else '',
            int(self.lines[index]),
        )

    def at(self, places: Iterable[int]) -> LabelledRows:
        """The rows at these places of one database, in this order."""
        rows = (self[place] for place in places)
        return LabelledRows(rows, self.folders[0], self.sources[0])

    def path(self, index: int) -> Path:
        """The image file of a row."""
        return self.folders[self.folder_of[index]] / self.images[index]

    def where(self, index: int) -> str:
        """The csv and line of a row, for messages."""
        return f'{self.sources[self.folder_of[index]]}, row {self.lines[index]}'

    def require_files(self, name: str) -> None:
        """Give images the names that they have on disk, see :class:`ImagesOnDisk`.

        Raises:
            UserError: with ``name``, where images are missing or in two rows.
        """
        for folder in self.folders:
            if not folder.is_dir():
                raise UserError(f'{name}: image folder {str(folder)!r} does not exist')
        missing = [
            index
            for index, image in enumerate(self.images)
            if not os.path.isfile(
                os.path.join(self.folders[self.folder_of[index]], image)
            )
        ]
        if missing:
            missing = self._look_for(missing)
        if missing:
            first = missing[0]
            raise UserError(
                f'{name}: {len(missing)} of {len(self)} images are not in '
                f'{str(self.folders[self.folder_of[first]])!r}, the first is '
                f'{self.images[first]!r} ({self.where(first)})'
            )

    def _look_for(self, missing: Sequence[int]) -> list[int]:
        """Rename those that are there under another spelling; the others."""
        disks = [ImagesOnDisk(folder) for folder in self.folders]
        found = {
            index: disks[self.folder_of[index]].find(self.images[index])
            for index in missing
        }
        self.images = _Texts(found.get(i) or name for i, name in enumerate(self.images))
        self.refuse_duplicates()
        return [index for index, name in found.items() if name is None]

    def require_spread(self) -> None:
        """Raises UserError where all MOS are the same: there is nothing to learn."""
        if len(self) > 1 and not np.ptp(self.mos):
            raise UserError(
                f'{self.sources[0]}: all {len(self)} labels are the same; there is '
                'nothing to learn from them'
            )

    def refuse_duplicates(self) -> None:
        """Raises UserError where an image of one database has two rows; names both."""
        images = self.images
        hashes = np.fromiter((hash(name) for name in images), np.int64, len(images))
        order = np.argsort(hashes, kind='stable')
        same = np.diff(hashes[order]) == 0
        pairs = zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True)
        for first, second in pairs:
            if images[first] == images[second]:
                raise UserError(
                    f'{self.where(second)}: image {images[first]!r} has a row already, '
                    f'row {self.lines[first]}; keep one'
                )


def written_places(places: Sequence[int]) -> str:
    """Places of rows as text, runs as first and last: ``'0-799,803'``."""
    places = np.asarray(places)
    first = np.flatnonzero(np.diff(places, prepend=places[:1] - 2) != 1)
    last = np.append(first[1:], len(places)) - 1
    runs = zip(places[first].tolist(), places[last].tolist(), strict=True)
    return ','.join(f'{a}-{b}' if a < b else f'{a}' for a, b in runs)


def read_places(text: str, count: int) -> np.ndarray:
    """Places that :func:`written_places` wrote, each below ``count``.

    Raises:
        UserError: other text, or a place of no row.
    """
    try:
        runs = [[int(place) for place in run.split('-')] for run in text.split(',')]
        if max(map(len, runs)) > 2:
            raise ValueError
    except (AttributeError, ValueError):
        raise UserError(f'rows={text!r}: expected places such as "0-799,803"') from None
    places = np.concatenate([np.arange(run[0], run[-1] + 1) for run in runs])
    if not len(places) or places.max() >= count:
        raise UserError(f'rows={text!r}: there are rows 0 to {count - 1}')
    return places


def join_databases(parts: Sequence[tuple[str, LabelledRows]]) -> LabelledRows:
    """Several databases as one, tasks named ``database/type``; one is left as it is."""
    if len(parts) == 1:
        return parts[0][1]
    names = [name for name, _ in parts]
    if len(set(names)) < len(names):
        raise UserError(f'databases: the names {names} are not all different')
    tables = [table for _, table in parts]
    joined = LabelledRows(
        row._replace(
            task=f'{name}/{row.task}',
            reference=row.reference and f'{name}/{row.reference}',
        )
        for name, table in parts
        for row in table
    )
    joined.references = _Texts(
        chain.from_iterable(table.references for table in tables)
    )
    joined.folders = [table.folders[0] for table in tables]
    joined.sources = [table.sources[0] for table in tables]
    joined.folder_of = np.repeat(
        np.arange(len(tables), dtype=np.int16), [len(table) for table in tables]
    )
    return joined


class Groups(NamedTuple):
    """Rows in order of task and reference.

    Attributes:
        order: (N,) int32, the rows in order.
        starts: (G + 1,) int32, where each group starts in it, and N.
        first_groups: the first group of each task, and G.
    """

    order: np.ndarray
    starts: np.ndarray
    first_groups: np.ndarray


def group_rows(rows: LabelledRows) -> Groups:
    """The groups of labelled rows; an image without a reference is one alone."""
    count = len(rows)
    alone = rows.reference_of < 0
    reference = np.where(
        alone, len(rows.references) + np.arange(count), rows.reference_of
    )
    order = np.lexsort((reference, rows.task_of)).astype(np.int32)
    task, reference = rows.task_of[order], reference[order]
    begins = np.ones(count, dtype=bool)
    begins[1:] = (np.diff(task) != 0) | (np.diff(reference) != 0)
    starts = np.flatnonzero(begins)
    first_groups = np.searchsorted(task[starts], np.arange(len(rows.tasks) + 1))
    return Groups(order, np.append(starts, count).astype(np.int32), first_groups)


class _Texts(Sequence):
    """Strings in one block of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        blob, ends = bytearray(), array('q')
        for text in texts:
            blob += text.encode('utf-8', 'surrogateescape')
            ends.append(len(blob))
        self._blob = bytes(blob)
        self._ends = np.asarray(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        start = int(self._ends[index - 1]) if index else 0
        text = self._blob[start : int(self._ends[index])]
        return text.decode('utf-8', 'surrogateescape')
