"""How a summary of cells of the grid is written in a table, and what is said below."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from metaiqa_plugin.benchmark.records import CellRecord, Experiment
from metaiqa_plugin.benchmark.report.summaries import (
    Summary,
    Unit,
    Value,
    best_of,
    in_split,
    select,
    summarize,
)
from metaiqa_plugin.benchmark.report.table_model import NONE, Cell, decimals

__all__ = [
    'best_marked',
    'count_cell',
    'deviation_cell',
    'mean_cell',
    'missing_cell',
    'nan_notes',
    'seeded',
    'spread_cells',
    'summaries_of',
]

LONGEST_PROBLEM = 48


def seeded(experiment: Experiment) -> bool:
    """Whether there are several seeds."""
    return len({cell.seed for cell in experiment.cells}) > 1


def summaries_of(
    cells: Sequence[CellRecord],
    methods: Sequence[str],
    value: Value,
    unit: Unit = in_split,
) -> list[Summary]:
    """One for each method."""
    return [summarize(select(cells, method), value, unit) for method in methods]


def best_marked(
    summaries: Sequence[Summary],
    write: Callable[[Summary, bool], Cell],
    less: bool = False,
    of: str = 'mean',
) -> list[Cell]:
    """What ``write`` makes of each and of whether it is the best; see ``best_of``."""
    best = best_of(summaries, less, of)
    return [write(item, index in best) for index, item in enumerate(summaries)]


def spread_cells(
    cells: Sequence[CellRecord], methods: Sequence[str], value: Value
) -> list[Cell]:
    """Mean ± deviation over splits of each method, the best marked."""
    return best_marked(
        summaries_of(cells, methods, value),
        lambda item, best: deviation_cell(item, best, item.spread.sd),
    )


def mean_cell(item: Summary, best: bool = False, brief: bool = False) -> Cell:
    """A mean, or what became of it; brief: said elsewhere in the row."""
    if not item.finished:
        return Cell(NONE) if brief else missing_cell(item)
    if math.isnan(item.mean):
        return Cell('NaN', state='nan')
    return Cell(decimals(item.mean), item.mean, best)


def deviation_cell(item: Summary, best: bool, deviation: float) -> Cell:
    """A mean ± what there is, and how many cells it is of unless that is all."""
    shown = mean_cell(item, best)
    if not item.finished:
        return shown
    known = shown.state != 'nan' and not math.isnan(deviation)
    text = shown.text + (f' ± {decimals(deviation)}' if known else '')
    if not item.complete:
        text += f' ({item.finished}/{item.expected})'
    return replace(shown, text=text, hint=item.problem)


def missing_cell(item: Summary) -> Cell:
    """What became of cells of which none is finished."""
    if not item.expected:
        return Cell('not planned', state='open')
    text = item.problem
    brief = text if len(text) <= LONGEST_PROBLEM else f'{text[: LONGEST_PROBLEM - 1]}…'
    state = 'open' if text == 'open' else 'missing'
    return Cell(f'{brief} (0/{item.expected})', state=state, hint=text)


def count_cell(cells: Sequence[CellRecord]) -> Cell:
    """How many are finished."""
    finished = sum(cell.state == 'finished' for cell in cells)
    return Cell(f'{finished}/{len(cells)}', finished)


def nan_notes(experiment: Experiment, name: str, test: str) -> list[str]:
    """Which methods have no ``'srocc'`` or ``'plcc_logistic'`` on a test set."""
    why = {
        'srocc': 'SROCC does not exist in {} of its cells (a constant or a missing '
        'prediction), and so neither does its mean over them.',
        'plcc_logistic': 'the logistic fit failed in {} of its cells, so there is no '
        'mean of what is taken after it.',
    }[name]
    counts = Counter(
        cell.method
        for cell in experiment.finished
        if test in cell.tests and math.isnan(getattr(cell.tests[test], name))
    )
    return [f'{method}: {why.format(count)}' for method, count in counts.items()]
