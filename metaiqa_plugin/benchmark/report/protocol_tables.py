"""The tables of results: what each protocol says in numbers."""

from __future__ import annotations

from collections.abc import Iterator

from metaiqa_plugin.benchmark.records import Experiment
from metaiqa_plugin.benchmark.report.method_tables import method_tables
from metaiqa_plugin.benchmark.report.summaries import (
    Summary,
    facet_values,
    measure,
    measured,
    method_names,
    select,
    test_names,
)
from metaiqa_plugin.benchmark.report.summary_cells import (
    best_marked,
    count_cell,
    missing_cell,
    nan_notes,
    spread_cells,
    summaries_of,
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
from metaiqa_plugin.benchmark.report.type_tables import type_tables
from metaiqa_plugin.errors import UserError

__all__ = ['RUNTIME', 'result_tables']

RUNTIME = {
    'images_per_second': ('images per second', False),
    'milliseconds': ('ms an image, one at a time', True),
    'peak_memory_mb': ('peak memory, MB', True),
    'parameters': ('parameters', True),
}
"""Measures of run time: title, and whether less is better."""


def result_tables(experiment: Experiment) -> list[Table]:
    """The tables of its protocol.

    Raises:
        UserError: a protocol that the report does not know.
    """
    makers = {
        'authentic': method_tables,
        'zero_shot': method_tables,
        'parameters': method_tables,
        'leave_one_distortion_out': type_tables,
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


def _label_tables(experiment: Experiment) -> Iterator[Table]:
    cells, methods = experiment.cells, method_names(experiment)
    labels, tests = facet_values(cells, 'labels'), test_names(cells)
    columns = [Column('method', numeric=False)]
    columns += [Column(f'{count}', 'labelled images') for count in labels]
    note = (
        'Mean ± standard deviation over draws of the labelled images'
        + (' and splits' if len(facet_values(cells, 'split')) > 1 else '')
        + '; of a single one there is no deviation.'
    )
    for test in tests:
        where = f' on {test}' if len(tests) > 1 else ''
        for name in ('srocc', 'plcc'):
            shown = [
                spread_cells(select(cells, labels=count), methods, measure(test, name))
                for count in labels
            ]
            rows = [
                Row([text_cell(method), *row])
                for method, *row in zip(methods, *shown, strict=True)
            ]
            notes = [note, *nan_notes(experiment, 'srocc', test)]
            caption = f'{TITLES[name]} by number of labels{where}'
            yield Table(caption, columns, rows, notes)


def _database_tables(experiment: Experiment) -> Iterator[Table]:
    methods, trains = method_names(experiment), facet_values(experiment.cells, 'train')
    tests = test_names(experiment.cells)
    tests.sort(key=[*trains, *tests].index)
    columns = [Column('trained on', numeric=False)]
    columns += [Column(test, 'SROCC on') for test in tests]
    shown = {}
    for train in trains:
        cells = select(experiment.cells, train=train)
        for test in tests:
            row = spread_cells(cells, methods, measure(test, 'srocc'))
            untested = train == test and test not in test_names(cells)
            shown[train, test] = [Cell(NONE)] * len(methods) if untested else row
    notes = [
        'Bold: the best method for this pair of databases. Mean ± standard deviation '
        'over splits, where there are several.'
    ]
    for index, method in enumerate(methods):
        rows = [
            Row([text_cell(train), *(shown[train, test][index] for test in tests)])
            for train in trains
        ]
        yield Table(f'{method}: SROCC across databases', columns, rows, notes)


def _runtime_tables(experiment: Experiment) -> Iterator[Table]:
    methods = method_names(experiment)
    columns = [Column('method', numeric=False)]
    columns += [Column(title) for title, _ in RUNTIME.values()] + [Column('rounds')]
    shown = []
    for name, (_, less) in RUNTIME.items():
        summaries = summaries_of(experiment.cells, methods, measured(name))
        if name == 'parameters':
            shown.append([_range(item) for item in summaries])
        else:
            shown.append(best_marked(summaries, _range, less, 'median'))
    shown.append([count_cell(select(experiment.cells, method)) for method in methods])
    rows = [
        Row([text_cell(method), *row])
        for method, *row in zip(methods, *shown, strict=True)
    ]
    yield Table('Run time', columns, rows, ['Median over rounds (lowest to highest).'])


def _range(item: Summary, best: bool = False) -> Cell:
    if not item.finished:
        return missing_cell(item)
    low, high = (_quantity(end(item.numbers)) for end in (min, max))
    text = _quantity(item.median) + (f' ({low} to {high})' if low != high else '')
    return Cell(text, item.median, best)


def _quantity(value: float) -> str:
    if value >= 1e6:
        return f'{value / 1e6:.1f} M'
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'
