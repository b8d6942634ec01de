"""Tables of differences between methods, and how sure they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metaiqa_plugin.benchmark.records import CellRecord, Experiment
from metaiqa_plugin.benchmark.report.statistics import (
    Difference,
    holm,
    paired_difference,
    wilcoxon,
)
from metaiqa_plugin.benchmark.report.summaries import (
    Unit,
    facet_values,
    in_split,
    in_type,
    measure,
    method_names,
    select,
    summarize,
    test_names,
)
from metaiqa_plugin.benchmark.report.table_model import (
    NONE,
    TITLES,
    Cell,
    Column,
    Row,
    Table,
    text_cell,
)

__all__ = ['difference_tables']

CORRECTED = (
    'Positive: better than the method compared with. Interval and p-value: corrected '
    'resampled t-test (Nadeau and Bengio, 2003), which multiplies the variance of the '
    'J differences by 1/J + n_test/n_train, as splits share most of their images. '
    'Wilcoxon signed-rank test beside it, which takes them as independent. Holm: '
    'corrected for the number of methods.'
)
OVER_DRAWS = (
    'Positive: better than the method compared with. Paired over draws from the same '
    'train part, tested on the same images: usual paired t-test, and nothing is said '
    'of other test images. Wilcoxon signed-rank test beside it. Holm: corrected for '
    'the number of methods.'
)


@dataclass(frozen=True)
class Group:
    """Cells of which the methods are compared.

    Attributes:
        labels: what tells the group from others, by title of its column.
        test: test set.
        cells: of all methods.
        unit: what is paired.
        sized: cells whose train and test sizes say how much units share; none: they
            are independent.
    """

    labels: Mapping[str, Any]
    test: str
    cells: Sequence[CellRecord]
    unit: Unit
    sized: Sequence[CellRecord]


@dataclass(frozen=True)
class Comparison:
    """One method against another; ``ratio``: of test to train size, 0 if unknown."""

    method: str
    difference: Difference
    wilcoxon: float
    ratio: float
    expected: int


def difference_tables(experiment: Experiment) -> list[Table]:
    """Each method against ``compare_with``; none if there is nothing to compare.

    What the tables have in common is said below the last.
    """
    base, protocol = experiment.plan.get('compare_with'), experiment.plan['protocol']
    groups = list(_groups(experiment))
    if not base or not groups or len(method_names(experiment)) < 2:
        return []
    names = ('srocc', 'plcc') if protocol in ('authentic', 'zero_shot') else ('srocc',)
    known = [_compare_all(experiment, groups, base, name) for name in names]
    if not any(item.difference.pairs for found in known[0] for item in found):
        return []
    tables = [
        _table(experiment, groups, f'{TITLES[name]}: difference to {base}', found)
        for name, found in zip(names, known, strict=True)
    ]
    return [replace(table, notes=()) for table in tables[:-1]] + tables[-1:]


def _groups(experiment: Experiment) -> Iterator[Group]:
    cells, protocol = experiment.cells, experiment.plan['protocol']
    tests = [] if protocol == 'runtime' else test_names(cells)
    if protocol == 'few_shot':
        draws = _over_draws(experiment)
        for test in tests:
            for labels in facet_values(cells, 'labels'):
                chosen = select(cells, labels=labels)
                unit = _facet('draw' if draws else 'split')
                sized = [] if draws else chosen
                yield Group({'labels': labels}, test, chosen, unit, sized)
    elif protocol == 'leave_one_distortion_out':
        plain = select(cells, labels=0)
        for test in tests:
            for labels in facet_values(cells, 'labels'):
                chosen = select(cells, labels=labels)
                yield Group({'labels': labels}, test, chosen, in_type, plain)
    elif protocol == 'cross_database':
        for train in facet_values(cells, 'train'):
            chosen = select(cells, train=train)
            for test in test_names(chosen):
                labels = {'trained on': train, 'test': test}
                yield Group(labels, test, chosen, in_split, chosen)
    else:
        for test in tests:
            labels = {'test': test} if len(tests) > 1 else {}
            yield Group(labels, test, cells, in_split, cells)


def _over_draws(experiment: Experiment) -> bool:
    few_shot = experiment.plan['protocol'] == 'few_shot'
    return few_shot and len(facet_values(experiment.cells, 'split')) < 2


def _facet(name: str) -> Unit:
    return lambda cell: cell.facets.get(name, cell.split)


def _compare_all(
    experiment: Experiment, groups: Sequence[Group], base: str, name: str
) -> list[list[Comparison]]:
    """Of each group those of the methods that it has cells of."""
    return [
        [
            _compare(group, method, base, name)
            for method in method_names(experiment)
            if method != base and select(group.cells, method)
        ]
        for group in groups
    ]


def _table(
    experiment: Experiment,
    groups: Sequence[Group],
    caption: str,
    known: Sequence[Sequence[Comparison]],
) -> Table:
    test = 'paired t-test' if _over_draws(experiment) else 'corrected t-test'
    columns = [Column(title, numeric=title == 'labels') for title in groups[0].labels]
    columns += [
        Column('method', numeric=False),
        Column('mean difference'),
        Column('95% interval'),
        Column('p', test),
        Column('p, Holm', test),
        Column('p', 'Wilcoxon'),
        Column('p, Holm', 'Wilcoxon'),
        Column('pairs'),
        Column('variance factor'),
    ]
    rows = []
    for group, found in zip(groups, known, strict=True):
        labels = [Cell(str(label), label) for label in group.labels.values()]
        t_test = holm([item.difference.p for item in found])
        signed_rank = holm([item.wilcoxon for item in found])
        for item, *adjusted in zip(found, t_test, signed_rank, strict=True):
            rows.append(Row([*labels, *_cells(item, *adjusted)]))
    notes = _notes(experiment, [item for found in known for item in found])
    return Table(caption, columns, rows, notes)


def _compare(group: Group, method: str, base: str, name: str) -> Comparison:
    ours, theirs = (
        summarize(select(group.cells, side), measure(group.test, name), group.unit)
        for side in (method, base)
    )
    differences = [
        _mean(values) - _mean(theirs.values[unit])
        for unit, values in ours.values.items()
        if unit in theirs.values
    ]
    sized = [cell for cell in group.sized if cell.method in (method, base)]
    ratio = _test_over_train(sized, group.test)
    return Comparison(
        method,
        paired_difference(differences, ratio),
        wilcoxon(differences),
        ratio,
        len({group.unit(cell) for cell in group.cells}),
    )


def _test_over_train(cells: Sequence[CellRecord], test: str) -> float:
    """Mean size of the test sets over that of the smaller train sets; 0 if unknown.

    Where the labelled images are a few of a train part, n_train is the whole part: it
    is the parts that a split shares with the others, not the few.
    """
    by_method = defaultdict(list)
    images = []
    for cell in cells:
        if test in cell.tests:
            learnt = cell.measures.get('train_images') or 0
            by_method[cell.method].append(max(learnt, cell.pool))
            images.append(cell.tests[test].images)
    trains = [mean for sizes in by_method.values() if (mean := _mean(sizes))]
    return _mean(images) / min(trains) if trains else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _cells(item: Comparison, holm_t: float, holm_wilcoxon: float) -> list[Cell]:
    difference = item.difference
    if not difference.pairs:
        shown = Cell('no pair', state='open')
    elif math.isnan(difference.mean):
        shown = Cell('NaN', state='nan')
    else:
        shown = Cell(_signed(difference.mean), difference.mean)
    interval = factor = Cell(NONE)
    if not math.isnan(difference.low):
        ends = f'{_signed(difference.low)} to {_signed(difference.high)}'
        interval = Cell(ends, difference.low)
    if not math.isnan(difference.factor):
        text = f'{difference.factor:.3f}' + ('' if item.ratio else ' (1/J)')
        factor = Cell(text, difference.factor)
    p_values = (difference.p, holm_t, item.wilcoxon, holm_wilcoxon)
    pairs = Cell(f'{difference.pairs}/{item.expected}', difference.pairs)
    first = [text_cell(item.method), shown, interval]
    return [*first, *map(_p_cell, p_values), pairs, factor]


def _p_cell(value: float) -> Cell:
    if math.isnan(value):
        return Cell(NONE)
    return Cell('< 0.001' if value < 0.001 else f'{value:.3f}', value)


def _signed(value: float) -> str:
    text = f'{value:+.4f}'
    return text[1:] if float(text) == 0 else text


def _notes(experiment: Experiment, known: Sequence[Comparison]) -> list[str]:
    draws, protocol = _over_draws(experiment), experiment.plan['protocol']
    notes = [OVER_DRAWS if draws else CORRECTED]
    if protocol == 'leave_one_distortion_out':
        notes.append(
            'Paired over types. They are no random splits: the interval speaks of '
            'types like these.'
        )
    if protocol == 'few_shot' and not draws:
        notes.append('Paired over splits, of the means over draws.')
    pairs = [item.difference.pairs for item in known]
    unsized = dict.fromkeys(
        item.method for item in known if item.difference.pairs > 1 and not item.ratio
    )
    if unsized and not draws:
        notes.append(
            f'No train images are recorded for {", ".join(unsized)} and the method '
            'compared with: variance factor 1/J, the usual paired t-test, which is too '
            'sure where test sets overlap.'
        )
    if 1 in pairs:
        notes.append('A single pair has no interval and no p-value.')
    return notes
