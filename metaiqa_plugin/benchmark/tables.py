"""The tables of the report, as data: what each protocol says in numbers.

A number stands for the cells of the grid that it is taken over, planned ones included,
so that it can say how many of them there are. Seeds are averaged within each split
first. In every group that is compared the best of our own figures is marked, among
those from the most splits; NaN never is.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from metaiqa_plugin.benchmark.published import (
    SOURCES,
    published_methods,
    published_types,
)
from metaiqa_plugin.benchmark.records import CORRELATIONS, CellRecord, Experiment
from metaiqa_plugin.benchmark.statistics import (
    Spread,
    holm,
    paired_difference,
    spearman,
    spread_over_splits,
    wilcoxon,
)
from metaiqa_plugin.errors import UserError

__all__ = [
    'CSV_COLUMNS',
    'RUNTIME',
    'Cell',
    'Column',
    'Figure',
    'Row',
    'Table',
    'cells_table',
    'csv_rows',
    'difference_tables',
    'duration',
    'figure',
    'measure',
    'measured',
    'method_names',
    'of_method',
    'overview_table',
    'result_tables',
    'swept',
    'test_names',
    'unfinished_table',
    'values_of',
]

TITLES = {
    'srocc': 'SROCC',
    'plcc': 'PLCC',
    'plcc_logistic': 'PLCC, logistic fit',
    'krocc': 'KROCC',
    'rmse': 'RMSE',
}
RUNTIME = {
    'images_per_second': ('images per second', False),
    'milliseconds': ('ms an image, one at a time', True),
    'peak_memory_mb': ('peak memory, MB', True),
    'parameters': ('parameters', True),
}
"""Measures of run time: title, and whether less is better."""
OF_THE_GRID = ('split', 'seed', 'draw', 'labels', 'train', 'type', 'round')
CSV_COLUMNS = (
    *('experiment', 'protocol', 'method', 'split', 'seed', 'facets', 'test', 'images'),
    *CORRELATIONS,
    *('best_epoch', 'best_epoch_srocc', 'best_epoch_plcc', 'best_epoch_epochs'),
    *('seconds', 'measures', 'state', 'error'),
)
NONE = '-'
PICKED = 'best epoch, picked on the test set'

Value = Callable[[CellRecord], float | None]
Unit = Callable[[CellRecord], Hashable]


@dataclass(frozen=True)
class Cell:
    """What a table shows in one place.

    Attributes:
        text: shown.
        key: what sorting goes by; None comes last.
        best: the best of its group.
        state: ``'missing'``, ``'nan'`` or ``''``.
        hint: the whole of what ``text`` shortens.
    """

    text: str
    key: float | str | None = None
    best: bool = False
    state: str = ''
    hint: str = ''


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


@dataclass(frozen=True)
class Figure:
    """A number and the cells it is taken over.

    Attributes:
        spread: of the values there are.
        finished, expected: cells with a value, and cells planned.
        problem: what became of the others; '' if there are none.
    """

    spread: Spread
    finished: int
    expected: int
    problem: str


def figure(
    cells: Sequence[CellRecord], value: Value, unit: Unit = lambda cell: cell.split
) -> Figure:
    """The mean of ``value`` over units, of the means over the cells in each."""
    values = values_of(cells, value, unit)
    finished = sum(map(len, values.values()))
    unfinished = [cell for cell in cells if cell.state != 'finished']
    failed = [cell for cell in unfinished if cell.state == 'failed']
    if failed:
        problem = f'failed: {failed[0].error}'
    elif unfinished:
        problem = 'open'
    else:
        problem = '' if finished == len(cells) else 'no value'
    spread = spread_over_splits(list(values.values()))
    return Figure(spread, finished, len(cells), problem)


def values_of(
    cells: Sequence[CellRecord], value: Value, unit: Unit
) -> dict[Hashable, list[float]]:
    """Values of the finished cells by unit; None is left out."""
    values = defaultdict(list)
    for cell in cells:
        number = value(cell) if cell.state == 'finished' else None
        if number is not None:
            values[unit(cell)].append(number)
    return dict(values)


def measure(test: str, name: str) -> Value:
    """A correlation on a test set."""

    def value(cell: CellRecord) -> float | None:
        return getattr(cell.tests[test], name) if test in cell.tests else None

    return value


def measured(name: str) -> Value:
    """Another number of a cell."""
    return lambda cell: cell.measures.get(name)


def method_names(experiment: Experiment) -> list[str]:
    """In the order of the plan."""
    return [method['name'] for method in experiment.plan['methods']]


def of_method(cells: Sequence[CellRecord], method: str) -> list[CellRecord]:
    """The cells of one method."""
    return [cell for cell in cells if cell.method == method]


def test_names(cells: Sequence[CellRecord]) -> list[str]:
    """Test sets of the finished cells, in order."""
    return list(dict.fromkeys(test for cell in cells for test in cell.tests))


def swept(experiment: Experiment) -> list[str]:
    """Facets that are parameters of a sweep."""
    names = dict.fromkeys(name for cell in experiment.cells for name in cell.facets)
    return [name for name in names if name not in OF_THE_GRID]


def result_tables(experiment: Experiment) -> list[Table]:
    """The tables of its protocol.

    Raises:
        UserError: a protocol that the report does not know.
    """
    makers = {
        'authentic': _method_tables,
        'zero_shot': _method_tables,
        'parameters': _method_tables,
        'leave_one_distortion_out': _type_tables,
        'few_shot': _label_tables,
        'cross_database': _database_tables,
        'runtime': _runtime_tables,
    }
    protocol = experiment.plan['protocol']
    if protocol not in makers:
        raise UserError(
            f'{str(experiment.folder)!r}: protocol={protocol!r}: the report knows '
            f'{list(makers)}'
        )
    return list(makers[protocol](experiment)) if experiment.finished else []


def _method_tables(experiment: Experiment) -> Iterator[Table]:
    for test in test_names(experiment.cells):
        where = f' on {test}' if len(test_names(experiment.cells)) > 1 else ''
        yield _method_table(
            experiment, test, ('plcc', 'srocc'), f'PLCC and SROCC{where}', True
        )
        names = ('plcc_logistic', 'krocc', 'rmse')
        yield _method_table(experiment, test, names, f'Other measures{where}', False)


def _method_table(
    experiment: Experiment, test: str, names: Sequence[str], caption: str, main: bool
) -> Table:
    cells, methods = experiment.cells, method_names(experiment)
    seeds = len({cell.seed for cell in cells}) > 1
    columns = [Column('method', numeric=False)]
    grid = [[_text(method)] for method in methods]
    published = _published(experiment, test) if main else {}
    beside = [[_text(name)] for name in published]
    for name in swept(experiment):
        columns.append(Column(name))
        for row, method in zip(grid, methods, strict=True):
            row.append(_parameter(of_method(cells, method), name))
        _fill(beside, columns)

    def add(column: Column, shown: Sequence[Cell]) -> None:
        columns.append(column)
        for row, cell in zip(grid, shown, strict=True):
            row.append(cell)

    for name in names:
        figures = [
            figure(of_method(cells, method), measure(test, name)) for method in methods
        ]
        best = _best(figures, less=name == 'rmse')
        add(
            Column('mean', TITLES[name]),
            [
                _mean(item, index in best, brief=name != names[0])
                for index, item in enumerate(figures)
            ],
        )
        for row, theirs in zip(beside, published.values(), strict=True):
            row.append(_number(theirs.get(name)))
        add(Column('SD', TITLES[name]), [_number(item.spread.sd) for item in figures])
        if seeds:
            over = [_number(item.spread.sd_seeds) for item in figures]
            add(Column('SD over seeds', TITLES[name]), over)
        _fill(beside, columns)
    picked = [] if not main else names
    for name in picked if _has_best_epochs(cells, test) else ():
        values = [
            figure(of_method(cells, method), _best_epoch(test, name))
            for method in methods
        ]
        add(Column(TITLES[name], PICKED), [_mean(item, brief=True) for item in values])
    add(Column('cells'), [_count(of_method(cells, method)) for method in methods])
    _fill(beside, columns)
    rows = [Row(row) for row in grid] + [Row(row, 'published') for row in beside]
    return Table(caption, columns, rows, _method_notes(experiment, columns, published))


def _fill(rows: Sequence[list[Cell]], columns: Sequence[Column]) -> None:
    for row in rows:
        row.extend([Cell(NONE)] * (len(columns) - len(row)))


def _method_notes(
    experiment: Experiment, columns: Sequence[Column], published: Mapping
) -> list[str]:
    trained = experiment.plan['protocol'] != 'zero_shot'
    notes = [
        ('Scores after the last epoch. ' if trained else '')
        + 'Mean and standard deviation over splits'
        + ('; SD over seeds: within a split.' if len(_seeds(experiment)) > 1 else '.')
    ]
    if any(column.group == PICKED for column in columns):
        notes.append(
            'The best epoch is the one with the best SROCC on the very images it is '
            'judged by: it is no estimate for new images, and never marked as best.'
        )
    if published:
        notes.append(_source_note(experiment))
    return notes + _nan_notes(experiment)


def _seeds(experiment: Experiment) -> set[int]:
    return {cell.seed for cell in experiment.cells}


def _published(experiment: Experiment, test: str) -> dict[str, dict[str, float]]:
    """Published rows beside a test set; of several, the one named as the database."""
    source = experiment.plan.get('published')
    if not source or source['table'] == 'lodo_srocc':
        return {}
    names = [re.sub(r'\W', '', name).lower() for name in (test, source['database'])]
    if len(test_names(experiment.cells)) > 1 and names[0] != names[1]:
        return {}
    found = published_methods(source)
    if source['table'] == 'pyiqa_nr_benchmark':
        ours = {name.lower() for name in method_names(experiment)}
        found = {name: row for name, row in found.items() if name.lower() in ours}
    return found


def _source_note(experiment: Experiment) -> str:
    source = experiment.plan['published']
    return f'Published: from {SOURCES[source["table"]]}, on {source["database"]}, ' + (
        'by the same protocol.'
        if source.get('same_protocol')
        else 'by another protocol, so not comparable number by number.'
    )


def _nan_notes(experiment: Experiment) -> list[str]:
    counts: dict[str, int] = defaultdict(int)
    for cell in experiment.finished:
        records = cell.tests.values()
        counts[cell.method] += any(math.isnan(record.srocc) for record in records)
    return [
        f'{method}: SROCC does not exist in {count} of its cells (a constant or a '
        'missing prediction), and so neither does its mean over them.'
        for method, count in counts.items()
        if count
    ]


def _has_best_epochs(cells: Sequence[CellRecord], test: str) -> bool:
    return any(test in cell.tests and cell.tests[test].best_epoch for cell in cells)


def _best_epoch(test: str, name: str) -> Value:
    def value(cell: CellRecord) -> float | None:
        record = cell.tests.get(test)
        if record is None or not record.best_epoch:
            return None
        number = record.best_epoch.get(name)
        return math.nan if number is None else number

    return value


def _parameter(cells: Sequence[CellRecord], name: str) -> Cell:
    values = list(dict.fromkeys(cell.facets.get(name) for cell in cells))
    text = ', '.join(str(value) for value in values if value is not None) or NONE
    number = len(values) == 1 and isinstance(values[0], (int, float))
    return Cell(text, values[0] if number else text)


def _type_tables(experiment: Experiment) -> Iterator[Table]:
    (test,) = test_names(experiment.cells)[:1]
    plain = [cell for cell in experiment.cells if not cell.facets.get('labels')]
    if plain:
        yield _unseen_table(experiment, plain, test)
    for labels in _facet_values(experiment.cells, 'labels'):
        if labels:
            yield _adapted_table(experiment, plain, test, labels)


def _unseen_table(
    experiment: Experiment, cells: Sequence[CellRecord], test: str
) -> Table:
    methods, types = method_names(experiment), _facet_values(cells, 'type')
    source = experiment.plan.get('published')
    published: dict[str, dict[str, float]] = {}
    if source and source['table'] == 'lodo_srocc':
        published = published_types(source)
    columns = [Column('unseen type', numeric=False)]
    columns += [Column(method, 'this run') for method in methods]
    columns += [Column(name, 'published') for name in published]
    rows = []
    for kind in types:
        of_type = [cell for cell in cells if cell.facets['type'] == kind]
        theirs = [_number(figures.get(kind)) for figures in published.values()]
        ours = _compared(of_type, methods, measure(test, 'srocc'), True)
        rows.append(Row([_text(kind), *ours, *theirs]))
    averages = [
        _number(_mean_of([figures.get(kind) for kind in types]))
        for figures in published.values()
    ]
    ours = _compared(cells, methods, measure(test, 'srocc'), False)
    rows.append(Row([_text('Average'), *ours, *averages], 'summary'))
    notes = ['SROCC on each type by a network that was trained on all the others.']
    if len(_seeds(experiment)) > 1:
        notes.append('Mean over seeds, ± standard deviation over them.')
    if published:
        notes.append(_source_note(experiment))
        notes.append('Their averages are taken over the types in this table.')
    return Table('SROCC on unseen types', columns, rows, notes + _nan_notes(experiment))


def _type(cell: CellRecord) -> Hashable:
    return cell.facets['type']


def _compared(
    cells: Sequence[CellRecord],
    methods: Sequence[str],
    value: Value,
    deviation: bool,
) -> list[Cell]:
    """A cell for each method: means over types, with the deviation within them."""
    figures = [figure(of_method(cells, method), value, _type) for method in methods]
    best = _best(figures)
    return [
        _seeded(item, index in best, deviation) for index, item in enumerate(figures)
    ]


def _adapted_table(
    experiment: Experiment, plain: Sequence[CellRecord], test: str, labels: Any
) -> Table:
    methods = method_names(experiment)
    cells = _with_labels(experiment.cells, labels)
    start = {(cell.method, cell.facets['type'], cell.seed): cell for cell in plain}

    known = {
        cell.folder: _srocc_on_images_of(origin, cell, test)
        for cell in cells
        if cell.state == 'finished'
        and (origin := start.get((cell.method, cell.facets['type'], cell.seed)))
    }

    def before(cell: CellRecord) -> float | None:
        return known.get(cell.folder)

    columns = [Column('unseen type', numeric=False)]
    for method in methods:
        columns += [Column('before', method), Column('after', method)]
    rows = []
    for kind in [*_facet_values(cells, 'type'), None]:
        chosen = [cell for cell in cells if kind in (None, cell.facets['type'])]
        first, second = (
            _compared(chosen, methods, value, kind is not None)
            for value in (before, measure(test, 'srocc'))
        )
        shown = [cell for pair in zip(first, second, strict=True) for cell in pair]
        if kind is None:
            rows.append(Row([_text('Average'), *shown], 'summary'))
        else:
            rows.append(Row([_text(kind), *shown]))
    draws = len(_facet_values(cells, 'draw'))
    notes = [
        f'After: adapted to {labels} labelled images of the unseen type, tested on its '
        'images of other photos. Before: the same network without them, on the same '
        'images. Means over seeds'
        + (f' and {draws} draws of the labelled images' if draws > 1 else '')
        + ', ± standard deviation over them where there are several.'
    ]
    return Table(f'SROCC after {labels} labels', columns, rows, notes)


def _srocc_on_images_of(
    origin: CellRecord, cell: CellRecord, test: str
) -> float | None:
    """SROCC of ``origin`` on the images ``cell`` was tested on; None if unknown."""
    if origin.state != 'finished':
        return None
    try:
        all_images, chosen = origin.predictions(test), cell.predictions(test)
    except FileNotFoundError:
        return None
    places = {image: place for place, image in enumerate(all_images.images)}
    if not set(chosen.images) <= set(places):
        return None
    indices = [places[image] for image in chosen.images]
    return spearman(all_images.mos[indices], all_images.scores[indices])


def _label_tables(experiment: Experiment) -> Iterator[Table]:
    labels = _facet_values(experiment.cells, 'labels')
    columns = [Column('method', numeric=False)]
    columns += [Column(f'{count}', 'labelled images') for count in labels]
    notes = [
        'Mean ± standard deviation over draws of the labelled images'
        + (' and splits' if len(_facet_values(experiment.cells, 'split')) > 1 else '')
        + '; of a single one there is no deviation.'
    ]
    for test in test_names(experiment.cells):
        for name in ('srocc', 'plcc'):
            by_column = []
            for count in labels:
                cells = _with_labels(experiment.cells, count)
                by_column.append(_spread_cells(cells, experiment, measure(test, name)))
            rows = [
                Row([_text(method), *shown])
                for method, *shown in zip(
                    method_names(experiment), *by_column, strict=True
                )
            ]
            where = f' on {test}' if len(test_names(experiment.cells)) > 1 else ''
            yield Table(
                f'{TITLES[name]} by number of labels{where}',
                columns,
                rows,
                notes + _nan_notes(experiment),
            )


def _spread_cells(
    cells: Sequence[CellRecord], experiment: Experiment, value: Value
) -> list[Cell]:
    figures = [
        figure(of_method(cells, method), value) for method in method_names(experiment)
    ]
    best = _best(figures)
    return [
        _mean(item, index in best, deviation=item.spread.sd)
        for index, item in enumerate(figures)
    ]


def _database_tables(experiment: Experiment) -> Iterator[Table]:
    trains = _facet_values(experiment.cells, 'train')
    tests = test_names(experiment.cells)
    tests.sort(key=[*trains, *tests].index)
    columns = [Column('trained on', numeric=False)]
    columns += [Column(test, 'SROCC on') for test in tests]
    shown = {}
    for train in trains:
        cells = [cell for cell in experiment.cells if cell.facets['train'] == train]
        for test in tests:
            if train == test and test not in test_names(cells):
                shown[train, test] = [Cell(NONE)] * len(method_names(experiment))
            else:
                shown[train, test] = _spread_cells(
                    cells, experiment, measure(test, 'srocc')
                )
    notes = [
        'Bold: the best method for this pair of databases. Mean ± standard deviation '
        'over splits, where there are several.'
    ]
    for index, method in enumerate(method_names(experiment)):
        rows = [
            Row([_text(train), *(shown[train, test][index] for test in tests)])
            for train in trains
        ]
        yield Table(f'{method}: SROCC across databases', columns, rows, notes)


def _runtime_tables(experiment: Experiment) -> Iterator[Table]:
    columns = [Column('method', numeric=False)]
    columns += [Column(title) for title, _ in RUNTIME.values()] + [Column('rounds')]
    by_column = []
    for name, (_, less) in RUNTIME.items():
        by_column.append(_medians(experiment, name, less))
    rows = []
    for index, method in enumerate(method_names(experiment)):
        cells = of_method(experiment.cells, method)
        shown = [column[index] for column in by_column]
        rows.append(Row([_text(method), *shown, _count(cells)]))
    yield Table('Run time', columns, rows, ['Median over rounds (lowest to highest).'])


def _medians(experiment: Experiment, name: str, less: bool) -> list[Cell]:
    shown = []
    for method in method_names(experiment):
        cells = of_method(experiment.cells, method)
        values = [
            value
            for cell in cells
            if cell.state == 'finished'
            and (value := cell.measures.get(name)) is not None
        ]
        shown.append(_range(values) or _missing(figure(cells, measured(name))))
    keys = [cell.key for cell in shown if cell.key is not None]
    if name == 'parameters' or len(keys) < 2:
        return shown
    best = min(keys) if less else max(keys)
    return [replace(cell, best=cell.key == best) for cell in shown]


def _range(values: Sequence[float]) -> Cell | None:
    if not values:
        return None
    low, middle, high = min(values), median(values), max(values)
    if low == high:
        return Cell(_quantity(middle), middle)
    text = f'{_quantity(middle)} ({_quantity(low)} to {_quantity(high)})'
    return Cell(text, middle)


def difference_tables(experiment: Experiment) -> list[Table]:
    """Each method against ``compare_with``; none if there is none to compare."""
    base, protocol = experiment.plan.get('compare_with'), experiment.plan['protocol']
    others = [name for name in method_names(experiment) if name != base]
    if not base or not others or protocol == 'runtime' or not experiment.finished:
        return []
    names = ('srocc', 'plcc') if protocol in ('authentic', 'zero_shot') else ('srocc',)
    return [_difference_table(experiment, base, others, name) for name in names]


def _difference_table(
    experiment: Experiment, base: str, others: Sequence[str], name: str
) -> Table:
    groups = list(_comparisons(experiment))
    titles = list(groups[0][0])
    columns = [Column(title, numeric=title == 'labels') for title in titles]
    columns += [
        Column('method', numeric=False),
        Column('mean difference'),
        Column('95% interval'),
        Column('p', 'corrected t-test'),
        Column('p, Holm', 'corrected t-test'),
        Column('p', 'Wilcoxon'),
        Column('p, Holm', 'Wilcoxon'),
        Column('pairs'),
        Column('variance factor'),
    ]
    rows, uncorrected, single = [], set(), False
    for labels, test, cells, unit in groups:
        found = [_compare(cells, method, base, test, name, unit) for method in others]
        adjusted = [holm([item[place] for item in found]) for place in ('t', 'w')]
        for index, (method, item) in enumerate(zip(others, found, strict=True)):
            single |= item['difference'].pairs == 1
            if item['difference'].pairs > 1 and not item['ratio']:
                uncorrected.add(method)
            rows.append(
                Row(
                    [
                        *(Cell(str(label), label) for label in labels.values()),
                        _text(method),
                        *_difference_cells(item),
                        _p(item['t']),
                        _p(adjusted[0][index]),
                        _p(item['w']),
                        _p(adjusted[1][index]),
                        Cell(f'{item["difference"].pairs}/{item["expected"]}'),
                        _factor(item),
                    ]
                )
            )
    notes = _difference_notes(experiment, sorted(uncorrected, key=others.index))
    if single:
        notes.append('A single pair has no interval and no p-value.')
    return Table(f'{TITLES[name]}: difference to {base}', columns, rows, notes)


def _comparisons(
    experiment: Experiment,
) -> Iterator[tuple[dict[str, Any], str, list[CellRecord], Unit]]:
    """Groups of cells whose methods are compared, and what pairs them."""
    cells, tests = list(experiment.cells), test_names(experiment.cells)
    protocol = experiment.plan['protocol']
    if protocol in ('few_shot', 'leave_one_distortion_out'):
        unit = _type
        if protocol == 'few_shot':
            name = 'split' if len(_facet_values(cells, 'split')) > 1 else 'draw'
            unit = _facet(name)
        for test in tests:
            for labels in _facet_values(cells, 'labels'):
                chosen = _with_labels(cells, labels)
                yield {'labels': labels}, test, chosen, unit
    elif protocol == 'cross_database':
        for train in _facet_values(cells, 'train'):
            chosen = [cell for cell in cells if cell.facets['train'] == train]
            for test in test_names(chosen):
                labels = {'trained on': train, 'test': test}
                yield labels, test, chosen, _facet('split')
    else:
        for test in tests:
            labels = {'test': test} if len(tests) > 1 else {}
            yield labels, test, cells, lambda cell: cell.split


def _facet(name: str) -> Unit:
    return lambda cell: cell.facets.get(name, cell.split)


def _compare(
    cells: Sequence[CellRecord],
    method: str,
    base: str,
    test: str,
    name: str,
    unit: Unit,
) -> dict[str, Any]:
    sides = [of_method(cells, method), of_method(cells, base)]
    ours, theirs = (values_of(side, measure(test, name), unit) for side in sides)
    paired = [key for key in ours if key in theirs]
    differences = [_mean_of(ours[key]) - _mean_of(theirs[key]) for key in paired]
    ratio = _test_over_train([cell for side in sides for cell in side], test)
    difference = paired_difference(differences, ratio)
    return {
        'difference': difference,
        't': difference.p,
        'w': wilcoxon(differences),
        'ratio': ratio,
        'expected': len({unit(cell) for cell in cells}),
    }


def _test_over_train(cells: Sequence[CellRecord], test: str) -> float:
    """Mean size of the test sets over that of the smaller train sets; 0 if unknown."""
    by_method = defaultdict(list)
    images = []
    for cell in cells:
        if cell.state == 'finished' and test in cell.tests:
            by_method[cell.method].append(cell.measures.get('train_images') or 0)
            images.append(cell.tests[test].images)
    trains = [mean for sizes in by_method.values() if (mean := _mean_of(sizes))]
    return _mean_of(images) / min(trains) if trains else 0.0


def _difference_cells(item: Mapping[str, Any]) -> list[Cell]:
    difference = item['difference']
    if not difference.pairs:
        return [Cell('no pair', state='missing'), Cell(NONE)]
    low, high = difference.low, difference.high
    interval = Cell(NONE)
    if not math.isnan(low):
        interval = Cell(f'{_signed(low)} to {_signed(high)}', low)
    if math.isnan(difference.mean):
        return [Cell('NaN', state='nan'), interval]
    return [Cell(_signed(difference.mean), difference.mean), interval]


def _factor(item: Mapping[str, Any]) -> Cell:
    factor = item['difference'].factor
    if math.isnan(factor):
        return Cell(NONE)
    return Cell(f'{factor:.3f}' + ('' if item['ratio'] else ' (1/J)'), factor)


def _difference_notes(experiment: Experiment, uncorrected: Sequence[str]) -> list[str]:
    protocol = experiment.plan['protocol']
    notes = [
        'Positive: better than the method compared with. Interval and p-value: '
        'corrected resampled t-test (Nadeau and Bengio, 2003), which multiplies the '
        'variance of the J differences by 1/J + n_test/n_train, as splits share most '
        'of their images. Wilcoxon signed-rank test beside it, which takes them as '
        'independent. Holm: corrected for the number of methods.'
    ]
    if protocol == 'leave_one_distortion_out':
        notes.append(
            'Paired over types. They are no random splits: the interval speaks of '
            'types like these.'
        )
    if protocol == 'few_shot':
        several = len(_facet_values(experiment.cells, 'split')) > 1
        notes.append(
            'Paired over splits, of the means over draws.'
            if several
            else 'Paired over draws, which share their test images: nothing is said of '
            'other test images.'
        )
    if uncorrected:
        notes.append(
            f'No train images are recorded for {", ".join(uncorrected)} and the method '
            'compared with: variance factor 1/J, the usual paired t-test, which is too '
            'sure where test sets overlap.'
        )
    return notes


def overview_table(experiments: Sequence[Experiment]) -> Table:
    """One row an experiment."""
    titles = ('finished', 'failed', 'open', 'time')
    columns = [Column('experiment', numeric=False), Column('protocol', numeric=False)]
    columns += [Column(title) for title in titles]
    rows = [
        Row(
            [
                _text(experiment.plan['name']),
                _text(experiment.plan['protocol']),
                *_states(experiment.cells),
                _time(experiment.cells),
            ]
        )
        for experiment in experiments
    ]
    return Table('Experiments', columns, rows, ['Time: of the finished cells, added.'])


def cells_table(experiment: Experiment) -> Table:
    """What is finished of each method, and how long it took."""
    titles = ('finished', 'failed', 'open', 'time', 'time a cell')
    columns = [Column('method', numeric=False), Column('kind', numeric=False)]
    columns += [Column(title) for title in titles]
    rows = []
    for method in experiment.plan['methods']:
        cells = of_method(experiment.cells, method['name'])
        seconds = _seconds(cells)
        each = _duration(median(seconds)) if seconds else Cell(NONE)
        shown = [*_states(cells), _time(cells), each]
        rows.append(Row([_text(method['name']), _text(method['kind']), *shown]))
    return Table('Cells and time', columns, rows, ['Time a cell: median.'])


def unfinished_table(experiment: Experiment) -> Table | None:
    """Failed and open cells, those alike in one row; None if all are finished."""
    alike = defaultdict(list)
    for cell in experiment.cells:
        if cell.state != 'finished':
            alike[cell.method, cell.state, cell.error].append(cell)
    seeds = len(_seeds(experiment)) > 1
    columns = [
        Column(title, numeric=title == 'cells')
        for title in ('method', 'state', 'error', 'cells', 'splits')
    ]
    rows = []
    for (method, state, error), cells in alike.items():
        places = [
            f'{cell.split} (seed {cell.seed})' if seeds else cell.split
            for cell in cells
        ]
        texts = [_text(method), _text(state), _text(error or NONE)]
        number = Cell(str(len(cells)), len(cells))
        rows.append(Row([*texts, number, _text(', '.join(places))]))
    return Table('Failed and open cells', columns, rows) if rows else None


def csv_rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """A row for each cell and test set; one for a cell without any."""
    for cell in experiment.cells:
        place = {
            'experiment': experiment.plan['name'],
            'protocol': experiment.plan['protocol'],
            'method': cell.method,
            'split': cell.split,
            'seed': cell.seed,
            'facets': json.dumps(dict(cell.facets), sort_keys=True),
            'seconds': cell.measures.get('seconds', ''),
            'measures': json.dumps(dict(cell.measures), sort_keys=True),
            'state': cell.state,
            'error': cell.error,
        }
        for test, record in cell.tests.items():
            best = {
                'best_epoch' if name == 'epoch' else f'best_epoch_{name}': value
                for name, value in (record.best_epoch or {}).items()
            }
            numbers = {name: getattr(record, name) for name in CORRELATIONS}
            yield {**place, 'test': test, 'images': record.images, **numbers, **best}
        if not cell.tests:
            yield place


def duration(seconds: float) -> str:
    """``'2 h 03 min'``, ``'4 min 05 s'`` or ``'6.5 s'``."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60:,} h {minutes % 60:02d} min'


def _facet_values(cells: Sequence[CellRecord], name: str) -> list[Any]:
    """Its values in order: of size for numbers, of the plan for others."""
    values = list(dict.fromkeys(cell.facets.get(name) for cell in cells))
    values = [value for value in values if value is not None]
    numbers = all(isinstance(value, (int, float)) for value in values)
    return sorted(values) if numbers else values


def _with_labels(cells: Sequence[CellRecord], labels: Any) -> list[CellRecord]:
    return [cell for cell in cells if cell.facets.get('labels') == labels]


def _best(figures: Sequence[Figure], less: bool = False) -> set[int]:
    known = {
        index: item.spread.mean
        for index, item in enumerate(figures)
        if not math.isnan(item.spread.mean)
    }
    most = max((figures[index].spread.splits for index in known), default=0)
    known = {
        index: mean
        for index, mean in known.items()
        if figures[index].spread.splits == most
    }
    if len(figures) < 2 or not known:
        return set()
    best = min(known.values()) if less else max(known.values())
    return {index for index, mean in known.items() if mean == best}


def _text(text: str) -> Cell:
    return Cell(text, text)


def _number(value: float | None) -> Cell:
    """A number that is there or is not."""
    if value is None or math.isnan(value):
        return Cell(NONE)
    return Cell(_decimals(value), value)


def _mean(
    item: Figure,
    best: bool = False,
    deviation: float | None = None,
    brief: bool = False,
) -> Cell:
    """A mean; with a deviation, how many cells it is of unless that is all of them."""
    if not item.finished:
        return Cell(NONE) if brief else _missing(item)
    mean = item.spread.mean
    text = 'NaN' if math.isnan(mean) else _decimals(mean)
    if deviation is not None and not math.isnan(mean):
        text += '' if math.isnan(deviation) else f' ± {_decimals(deviation)}'
    if deviation is not None and item.finished < item.expected:
        text += f' ({item.finished}/{item.expected})'
    if math.isnan(mean):
        return Cell(text, state='nan')
    return Cell(text, mean, best, hint=item.problem if deviation is not None else '')


def _seeded(item: Figure, best: bool, deviation: bool) -> Cell:
    """A mean, the deviation over seeds if wanted, its count if it is not complete."""
    if not item.finished:
        return _missing(item)
    shown = _mean(item, best)
    over = item.spread.sd_seeds
    text = shown.text
    if deviation and not math.isnan(over):
        text += f' ± {_decimals(over)}'
    if item.finished < item.expected:
        text += f' ({item.finished}/{item.expected})'
    return replace(shown, text=text, hint=item.problem)


def _missing(item: Figure) -> Cell:
    if not item.expected:
        return Cell('not planned', state='missing')
    text = item.problem or 'open'
    brief = text if len(text) <= 48 else f'{text[:47]}…'
    return Cell(f'{brief} (0/{item.expected})', state='missing', hint=text)


def _count(cells: Sequence[CellRecord]) -> Cell:
    finished = sum(cell.state == 'finished' for cell in cells)
    return Cell(f'{finished}/{len(cells)}', finished)


def _states(cells: Sequence[CellRecord]) -> list[Cell]:
    states = [cell.state for cell in cells]
    counts = [states.count(state) for state in ('finished', 'failed', 'open')]
    first = Cell(f'{counts[0]}/{len(cells)}', counts[0])
    return [first, *(Cell(str(count), count) for count in counts[1:])]


def _seconds(cells: Sequence[CellRecord]) -> list[float]:
    found = [cell.measures.get('seconds') for cell in cells]
    return [seconds for seconds in found if seconds is not None]


def _time(cells: Sequence[CellRecord]) -> Cell:
    seconds = _seconds(cells)
    return _duration(sum(seconds)) if seconds else Cell(NONE)


def _duration(seconds: float) -> Cell:
    return Cell(duration(seconds), seconds)


def _p(value: float) -> Cell:
    if math.isnan(value):
        return Cell(NONE)
    return Cell('< 0.001' if value < 0.001 else f'{value:.3f}', value)


def _decimals(value: float) -> str:
    text = f'{value:.3f}'
    return text[1:] if float(text) == 0 and text.startswith('-') else text


def _signed(value: float) -> str:
    text = f'{value:+.4f}'
    return text[1:] if float(text) == 0 else text


def _quantity(value: float) -> str:
    if value >= 1e6:
        return f'{value / 1e6:.1f} M'
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def _mean_of(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
