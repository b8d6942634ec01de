"""Numbers over cells of the grid: which there are, their mean, which one is best.

Planned cells count too, so that a number can say how much of it there is. Seeds are
averaged within each unit (a split, or a type of distortion) first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from metaiqa_plugin.benchmark.records import CellRecord, Experiment

__all__ = ['Cells', 'Summary', 'Value', 'decimals', 'measure', 'measured', 'picked']
__all__ += ['srocc_of', 'with_best']

PLACE = ('method', 'split', 'seed', 'state', 'error')
OF_THE_GRID = ('split', 'seed', 'draw', 'labels', 'train', 'type', 'round')
LEFT_OUT = {'leave_one_distortion_out': 'type', 'leave_one_subset_out': 'subset'}
FEW_IMAGES, FEW_SPLITS = 100, 5

Value = Callable[[CellRecord], float | None]
"""A number of a cell. None is not a value, NaN is one."""


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


class Cells:
    """Cells of a plan in its order, or some of them.

    Attributes:
        table: a row for each: the record as ``cell``, ``method``, ``split``, ``seed``,
            ``state`` and ``error``; facets with their name as ``facets.labels``, NaN
            where a cell has none.
        plan: see ``Experiment``.
    """

    def __init__(self, table: pd.DataFrame, plan: Mapping[str, Any]) -> None:
        self.table, self.plan = table, plan
        self.protocol = plan['protocol']
        # what the protocol leaves out and tests on; '': nothing
        self.left_out = LEFT_OUT.get(self.protocol, '')
        # in the order of the plan, whether or not they have a cell here
        self.methods = [method['name'] for method in plan['methods']]

    @classmethod
    def of_experiment(cls, experiment: Experiment) -> Cells:
        """All that are planned."""
        rows = [
            {
                'cell': cell,
                **{name: getattr(cell, name) for name in PLACE},
                **{f'facets.{name}': value for name, value in cell.facets.items()},
            }
            for cell in experiment.cells
        ]
        return cls(pd.DataFrame(rows, dtype=object), experiment.plan)

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[CellRecord]:
        return iter(self.table['cell'])

    def where(self, column: str, value: Any) -> Cells:
        """Those with this value in a column."""
        return Cells(self.table[self.table[column] == value], self.plan)

    def of(self, method: str) -> Cells:
        return self.where('method', method)

    @property
    def finished(self) -> Cells:
        return self.where('state', 'finished')

    @property
    def seeded(self) -> bool:
        """Whether there are several seeds."""
        return self.table.seed.nunique() > 1

    @property
    def tests(self) -> list[str]:
        """Test sets of the finished ones, in order."""
        return list(dict.fromkeys(test for cell in self for test in cell.tests))

    def by_test(self) -> Iterator[tuple[str, str]]:
        """Test sets, each with its mention in a title, which a single one needs not."""
        for test in self.tests:
            yield test, f' on {test}' if len(self.tests) > 1 else ''

    @property
    def swept(self) -> list[str]:
        """Facets that are parameters of a sweep."""
        facets = self.table.filter(regex=r'^facets\.').columns
        names = facets.str.removeprefix('facets.')
        return [name for name in names if name not in OF_THE_GRID]

    def values(self, facet: str) -> list[Any]:
        """Of a facet, in order: of size for numbers, of the plan for others."""
        if f'facets.{facet}' not in self.table:
            return []
        values = list(self.table[f'facets.{facet}'].dropna().unique())
        numbers = all(isinstance(value, (int, float)) for value in values)
        return sorted(values) if numbers else values

    def small_sample(self) -> str:
        """A warning where test images or splits are few; '' where they are not."""
        table = self.finished.table
        images = [test.images for cell in table['cell'] for test in cell.tests.values()]
        drawn = table.filter(['facets.split', 'facets.draw']).drop_duplicates()
        few = []
        if images and min(images) < FEW_IMAGES:
            few.append(f'{min(images)} images in a test set')
        if images and drawn.size and len(drawn) < FEW_SPLITS and not self.left_out:
            few.append(f'splits or draws: {len(drawn)}')
        return (
            f'Small sample ({", ".join(few)}): differences may be chance.'
            if few
            else ''
        )

    def summary(self, value: Value, unit: str = 'split') -> Summary:
        """``value`` of all, averaged within each ``unit`` (a column) first."""
        seeds: dict[Any, list[float]] = {}
        for name, cell in zip(self.table[unit], self, strict=True):
            if (number := value(cell)) is not None:
                seeds.setdefault(name, []).append(number)
        numbers = [number for of in seeds.values() for number in of]
        variances = [np.var(of, ddof=1) for of in seeds.values() if len(of) > 1]
        problem = '' if len(numbers) == len(self) else 'no value'
        if any(cell.state == 'open' for cell in self):
            problem = 'open'
        failed = [cell.error for cell in self if cell.state == 'failed']
        return Summary(
            pd.Series({name: np.mean(of) for name, of in seeds.items()}, dtype=float),
            numbers,
            math.sqrt(np.mean(variances)) if variances else math.nan,
            len(self),
            f'failed: {failed[0]}' if failed else problem,
        )

    def summaries(self, value: Value, unit: str = 'split') -> list[Summary]:
        """One for each method."""
        return [self.of(method).summary(value, unit) for method in self.methods]

    def summaries_by(
        self, facet: str, value: Value, unit: str = 'split'
    ) -> dict[Any, list[Summary]]:
        """One for each method, by the values of a facet."""
        return {
            one: self.where(f'facets.{facet}', one).summaries(value, unit)
            for one in self.values(facet)
        }


def with_best(
    summaries: Sequence[Summary],
    less: bool = False,
    of: str = 'mean',
    text: Callable[[float], str] | None = None,
) -> list[tuple[Summary, bool]]:
    """Each and whether it is the best among at least two that can be compared.

    Those are the ones over the same units, as many as anyone has. NaN is never best,
    and neither is one that no other can be compared with. What reads like the best is
    the best, too.

    Args:
        summaries: one per method.
        less: less is better.
        of: the property compared.
        text: how it is written; None: :func:`decimals`.
    """
    values = pd.Series([getattr(summary, of) for summary in summaries], dtype=float)
    units = [frozenset(summary.means.index) for summary in summaries]
    known = values.dropna()
    fullest = max((units[place] for place in known.index), key=len, default=frozenset())
    fair = known[[units[place] == fullest for place in known.index]]
    if len(fair) < 2:
        return [(summary, False) for summary in summaries]
    shown = fair.map(text or decimals)
    best = fair.index[shown == shown[fair.idxmin() if less else fair.idxmax()]]
    return [(summary, place in best) for place, summary in enumerate(summaries)]


def decimals(value: float) -> str:
    """Three of them, and no minus before zero."""
    text = f'{value:.3f}'
    return text[1:] if float(text) == 0 and text.startswith('-') else text


def measure(test: str, name: str) -> Value:
    """A correlation on a test set."""
    return lambda cell: getattr(cell.tests[test], name) if test in cell.tests else None


def picked(test: str, name: str) -> Value:
    """The same after the epoch that is best on the test set."""

    def value(cell: CellRecord) -> float | None:
        record = cell.tests.get(test)
        if record is None or not record.best_epoch:
            return None
        number = record.best_epoch.get(name)
        return math.nan if number is None else number

    return value


def measured(name: str) -> Value:
    """Another number of a cell."""
    return lambda cell: cell.measures.get(name)


def srocc_of(mos: np.ndarray, scores: np.ndarray) -> float:
    """NaN for fewer than two images, a constant, or a score that is not finite."""
    constant = [len(values) < 2 or np.ptp(values) == 0 for values in (mos, scores)]
    if any(constant) or not np.isfinite(scores).all():
        return math.nan
    return float(stats.spearmanr(mos, scores).statistic)
