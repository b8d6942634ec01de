"""Tables with a row for each method, published ones below: mean and deviation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from metaiqa_plugin.benchmark.records import CellRecord, Experiment
from metaiqa_plugin.benchmark.report.published import published_methods, source_note
from metaiqa_plugin.benchmark.report.summaries import (
    Value,
    facet_values,
    measure,
    method_names,
    select,
    summarize,
    swept,
    test_names,
)
from metaiqa_plugin.benchmark.report.summary_cells import (
    best_marked,
    count_cell,
    mean_cell,
    nan_notes,
    seeded,
)
from metaiqa_plugin.benchmark.report.table_model import (
    NONE,
    TITLES,
    Cell,
    Column,
    Row,
    Table,
    number_cell,
    text_cell,
)

__all__ = ['method_tables']

PICKED = 'best epoch, picked on the test set'


def method_tables(experiment: Experiment) -> Iterator[Table]:
    """Correlations on each test set, and other measures."""
    tests = test_names(experiment.cells)
    for test in tests:
        where = f' on {test}' if len(tests) > 1 else ''
        yield _main_table(experiment, test, f'PLCC and SROCC{where}')
        yield _measures_table(
            experiment,
            test,
            ('plcc_logistic', 'krocc', 'rmse'),
            f'Other measures{where}',
            nan_notes(experiment, 'plcc_logistic', test),
        )


def _main_table(experiment: Experiment, test: str, caption: str) -> Table:
    published = _published(experiment, test)
    table = _measures_table(experiment, test, ('plcc', 'srocc'), caption, (), published)
    trained = experiment.plan['protocol'] != 'zero_shot'
    notes = [
        ('Scores after the last epoch. ' if trained else '')
        + 'Mean and standard deviation over splits'
        + ('; SD over seeds: within a split.' if seeded(experiment) else '.')
    ]
    if any(column.group == PICKED for column in table.columns):
        notes.append(
            'The best epoch is the one with the best SROCC on the very images it is '
            'judged by: it is no estimate for new images, and never marked as best.'
        )
    if published:
        notes.append(source_note(experiment.plan['published']))
    return replace(table, notes=notes + nan_notes(experiment, 'srocc', test))


def _measures_table(
    experiment: Experiment,
    test: str,
    names: Sequence[str],
    caption: str,
    notes: Sequence[str],
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> Table:
    """A row for each method; published ones, and the best epochs, only if wanted."""
    cells = [select(experiment.cells, method) for method in method_names(experiment)]
    columns = [Column('method', numeric=False)]
    grid = [[text_cell(method)] for method in method_names(experiment)]
    below = [[text_cell(method)] for method in published or ()]

    def add(title: str, group: str, own: Sequence[Cell], beside: str = '') -> None:
        columns.append(Column(title, group))
        for row, cell in zip(grid, own, strict=True):
            row.append(cell)
        for row in below:
            row.append(number_cell(published[row[0].text].get(beside)))

    for name in swept(experiment):
        add(name, '', [_parameter(row, name) for row in cells])
    for name in names:
        summaries = [summarize(row, measure(test, name)) for row in cells]
        write = partial(mean_cell, brief=name != names[0])
        means = best_marked(summaries, write, less=name == 'rmse')
        add('mean', TITLES[name], means, beside=name)
        spreads = [item.spread for item in summaries]
        add('SD', TITLES[name], [number_cell(item.sd) for item in spreads])
        if seeded(experiment):
            over = [number_cell(item.sd_seeds) for item in spreads]
            add('SD over seeds', TITLES[name], over)
    for name in names if published is not None else ():
        picked = [summarize(row, _best_epoch(test, name)) for row in cells]
        if any(item.finished for item in picked):
            add(TITLES[name], PICKED, [mean_cell(item, brief=True) for item in picked])
    add('cells', '', [count_cell(row) for row in cells])
    rows = [Row(row) for row in grid] + [Row(row, 'published') for row in below]
    return Table(caption, columns, rows, notes)


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


def _best_epoch(test: str, name: str) -> Value:
    def value(cell: CellRecord) -> float | None:
        record = cell.tests.get(test)
        if record is None or not record.best_epoch:
            return None
        number = record.best_epoch.get(name)
        return math.nan if number is None else number

    return value


def _parameter(cells: Sequence[CellRecord], name: str) -> Cell:
    values = facet_values(cells, name)
    text = ', '.join(map(str, values)) or NONE
    number = len(values) == 1 and isinstance(values[0], (int, float))
    return Cell(text, values[0] if number else text)
