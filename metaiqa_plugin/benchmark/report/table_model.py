"""Tables as data, and how a number is written in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ['NONE', 'TITLES', 'Cell', 'Column', 'Row', 'Table', 'decimals']
__all__ += ['duration', 'number_cell', 'text_cell']

NONE = '-'
TITLES = {
    'srocc': 'SROCC',
    'plcc': 'PLCC',
    'plcc_logistic': 'PLCC, logistic fit',
    'krocc': 'KROCC',
    'rmse': 'RMSE',
}


@dataclass(frozen=True)
class Cell:
    """What a table shows in one place.

    Attributes:
        text: shown.
        key: what sorting goes by; None comes last.
        best: the best of its group.
        state: ``'open'``, ``'missing'``, ``'nan'`` or ``''``.
        hint: the whole of what ``text`` shortens.
        link: the id of what it leads to on the page.
    """

    text: str
    key: float | str | None = None
    best: bool = False
    state: str = ''
    hint: str = ''
    link: str = ''


@dataclass(frozen=True)
class Column:
    """A column: its title, the title it shares with its neighbours, its kind."""

    title: str
    group: str = ''
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """A row; kind is ``'own'``, ``'published'`` or ``'summary'`` (stays below)."""

    cells: Sequence[Cell]
    kind: str = 'own'


@dataclass(frozen=True)
class Table:
    """A table with remarks below it."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Titles over neighbouring columns, and over how many; none: empty."""
        groups: list[tuple[str, int]] = []
        for column in self.columns:
            if groups and groups[-1][0] == column.group:
                groups[-1] = (column.group, groups[-1][1] + 1)
            else:
                groups.append((column.group, 1))
        return groups if any(title for title, _ in groups) else []


def text_cell(text: str) -> Cell:
    """Sorted by name."""
    return Cell(text, text)


def number_cell(value: float | None) -> Cell:
    """A number that is there or is not."""
    if value is None or math.isnan(value):
        return Cell(NONE)
    return Cell(decimals(value), value)


def decimals(value: float) -> str:
    """Three of them, and no minus before zero."""
    text = f'{value:.3f}'
    return text[1:] if float(text) == 0 and text.startswith('-') else text


def duration(seconds: float) -> str:
    """``'2 h 03 min'``, ``'4 min 05 s'`` or ``'6.5 s'``."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60:,} h {minutes % 60:02d} min'
