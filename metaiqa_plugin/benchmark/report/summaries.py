"""Numbers over cells of the grid: which there are, their mean, which one is best.

Planned cells count too, so that a number can say how much of it there is. Seeds are
averaged within each unit (a split, or a type of distortion) first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from metaiqa_plugin.benchmark.records import CellRecord, Experiment, Predictions

__all__ = [
    'Summary',
    'Value',
    'best_of',
    'cells_of',
    'facet_values',
    'measure',
    'measured',
    'method_names',
    'predictions_of',
    'srocc_of',
    'summaries_by',
    'summaries_of',
    'summarize',
    'swept',
    'test_names',
]

OF_THE_GRID = ('split', 'seed', 'draw', 'labels', 'train', 'type', 'round')

Value = Callable[[CellRecord], float | None]


@dataclass(frozen=True)
class Summary:
    """One number of several cells.

    Attributes:
        means: over seeds, by unit; NaN if a value in it is NaN.
        numbers: of all cells that have one.
        sd_seeds: root of the mean, over units with two seeds or more, of the variance
            over seeds; NaN if there is no such unit.
        expected: how many cells are planned.
        problem: what became of those without a value; '' if there are none.
    """

    means: pd.Series
    numbers: Sequence[float]
    sd_seeds: float
    expected: int
    problem: str

    @property
    def mean(self) -> float:
        """Over units; NaN if any is NaN, or there is none."""
        return float(self.means.mean(skipna=False))

    @property
    def sd(self) -> float:
        """Of the means over units, divisor J - 1; NaN for fewer than two."""
        return float(self.means.std(skipna=False))

    @property
    def median(self) -> float:
        """Of all numbers."""
        return float(np.median(self.numbers)) if self.numbers else math.nan


def cells_of(experiment: Experiment) -> pd.DataFrame:
    """A row for each cell of the plan: the record as ``cell``, and its place.

    Columns ``method``, ``split``, ``seed``, ``state`` and ``error``; facets with their
    name as ``facets.labels``, NaN where a cell has none.
    """
    rows = [
        {
            'cell': cell,
            **{name: getattr(cell, name) for name in ('method', 'split', 'seed')},
            'state': cell.state,
            'error': cell.error,
            **{f'facets.{name}': value for name, value in cell.facets.items()},
        }
        for cell in experiment.cells
    ]
    return pd.DataFrame(rows, dtype=object)


def summarize(cells: pd.DataFrame, value: Value, unit: str = 'split') -> Summary:
    """``value`` of cells, averaged within each ``unit`` (a column) first.

    None is no value, NaN is one.
    """
    found = [(row, value(cell)) for row, cell in cells['cell'].items()]
    numbers = pd.Series({row: x for row, x in found if x is not None}, dtype=float)
    seeds = numbers.groupby(cells.loc[numbers.index, unit], sort=False)
    variances = [of.var(skipna=False) for _, of in seeds if len(of) > 1]
    failed = cells.loc[cells.state == 'failed', 'error']
    if len(failed):
        problem = f'failed: {failed.iloc[0]}'
    elif (cells.state == 'open').any():
        problem = 'open'
    else:
        problem = '' if len(numbers) == len(cells) else 'no value'
    return Summary(
        pd.Series({name: of.mean(skipna=False) for name, of in seeds}, dtype=float),
        numbers.to_list(),
        math.sqrt(np.mean(variances)) if variances else math.nan,
        len(cells),
        problem,
    )


def summaries_of(
    cells: pd.DataFrame, methods: Sequence[str], value: Value, unit: str = 'split'
) -> list[Summary]:
    """One for each method."""
    return [summarize(cells[cells.method == name], value, unit) for name in methods]


def summaries_by(
    facet: str,
    cells: pd.DataFrame,
    methods: Sequence[str],
    value: Value,
    unit: str = 'split',
) -> dict[Any, list[Summary]]:
    """One for each method, by the values of a facet."""
    return {
        shown: summaries_of(
            cells[cells[f'facets.{facet}'] == shown], methods, value, unit
        )
        for shown in facet_values(cells, facet)
    }


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
    values = pd.Series([getattr(summary, of) for summary in summaries], dtype=float)
    units = [frozenset(summary.means.index) for summary in summaries]
    known = values.dropna()
    most = max((units[place] for place in known.index), key=len, default=frozenset())
    fair = known[[units[place] == most for place in known.index]]
    if len(fair) < 2:
        return set()
    return set(fair.index[fair == (fair.min() if less else fair.max())])


def measure(test: str, name: str) -> Value:
    """A correlation on a test set."""
    return lambda cell: getattr(cell.tests[test], name) if test in cell.tests else None


def measured(name: str) -> Value:
    """Another number of a cell."""
    return lambda cell: cell.measures.get(name)


def facet_values(cells: pd.DataFrame, name: str) -> list[Any]:
    """Its values in order: of size for numbers, of the plan for others."""
    if f'facets.{name}' not in cells:
        return []
    values: list[Hashable] = list(cells[f'facets.{name}'].dropna().unique())
    numbers = all(isinstance(value, (int, float)) for value in values)
    return sorted(values) if numbers else values


def method_names(experiment: Experiment) -> list[str]:
    """In the order of the plan."""
    return [method['name'] for method in experiment.plan['methods']]


def test_names(cells: pd.DataFrame) -> list[str]:
    """Test sets of the finished cells, in order."""
    return list(dict.fromkeys(test for cell in cells['cell'] for test in cell.tests))


def swept(cells: pd.DataFrame) -> list[str]:
    """Facets that are parameters of a sweep."""
    names = [
        name.removeprefix('facets.') for name in cells if name.startswith('facets.')
    ]
    return [name for name in names if name not in OF_THE_GRID]


def predictions_of(cell: CellRecord, test: str) -> Predictions | None:
    """None where they are not on disk."""
    try:
        return cell.predictions(test)
    except FileNotFoundError:
        return None


def srocc_of(mos: np.ndarray, scores: np.ndarray) -> float:
    """NaN for fewer than two images, a constant, or a score that is not finite."""
    constant = [len(values) < 2 or np.ptp(values) == 0 for values in (mos, scores)]
    if any(constant) or not np.isfinite(scores).all():
        return math.nan
    return float(stats.spearmanr(mos, scores).statistic)
