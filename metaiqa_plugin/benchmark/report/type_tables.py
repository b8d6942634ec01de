"""Tables with a row for each unseen type of distortion, before and after labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from metaiqa_plugin.benchmark.records import CellRecord, Experiment
from metaiqa_plugin.benchmark.report.published import published_types, source_note
from metaiqa_plugin.benchmark.report.statistics import spearman
from metaiqa_plugin.benchmark.report.summaries import (
    Value,
    facet_values,
    in_type,
    measure,
    method_names,
    select,
    test_names,
)
from metaiqa_plugin.benchmark.report.summary_cells import (
    best_marked,
    deviation_cell,
    nan_notes,
    seeded,
    summaries_of,
)
from metaiqa_plugin.benchmark.report.table_model import (
    Cell,
    Column,
    Row,
    Table,
    number_cell,
    text_cell,
)

__all__ = ['type_tables']


def type_tables(experiment: Experiment) -> Iterator[Table]:
    """On unseen types, then after labels."""
    test = test_names(experiment.cells)[0]
    plain = [cell for cell in experiment.cells if not cell.facets.get('labels')]
    if plain:
        yield _unseen_table(experiment, plain, test)
    for labels in facet_values(experiment.cells, 'labels'):
        if labels:
            yield _adapted_table(experiment, plain, test, labels)


def _unseen_table(
    experiment: Experiment, cells: Sequence[CellRecord], test: str
) -> Table:
    methods, types = method_names(experiment), facet_values(cells, 'type')
    source = experiment.plan.get('published')
    published: dict[str, dict[str, float]] = {}
    if source and source['table'] == 'lodo_srocc':
        published = published_types(source)
    columns = [Column('unseen type', numeric=False)]
    columns += [Column(method, 'this run') for method in methods]
    columns += [Column(name, 'published') for name in published]
    rows = []
    for kind in [*types, None]:
        ours = _of_type(cells, methods, kind, measure(test, 'srocc'))
        chosen = types if kind is None else [kind]
        averages = [
            sum(figures.get(one, math.nan) for one in chosen) / len(chosen)
            for figures in published.values()
        ]
        rows.append(_type_row(kind, [*ours, *map(number_cell, averages)]))
    notes = ['SROCC on each type by a network that was trained on all the others.']
    if seeded(experiment):
        notes.append('Mean over seeds, ± standard deviation over them.')
    if published:
        notes.append(source_note(experiment.plan['published']))
        notes.append('Their averages are taken over the types in this table.')
    notes += nan_notes(experiment, 'srocc', test)
    return Table('SROCC on unseen types', columns, rows, notes)


def _adapted_table(
    experiment: Experiment, plain: Sequence[CellRecord], test: str, labels: Any
) -> Table:
    cells = select(experiment.cells, labels=labels)
    methods = [name for name in method_names(experiment) if select(cells, name)]
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
    for kind in [*facet_values(cells, 'type'), None]:
        pairs = zip(
            _of_type(cells, methods, kind, before),
            _of_type(cells, methods, kind, measure(test, 'srocc')),
            strict=True,
        )
        rows.append(_type_row(kind, [cell for pair in pairs for cell in pair]))
    draws = len(facet_values(cells, 'draw'))
    notes = [
        f'After: adapted to {labels} labelled images of the unseen type, tested on its '
        'images of other photos. Before: the same network without them, on the same '
        'images. Means over seeds'
        + (f' and {draws} draws of the labelled images' if draws > 1 else '')
        + ', ± standard deviation over them where there are several. Bold: the best '
        'before, and the best after.'
    ]
    return Table(f'SROCC after {labels} labels', columns, rows, notes)


def _of_type(
    cells: Sequence[CellRecord], methods: Sequence[str], kind: str | None, value: Value
) -> list[Cell]:
    """For each method the mean on one type, or on all: there without deviation."""
    chosen = cells if kind is None else select(cells, type=kind)
    return best_marked(
        summaries_of(chosen, methods, value, in_type),
        lambda item, best: deviation_cell(
            item, best, math.nan if kind is None else item.spread.sd_seeds
        ),
    )


def _type_row(kind: str | None, shown: Sequence[Cell]) -> Row:
    if kind is None:
        return Row([text_cell('Average'), *shown], 'summary')
    return Row([text_cell(kind), *shown])


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
