"""Databases of a benchmark file, and parts of them: some rows of a csv."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from metaiqa_plugin.data.datasets import database_options
from metaiqa_plugin.data.labels import (
    CsvTable,
    DatabaseOptions,
    read_rows,
    split_place,
)
from metaiqa_plugin.data.rows import LabelledRows, written_places
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import sha256_of

__all__ = ['LabelledDatabase', 'Part']

DEFAULTS = [(key.name, key.default) for key in fields(DatabaseOptions)]


class LabelledDatabase:
    """A labelled database of a benchmark file.

    Args:
        name: in the file.
        block: its options there, see :func:`database_options`; without a split. Of
            ``store`` see :class:`~metaiqa_plugin.data.datasets.DatasetImages`.
    """

    def __init__(self, name: str, block: Mapping[str, Any]) -> None:
        where = f'databases.{name}'
        for key in {'split_index', 'rows'} & set(block):
            raise UserError(f'{where}: {key} is for the protocol to say')
        options = {key: value for key, value in block.items() if key != 'store'}
        self.name, self.store = name, block.get('store')
        self.options = database_options({**options, 'split_index': None}, where)

    @cached_property
    def rows(self) -> LabelledRows:
        """All of it."""
        return read_rows(self.options)

    @cached_property
    def sha256(self) -> str:
        """Of its csv."""
        return sha256_of(self.options.meta_info_file)

    @cached_property
    def whole(self) -> Part:
        return self.part(range(len(self.rows)))

    def block(self, part: Part) -> dict[str, Any]:
        """Options of a dataset of the part's images alone, in its order."""
        options = replace(self.options, rows=written_places(part.rows))
        given = ((key.name, getattr(options, key.name)) for key in fields(options))
        return dict(item for item in given if item not in DEFAULTS)

    def split(self, index: int | str) -> tuple[Part, Part]:
        """Train and test part of a split of its csv.

        Raises:
            UserError: no such split, an empty part, or a reference in more than one.
        """
        table, cells = self._table
        column = split_place(table, replace(self.options, split_index=index))
        phases = np.array([cells[line][column] for line in self.rows.lines.tolist()])
        return tuple(
            self._chosen(index, phases == phase, phase) for phase in ('train', 'test')
        )

    def _chosen(self, index: int | str, rows: np.ndarray, phase: str) -> Part:
        where = f'{self.rows.sources[0]}: part {phase!r} of split {index!r}'
        references = self.rows.reference_of
        shared = {*references[rows]} & {*references[~rows]} - {-1}
        if not rows.any():
            raise UserError(f'{where} has no row')
        if shared:
            name = self.rows.references[min(shared)]
            raise UserError(
                f'{where} shares reference {name!r} with another part; split by '
                'reference, or set reference_column to the image column to allow it'
            )
        return self.part(np.flatnonzero(rows))

    @cached_property
    def _table(self) -> tuple[CsvTable, dict[int, list[str]]]:
        """Its csv and the cells of each line, read once for all splits."""
        table = CsvTable(self.options.meta_info_file, 'meta_info_file')
        return table, dict(table.rows())

    def of_type(self, task: str) -> Part:
        """Images of one distortion type."""
        code = self.rows.tasks.index(task)
        return self.part(np.flatnonzero(self.rows.task_of == code))

    def but_type(self, task: str) -> Part:
        """Images of all other types."""
        code = self.rows.tasks.index(task)
        return self.part(np.flatnonzero(self.rows.task_of != code))

    def without_groups_of(self, part: Part, other: Part) -> Part:
        """The part without the images that share a group with ``other``, or are in it.

        A group is the images of one reference, or an image that is its own.
        """
        rows = np.asarray(part.rows)
        shared = np.isin(self._groups[rows], self._groups[[*other.rows]])
        return self.part(rows[~shared])

    def one_of_each_group(self, rows: np.ndarray) -> np.ndarray:
        """Of rows in an order, the first of each group, in that order."""
        return rows[np.sort(np.unique(self._groups[rows], return_index=True)[1])]

    @cached_property
    def _groups(self) -> np.ndarray:
        """(N,) of each row, negative for one that is its own reference."""
        own = -1 - np.arange(len(self.rows))
        return np.where(self.rows.reference_of < 0, own, self.rows.reference_of)

    def types(self, part: Part) -> set[str]:
        """Distortion types of the part's images."""
        return {self.rows.tasks[code] for code in set(self.rows.task_of[[*part.rows]])}

    def files(self, part: Part) -> set[str]:
        """Images of the part, whatever name their folder goes by."""
        folder = os.path.realpath(self.rows.folders[0])
        return {os.path.join(folder, self.rows.images[index]) for index in part.rows}

    def part(self, rows: Iterable[int]) -> Part:
        return Part(self.name, tuple(int(row) for row in rows))


@dataclass(frozen=True)
class Part:
    """Some images of a database: their places in ``LabelledDatabase.rows``."""

    database: str
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)
