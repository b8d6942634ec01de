"""Numbers over cells of the grid: which there are, their mean, which one is best.

Planned cells count too, so that a number can say how much of it there is. Seeds are
averaged within each unit (a split, or a type of distortion) first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from metaiqa_plugin.benchmark.records import CellRecord, Experiment
from metaiqa_plugin.benchmark.report.statistics import Spread, spread_over_splits

__all__ = [
    'Summary',
    'Unit',
    'Value',
    'best_of',
    'facet_values',
    'in_split',
    'in_type',
    'measure',
    'measured',
    'method_names',
    'select',
    'summarize',
    'swept',
    'test_names',
]

OF_THE_GRID = ('split', 'seed', 'draw', 'labels', 'train', 'type', 'round')

Value = Callable[[CellRecord], float | None]
Unit = Callable[[CellRecord], Hashable]


@dataclass(frozen=True)
class Summary:
    """One number of several cells.

    Attributes:
        values: of the finished cells, by unit.
        expected: how many cells are planned.
        problem: what became of those without a value; '' if there are none.
    """

    values: Mapping[Hashable, Sequence[float]]
    expected: int
    problem: str

    @cached_property
    def spread(self) -> Spread:
        return spread_over_splits(list(self.values.values()))

    @property
    def numbers(self) -> list[float]:
        return [number for unit in self.values.values() for number in unit]

    @property
    def finished(self) -> int:
        return len(self.numbers)

    @property
    def complete(self) -> bool:
        return self.finished == self.expected

    @property
    def mean(self) -> float:
        return self.spread.mean

    @property
    def median(self) -> float:
        return median(self.numbers) if self.numbers else math.nan


def in_split(cell: CellRecord) -> Hashable:
    """The unit of most protocols."""
    return cell.split


def in_type(cell: CellRecord) -> Hashable:
    """The unit where types of distortion are left out."""
    return cell.facets['type']


def summarize(
    cells: Sequence[CellRecord], value: Value, unit: Unit = in_split
) -> Summary:
    """``value`` of the finished ones; None is no value, NaN is one."""
    values = defaultdict(list)
    for cell in cells:
        number = value(cell) if cell.state == 'finished' else None
        if number is not None:
            values[unit(cell)].append(number)
    failed = [cell.error for cell in cells if cell.state == 'failed']
    if failed:
        problem = f'failed: {failed[0]}'
    elif any(cell.state == 'open' for cell in cells):
        problem = 'open'
    else:
        problem = '' if sum(map(len, values.values())) == len(cells) else 'no value'
    return Summary(dict(values), len(cells), problem)


def best_of(
    summaries: Sequence[Summary], less: bool = False, of: str = 'mean'
) -> set[int]:
    """Where the best are, among at least two that can be compared.

    Those are the ones over the same units, as many as anyone has. NaN is never best,
    and neither is one that no other can be compared with.

    Args:
        summaries: one a method.
        less: less is better.
        of: the property compared.
    """
    known = {
        index: getattr(summary, of)
        for index, summary in enumerate(summaries)
        if not math.isnan(getattr(summary, of))
    }
    most = max((summaries[index].values.keys() for index in known), key=len, default=())
    fair = [index for index in known if summaries[index].values.keys() == most]
    if len(fair) < 2:
        return set()
    best = (min if less else max)(known[index] for index in fair)
    return {index for index in fair if known[index] == best}


def measure(test: str, name: str) -> Value:
    """A correlation on a test set."""

    def value(cell: CellRecord) -> float | None:
        return getattr(cell.tests[test], name) if test in cell.tests else None

    return value


def measured(name: str) -> Value:
    """Another number of a cell."""
    return lambda cell: cell.measures.get(name)


def select(
    cells: Sequence[CellRecord], method: str | None = None, **facets: Any
) -> list[CellRecord]:
    """The cells of a method, or of all, with these facets."""
    return [
        cell
        for cell in cells
        if method in (None, cell.method)
        and all(cell.facets.get(name) == value for name, value in facets.items())
    ]


def facet_values(cells: Sequence[CellRecord], name: str) -> list[Any]:
    """Its values in order: of size for numbers, of the plan for others."""
    values = list(dict.fromkeys(cell.facets.get(name) for cell in cells))
    values = [value for value in values if value is not None]
    numbers = all(isinstance(value, (int, float)) for value in values)
    return sorted(values) if numbers else values


def method_names(experiment: Experiment) -> list[str]:
    """In the order of the plan."""
    return [method['name'] for method in experiment.plan['methods']]


def test_names(cells: Sequence[CellRecord]) -> list[str]:
    """Test sets of the finished cells, in order."""
    return list(dict.fromkeys(test for cell in cells for test in cell.tests))


def swept(experiment: Experiment) -> list[str]:
    """Facets that are parameters of a sweep."""
    names = dict.fromkeys(name for cell in experiment.cells for name in cell.facets)
    return [name for name in names if name not in OF_THE_GRID]
