"""What is finished and how long it took, in tables; every number there is, in rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from metaiqa_plugin.benchmark.records import CORRELATIONS, CellRecord, Experiment
from metaiqa_plugin.benchmark.report.summaries import select
from metaiqa_plugin.benchmark.report.table_model import (
    NONE,
    Cell,
    Column,
    Row,
    Table,
    duration,
    text_cell,
)

__all__ = [
    'CSV_COLUMNS',
    'cells_table',
    'csv_rows',
    'overview_table',
    'total_seconds',
    'unfinished_table',
]

CSV_COLUMNS = (
    *('experiment', 'protocol', 'method', 'split', 'seed', 'facets', 'test', 'images'),
    *CORRELATIONS,
    *('best_epoch', 'best_epoch_srocc', 'best_epoch_plcc', 'best_epoch_epochs'),
    *('seconds', 'measures', 'state', 'error'),
)


def overview_table(experiments: Mapping[str, Experiment]) -> Table:
    """One row an experiment, which leads to the id it has on the page."""
    rows = []
    for anchor, experiment in experiments.items():
        name, protocol = experiment.plan['name'], experiment.plan['protocol']
        first = Cell(name, name, link=anchor)
        rows.append(Row([first, text_cell(protocol), *_states(experiment.cells)]))
    columns = _columns('experiment', 'protocol')
    return Table('Experiments', columns, rows, ['Time: of the finished cells, added.'])


def cells_table(experiment: Experiment) -> Table:
    """What is finished of each method, and how long it took."""
    rows = []
    for method in experiment.plan['methods']:
        cells = select(experiment.cells, method['name'])
        seconds = _seconds(cells)
        each = _duration(median(seconds)) if seconds else Cell(NONE)
        texts = [text_cell(method['name']), text_cell(method['kind'])]
        rows.append(Row([*texts, *_states(cells), each]))
    columns = [*_columns('method', 'kind'), Column('time a cell')]
    return Table('Cells and time', columns, rows, ['Time a cell: median.'])


def unfinished_table(experiment: Experiment) -> Table | None:
    """Failed and open cells, those alike in one row; None if all are finished."""
    alike = defaultdict(list)
    for cell in experiment.cells:
        if cell.state != 'finished':
            alike[cell.method, cell.state, cell.error].append(cell)
    columns = [
        Column(title, numeric=title == 'cells')
        for title in ('method', 'state', 'error', 'cells', 'splits')
    ]
    rows = [
        Row(
            [
                *(text_cell(text or NONE) for text in place),
                Cell(str(len(cells)), len(cells)),
                text_cell(_places(experiment, cells)),
            ]
        )
        for place, cells in alike.items()
    ]
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


def total_seconds(cells: Sequence[CellRecord]) -> float:
    """Of the finished ones."""
    return sum(_seconds(cells))


def _columns(*texts: str) -> list[Column]:
    numbers = ('finished', 'failed', 'open', 'time')
    return [Column(text, numeric=False) for text in texts] + list(map(Column, numbers))


def _states(cells: Sequence[CellRecord]) -> list[Cell]:
    states = [cell.state for cell in cells]
    counts = [states.count(state) for state in ('finished', 'failed', 'open')]
    seconds = total_seconds(cells)
    return [
        Cell(f'{counts[0]}/{len(cells)}', counts[0]),
        *(Cell(str(count), count) for count in counts[1:]),
        _duration(seconds) if seconds else Cell(NONE),
    ]


def _seconds(cells: Sequence[CellRecord]) -> list[float]:
    return [cell.measures['seconds'] for cell in cells if cell.measures.get('seconds')]


def _duration(seconds: float) -> Cell:
    return Cell(duration(seconds), seconds)


def _places(experiment: Experiment, cells: Sequence[CellRecord]) -> str:
    """Splits of a method's cells, with their seeds if these are several."""
    if len(cells) == len(select(experiment.cells, cells[0].method)):
        return 'all'
    seeded = len({cell.seed for cell in experiment.cells}) > 1
    seeds = defaultdict(list)
    for cell in cells:
        seeds[cell.split].append(str(cell.seed))
    places = [
        f'{split} (seed {", ".join(of)})' if seeded else split
        for split, of in seeds.items()
    ]
    return ('; ' if any(',' in place for place in places) else ', ').join(places)
