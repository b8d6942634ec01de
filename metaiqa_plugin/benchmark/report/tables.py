"""Tables as data: how numbers are written in one, and what is said below it.

Also the tables of what is finished and how long it took.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pandas as pd

from metaiqa_plugin.benchmark.report.summaries import Cells, Summary, decimals, measured

__all__ = ['NONE', 'TITLES', 'Entry', 'Table', 'cells_table', 'columns_of']
__all__ += ['count_entry', 'deviation_entry', 'duration', 'mean_entry', 'missing_entry']
__all__ += ['nan_notes', 'number_entry', 'overview_table', 'text_entry']
__all__ += ['unfinished_table']

TITLES = {
    'srocc': 'SROCC',
    'plcc': 'PLCC',
    'plcc_logistic': 'PLCC, logistic fit',
    'krocc': 'KROCC',
    'rmse': 'RMSE',
}
LONGEST_PROBLEM = 48
WHY_NAN = {
    'srocc': 'SROCC does not exist in {} of its cells (a constant or a missing '
    'prediction), and so neither does its mean over them.',
    'plcc_logistic': 'the logistic fit failed in {} of its cells, so the measures '
    'taken after it have no mean.',
}


@dataclass(frozen=True)
class Entry:
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


NONE = Entry('-')


@dataclass(frozen=True)
class Table:
    """A table with remarks below it.

    Attributes:
        caption: its name.
        columns: by title; a pair is the title over neighbouring columns and the title.
        notes: remarks.
        published: how many of the last rows are figures of others.
        summary: the last row is an average, which stays below the others.
    """

    caption: str
    columns: Mapping[str | tuple[str, str], Sequence[Entry]]
    notes: Sequence[str] = ()
    published: int = 0
    summary: bool = False

    @property
    def titles(self) -> list[tuple[str, str, bool]]:
        """Of each column: shared title or '', title, whether it holds numbers."""
        return [
            (
                *(('', key) if isinstance(key, str) else key),
                not any(isinstance(entry.key, str) for entry in entries),
            )
            for key, entries in self.columns.items()
        ]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Titles over neighbouring columns, and over how many; none: empty."""
        shared = groupby(group for group, _, _ in self.titles)
        groups = [(group, len(list(same))) for group, same in shared]
        return groups if any(title for title, _ in groups) else []

    @property
    def rows(self) -> list[tuple[str, Sequence[Entry]]]:
        """Each and what it is: ``'own'``, ``'published'``, ``'summary'``."""
        rows = list(zip(*self.columns.values(), strict=True))
        kinds = ['own'] * (len(rows) - self.published) + ['published'] * self.published
        if self.summary:
            kinds[-1] = 'summary'
        return list(zip(kinds, rows, strict=True))


def columns_of(rows: Sequence[Mapping[Any, Entry]]) -> dict[Any, list[Entry]]:
    """Columns of rows that have the same titles."""
    return {title: [row[title] for row in rows] for title in rows[0]}


def text_entry(text: str) -> Entry:
    """Sorted by name."""
    return Entry(text, text)


def number_entry(value: float | None) -> Entry:
    """A number that is there or is not."""
    if value is None or math.isnan(value):
        return NONE
    return Entry(decimals(value), value)


def count_entry(cells: Cells) -> Entry:
    """How many are finished."""
    return Entry(f'{len(cells.finished)}/{len(cells)}', len(cells.finished))


def mean_entry(item: Summary, best: bool = False, brief: bool = False) -> Entry:
    """A mean, or what became of it; brief: said elsewhere in the row."""
    if not item.numbers:
        return NONE if brief else missing_entry(item)
    if math.isnan(item.mean):
        return Entry('NaN', state='nan')
    return Entry(decimals(item.mean), item.mean, best)


def deviation_entry(item: Summary, best: bool, deviation: float) -> Entry:
    """A mean ± what there is, and how many cells it is of unless that is all."""
    shown = mean_entry(item, best)
    if not item.numbers:
        return shown
    known = shown.state != 'nan' and not math.isnan(deviation)
    text = shown.text + (f' ± {decimals(deviation)}' if known else '')
    if len(item.numbers) < item.expected:
        text += f' ({len(item.numbers)}/{item.expected})'
    return replace(shown, text=text, hint=item.problem)


def missing_entry(item: Summary) -> Entry:
    """What became of cells of which none is finished."""
    if not item.expected:
        return Entry('not planned', state='open')
    text = item.problem
    brief = text if len(text) <= LONGEST_PROBLEM else f'{text[: LONGEST_PROBLEM - 1]}…'
    state = 'open' if text == 'open' else 'missing'
    return Entry(f'{brief} (0/{item.expected})', state=state, hint=text)


def nan_notes(cells: Cells, name: str, test: str) -> list[str]:
    """Which methods have no ``'srocc'`` or ``'plcc_logistic'`` on a test set."""
    counts = Counter(
        cell.method
        for cell in cells
        if test in cell.tests and math.isnan(getattr(cell.tests[test], name))
    )
    return [f'{one}: {WHY_NAN[name].format(count)}' for one, count in counts.items()]


def duration(seconds: float) -> str:
    """``'2 h 03 min'``, ``'4 min 05 s'`` or ``'6.5 s'``."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60:,} h {minutes % 60:02d} min'


def overview_table(experiments: Mapping[str, Cells]) -> Table:
    """One row an experiment, which leads to the id it has on the page."""
    rows = [
        {
            'experiment': replace(text_entry(cells.plan['name']), link=anchor),
            'protocol': text_entry(cells.protocol),
            **_states(cells),
        }
        for anchor, cells in experiments.items()
    ]
    notes = ['Time: the sum over finished cells.']
    return Table('Experiments', columns_of(rows), notes)


def cells_table(cells: Cells) -> Table:
    """What is finished of each method, and how long it took."""
    rows = [
        {
            'method': text_entry(method['name']),
            'kind': text_entry(method['kind']),
            **_states(own := cells.of(method['name'])),
            'time a cell': _time(own.summary(measured('seconds')).median),
        }
        for method in cells.plan['methods']
    ]
    return Table('Cells and time', columns_of(rows), ['Time a cell: median.'])


def unfinished_table(cells: Cells) -> Table | None:
    """Failed and open cells, those alike in one row; None if all are finished."""
    unfinished = cells.table[cells.table.state != 'finished']
    place = ['method', 'state', 'error']
    rows = []
    for texts, alike in unfinished.groupby(place, sort=False):
        whole = len(alike) == len(cells.of(texts[0]))
        pairs = zip(place, texts, strict=True)
        row = {title: text_entry(text or '-') for title, text in pairs}
        row['cells'] = Entry(str(len(alike)), len(alike))
        row['splits'] = text_entry('all' if whole else _places(alike, cells.seeded))
        rows.append(row)
    return Table('Failed and open cells', columns_of(rows)) if rows else None


def _places(cells: pd.DataFrame, seeded: bool) -> str:
    """Splits, with their seeds if there are several."""
    places = [
        f'{split} (seed {", ".join(map(str, seeds))})' if seeded else split
        for split, seeds in cells.groupby('split', sort=False)['seed']
    ]
    return ('; ' if any(',' in place for place in places) else ', ').join(places)


def _states(cells: Cells) -> dict[str, Entry]:
    counts = Counter(cell.state for cell in cells)
    return {
        'finished': count_entry(cells),
        **{
            state: Entry(str(counts[state]), counts[state])
            for state in ('failed', 'open')
        },
        'time': _time(sum(cells.summary(measured('seconds')).numbers)),
    }


def _time(seconds: float) -> Entry:
    return Entry(duration(seconds), seconds) if seconds > 0 else NONE
