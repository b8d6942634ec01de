"""The tables of results: what each protocol says in numbers, published ones beside."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaiqa_plugin.benchmark.records import CellRecord
from metaiqa_plugin.benchmark.report.summaries import (
    Cells,
    Summary,
    Value,
    measure,
    measured,
    picked,
    srocc_of,
    with_best,
)
from metaiqa_plugin.benchmark.report.tables import (
    NONE,
    TITLES,
    Entry,
    Table,
    count_entry,
    deviation_entry,
    mean_entry,
    missing_entry,
    nan_notes,
    number_entry,
    text_entry,
)
from metaiqa_plugin.data.distortions import DISTORTIONS, KADID10K
from metaiqa_plugin.errors import one_of

__all__ = ['RUNTIME', 'published_methods', 'published_types', 'result_tables']

PICKED = 'best epoch, picked on the test set'
RUNTIME = {
    'images_per_second': ('images per second', False),
    'milliseconds': ('ms an image, one at a time', True),
    'peak_memory_mb': ('peak memory, MB', True),
    'parameters': ('parameters', True),
}
"""Measures of run time: title, and whether less is better."""

PUBLISHED = Path(__file__).parent / 'published_tables'
PAPER = 'MetaIQA (Zhu et al., CVPR 2020)'
SOURCES = {
    'authentic': f'the comparison in {PAPER}',
    'ablation': f'the ablation study in {PAPER}',
    'lodo_srocc': f'the leave-one-distortion-out comparison in {PAPER}',
    'pyiqa_nr_benchmark': "pyiqa's benchmark of no-reference metrics",
    'biq2021': 'the two tables in the README of BIQ2021 (Ahmed and Asif, Journal of '
    'Electronic Imaging, 2022), whose second has one figure for both correlations of '
    'most methods',
}
Columns = dict[Any, list[Entry]]


def result_tables(cells: Cells) -> list[Table]:
    """The tables of its protocol.

    Raises:
        UserError: a protocol that the report does not know.
    """
    makers = {
        'authentic': _method_tables,
        'zero_shot': _method_tables,
        'parameters': _method_tables,
        'leave_one_distortion_out': _type_tables,
        'leave_one_subset_out': _type_tables,
        'few_shot': _label_tables,
        'cross_database': _database_tables,
        'runtime': _runtime_table,
    }
    one_of(f'{cells.plan["name"]}: protocol', cells.protocol, tuple(makers))
    return list(makers[cells.protocol](cells)) if len(cells.finished) else []


def _method_tables(cells: Cells) -> Iterator[Table]:
    """A row for each method; correlations on each test set, then other measures."""
    for test, where in cells.by_test():
        published = _published(cells, test)
        columns = _measures(cells, test, ('plcc', 'srocc'), published)
        after = '' if cells.protocol == 'zero_shot' else 'Scores after the last epoch. '
        seeds = '; SD over seeds: within a split.' if cells.seeded else '.'
        notes = [f'{after}Mean and standard deviation over splits{seeds}']
        if any(PICKED in title for title in columns):
            notes.append(
                'The best epoch is the one with the best SROCC on the very images it '
                'is judged by: it is no estimate for new images, and never marked as '
                'best.'
            )
        if published:
            notes.append(_source_note(cells.plan['published']))
        notes += nan_notes(cells, 'srocc', test)
        yield Table(f'PLCC and SROCC{where}', columns, notes, len(published))
        columns = _measures(cells, test, ('plcc_logistic', 'krocc', 'rmse'))
        notes = nan_notes(cells, 'plcc_logistic', test)
        yield Table(f'Other measures{where}', columns, notes)


def _measures(
    cells: Cells,
    test: str,
    names: Sequence[str],
    published: Mapping[str, dict[str, float]] | None = None,
) -> Columns:
    """Columns: mean and deviation of each measure, published ones below the means."""
    own = [cells.of(method) for method in cells.methods]
    theirs = published or {}
    columns: Columns = _text_column('method', [*cells.methods, *theirs])
    for name in cells.swept:
        columns[name] = [_parameter(row.values(name)) for row in own]
    for name in names:
        found = cells.summaries(measure(test, name))
        columns[TITLES[name], 'mean'] = [
            *(
                mean_entry(item, best, brief=name != names[0])
                for item, best in with_best(found, less=name == 'rmse')
            ),
            *(number_entry(row.get(name)) for row in theirs.values()),
        ]
        columns[TITLES[name], 'SD'] = [number_entry(item.sd) for item in found]
        if cells.seeded:
            over = [number_entry(item.sd_seeds) for item in found]
            columns[TITLES[name], 'SD over seeds'] = over
    for name in names if published is not None else ():
        found = cells.summaries(picked(test, name))
        if any(item.numbers for item in found):
            shown = [mean_entry(item, brief=True) for item in found]
            columns[PICKED, TITLES[name]] = shown
    columns['cells'] = [count_entry(row) for row in own]
    height = len(own) + len(theirs)
    return {
        title: column + [NONE] * (height - len(column))
        for title, column in columns.items()
    }


def _parameter(values: Sequence[Any]) -> Entry:
    text = ', '.join(map(str, values)) or '-'
    number = len(values) == 1 and isinstance(values[0], (int, float))
    return Entry(text, values[0] if number else text)


def _type_tables(cells: Cells) -> Iterator[Table]:
    """A row for each type of distortion: unseen, then after labels of it."""
    test = cells.tests[0]
    plain = cells.where('facets.labels', 0)
    if len(plain):
        yield _unseen_table(plain, test)
    for labels in cells.values('labels'):
        if labels:
            adapted = cells.where('facets.labels', labels)
            yield _adapted_table(adapted, plain, test, labels)


def _unseen_table(cells: Cells, test: str) -> Table:
    types, source = cells.values('type'), cells.plan.get('published')
    theirs = {}
    if source and source['table'] == 'lodo_srocc':
        theirs = published_types(source)
    columns = _text_column(f'unseen {cells.left_out}', [*types, 'Average'])
    ours = _by_type(cells, measure(test, 'srocc'))
    for method, column in zip(cells.methods, ours, strict=True):
        columns['this run', method] = column
    for name, figures in theirs.items():
        known = [figures.get(kind, math.nan) for kind in types]
        average = sum(known) / len(known)
        columns['published', name] = list(map(number_entry, (*known, average)))
    notes = [
        f'SROCC on each {cells.left_out} by a network that was trained on all the '
        'others.'
    ]
    if cells.seeded:
        notes.append('Mean over seeds, ± standard deviation over them.')
    if theirs:
        notes.append(_source_note(source))
        notes.append('Their averages are taken over the types in this table.')
    notes += nan_notes(cells, 'srocc', test)
    return Table(f'SROCC on unseen {cells.left_out}s', columns, notes, summary=True)


def _adapted_table(cells: Cells, plain: Cells, test: str, labels: Any) -> Table:
    finished = (of.finished.table for of in (cells, plain))
    place = ['method', 'facets.type', 'seed']
    pairs = pd.merge(*finished, on=place, suffixes=('', '_before'))
    known = {
        after.folder: _on_images_of(before, after, test)
        for before, after in zip(pairs.cell_before, pairs.cell, strict=True)
    }
    columns = _text_column(
        f'unseen {cells.left_out}', [*cells.values('type'), 'Average']
    )
    before = _by_type(cells, lambda cell: known.get(cell.folder))
    after = _by_type(cells, measure(test, 'srocc'))
    for method, *pair in zip(cells.methods, before, after, strict=True):
        if len(cells.of(method)):
            columns[method, 'before'], columns[method, 'after'] = pair
    draws = len(cells.values('draw'))
    notes = [
        f'After: adapted to {labels} labelled images of the unseen {cells.left_out}, '
        'tested on its images of other photos. Before: the same network without '
        'them, on the same images. Means over seeds'
        + (f' and {draws} draws of the labelled images' if draws > 1 else '')
        + ', ± standard deviation over them where there are several. Bold: the best '
        'before, and the best after.'
    ]
    return Table(f'SROCC after {labels} labels', columns, notes, summary=True)


def _by_type(cells: Cells, value: Value) -> list[Sequence[Entry]]:
    """For each method the mean on each type, then on all: there without deviation."""
    found = cells.summaries_by('type', value, 'facets.type')
    rows = [
        [deviation_entry(item, best, item.sd_seeds) for item, best in with_best(row)]
        for row in found.values()
    ]
    whole = with_best(cells.summaries(value, 'facets.type'))
    rows.append([deviation_entry(item, best, math.nan) for item, best in whole])
    return list(zip(*rows, strict=True))


def _on_images_of(origin: CellRecord, cell: CellRecord, test: str) -> float | None:
    """SROCC of ``origin`` on the images ``cell`` was tested on; None if unknown."""
    whole, part = origin.predictions(test), cell.predictions(test)
    if whole is None or part is None or not set(part.images) <= set(whole.images):
        return None
    chosen = np.isin(whole.images, part.images)
    return srocc_of(whole.mos[chosen], whole.scores[chosen])


def _label_tables(cells: Cells) -> Iterator[Table]:
    splits = ' and splits' if len(cells.values('split')) > 1 else ''
    note = (
        f'Mean ± standard deviation over draws of the labelled images{splits}; of a '
        'single one there is no deviation.'
    )
    for test, where in cells.by_test():
        for name in ('srocc', 'plcc'):
            columns = _text_column('method', cells.methods)
            found = cells.summaries_by('labels', measure(test, name))
            for count, row in found.items():
                columns['labelled images', str(count)] = _spreads(row)
            notes = [note, *nan_notes(cells, 'srocc', test)]
            yield Table(f'{TITLES[name]} by number of labels{where}', columns, notes)


def _database_tables(cells: Cells) -> Iterator[Table]:
    trains, tests = cells.values('train'), cells.tests
    tests.sort(key=[*trains, *tests].index)
    shown = {}
    for train in trains:
        chosen = cells.where('facets.train', train)
        for test in tests:
            shown[train, test] = [NONE] * len(cells.methods)
            if train != test or test in chosen.tests:
                shown[train, test] = _spreads(chosen.summaries(measure(test, 'srocc')))
    notes = [
        'Bold: the best method for this pair of databases. Mean ± standard deviation '
        'over splits, where there are several.'
    ]
    for index, method in enumerate(cells.methods):
        columns = _text_column('trained on', trains)
        for test in tests:
            columns['SROCC on', test] = [shown[train, test][index] for train in trains]
        yield Table(f'{method}: SROCC across databases', columns, notes)


def _text_column(title: str, texts: Sequence[str]) -> Columns:
    return {title: list(map(text_entry, texts))}


def _spreads(found: Sequence[Summary]) -> list[Entry]:
    """Mean ± deviation over splits of each method, the best marked."""
    return [deviation_entry(item, best, item.sd) for item, best in with_best(found)]


def _runtime_table(cells: Cells) -> Iterator[Table]:
    columns = _text_column('method', cells.methods)
    for name, (title, less) in RUNTIME.items():
        found = with_best(cells.summaries(measured(name)), less, 'median', _quantity)
        columns[title] = [
            _range(item, best and name != 'parameters') for item, best in found
        ]
    columns['rounds'] = [count_entry(cells.of(name)) for name in cells.methods]
    yield Table('Run time', columns, ['Median over rounds (lowest to highest).'])


def _range(item: Summary, best: bool) -> Entry:
    if not item.numbers:
        return missing_entry(item)
    low, high = _quantity(min(item.numbers)), _quantity(max(item.numbers))
    text = _quantity(item.median) + (f' ({low} to {high})' if low != high else '')
    return Entry(text, item.median, best)


def _quantity(value: float) -> str:
    if value >= 1e6:
        return f'{value / 1e6:.1f} M'
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def _published(cells: Cells, test: str) -> dict[str, dict[str, float]]:
    """Published rows beside a test set; of several, the one named as the database."""
    source = cells.plan.get('published')
    if not source or source['table'] == 'lodo_srocc':
        return {}
    names = [re.sub(r'\W', '', name).lower() for name in (test, source['database'])]
    if len(cells.tests) > 1 and names[0] != names[1]:
        return {}
    found = published_methods(source)
    if source['table'] == 'pyiqa_nr_benchmark':
        ours = {name.lower() for name in cells.methods}
        found = {name: row for name, row in found.items() if name.lower() in ours}
    return found


def published_methods(source: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Correlations by method of one database.

    Args:
        source: ``table`` and ``database``.

    Returns:
        ``{method: {'plcc': ..., 'srocc': ...}}`` in the order of the table, with what
        it has; methods without a figure for the database are left out.

    Raises:
        UserError: no such table.
    """
    names = {'PLCC': 'plcc', 'SROCC': 'srocc', 'SRCC': 'srocc'}
    columns = {f'{source["database"]}_{name}': to for name, to in names.items()}
    table = _table(source).rename(columns=columns)
    rows = table.set_index(table.columns[0]).filter(['plcc', 'srocc']).iterrows()
    known = {method: row.dropna().to_dict() for method, row in rows}
    return {method: row for method, row in known.items() if row}


def published_types(source: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """SROCC on an unseen type of distortion: ``{method: {type: ...}}``.

    KADID-10k's types are named as here, TID2013's as in the paper, which is how its
    labels are read; the published average is left out.

    Raises:
        UserError: no such table.
    """
    table = _table(source)
    table = table[
        (table.database == source['database']) & (table.distortion != 'Average')
    ]
    if source['database'] == 'KADID-10k':
        names = {DISTORTIONS[name].abbreviation: name for name in KADID10K}
        table = table.assign(distortion=table.distortion.map(names))
    return table.set_index('distortion').drop(columns='database').to_dict()


def _source_note(source: Mapping[str, Any]) -> str:
    """Where published figures are from, and whether ours stand beside them."""
    return f'Published: from {SOURCES[source["table"]]}, on {source["database"]}, ' + (
        'by the same protocol.'
        if source.get('same_protocol')
        else 'by another protocol, so not comparable number by number.'
    )


def _table(source: Mapping[str, Any]) -> pd.DataFrame:
    one_of('published.table', source['table'], tuple(SOURCES))
    return pd.read_csv(PUBLISHED / f'{source["table"]}.csv')
