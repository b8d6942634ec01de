"""The pictures of results: what each protocol says in lines and bars."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any

from metaiqa_plugin.benchmark.records import CellRecord, Experiment
from metaiqa_plugin.benchmark.report import charts
from metaiqa_plugin.benchmark.report.charts import Line, Picture
from metaiqa_plugin.benchmark.report.protocol_tables import RUNTIME
from metaiqa_plugin.benchmark.report.samples import predictions_of
from metaiqa_plugin.benchmark.report.statistics import (
    Spread,
    spearman,
    spread_over_splits,
)
from metaiqa_plugin.benchmark.report.summaries import (
    facet_values,
    measure,
    measured,
    method_names,
    select,
    summarize,
    swept,
    test_names,
)

__all__ = ['result_pictures']


def result_pictures(experiment: Experiment, anchor: str) -> Iterator[Picture]:
    """Those of its protocol, of what is finished; names begin with ``anchor``."""
    protocol, tests = experiment.plan['protocol'], test_names(experiment.cells)
    if protocol == 'runtime':
        yield from _runtime_pictures(experiment, anchor)
    for test in tests:
        where = f' on {test}' if len(tests) > 1 else ''
        name = f'{anchor}-{_slug(test)}'
        if protocol == 'few_shot':
            yield _few_shot_picture(experiment, test, f'{name}-labels', where)
        if protocol == 'parameters':
            yield from _sweep_pictures(experiment, test, f'{name}-sweep', where)
        if protocol == 'leave_one_distortion_out':
            yield _unseen_picture(experiment, test, f'{name}-types')
        else:
            yield from _type_pictures(experiment, test, f'{name}-types', where)
    yield from _learning_pictures(experiment, f'{anchor}-learning')


def _runtime_pictures(experiment: Experiment, anchor: str) -> Iterator[Picture]:
    for name, (title, _) in RUNTIME.items():
        values = {
            method: numbers
            for method in method_names(experiment)
            if (
                numbers := summarize(
                    select(experiment.cells, method), measured(name)
                ).numbers
            )
        }
        if values and name != 'parameters':
            heading = f'{title[0].upper()}{title[1:]}: median and range'
            yield charts.ranges(f'{anchor}-{name}', heading, values, title)


def _few_shot_picture(
    experiment: Experiment, test: str, name: str, where: str
) -> Picture:
    labels = facet_values(experiment.finished, 'labels')
    drawn = []
    for method in method_names(experiment):
        cells = [select(experiment.cells, method, labels=count) for count in labels]
        points = [summarize(row, measure(test, 'srocc')).spread for row in cells]
        drawn.append(_line(method, labels, points))
    title = f'SROCC by number of labelled images{where}: mean ± SD over draws'
    return charts.lines(name, title, {'labelled images': drawn}, 'SROCC', True)


def _sweep_pictures(
    experiment: Experiment, test: str, name: str, where: str
) -> Iterator[Picture]:
    """Lines along each parameter, all others being equal; single ones side by side."""
    names = swept(experiment)
    points = {}
    for method in method_names(experiment):
        cells = select(experiment.finished, method)
        if cells and all(_is_number(cells[0].facets.get(one)) for one in names):
            place = tuple(cells[0].facets[one] for one in names)
            points[place] = summarize(cells, measure(test, 'srocc')).spread
    panels = {}
    for index, varied in enumerate(names):
        fixed = names[:index] + names[index + 1 :]
        rest: dict[tuple, list[tuple]] = defaultdict(list)
        for place in sorted(points):
            rest[place[:index] + place[index + 1 :]].append(place)
        drawn = []
        for others, places in rest.items():
            if len(places) > 1:
                pairs = zip(fixed, others, strict=True)
                label = ', '.join(f'{one} = {value}' for one, value in pairs)
                x = [place[index] for place in places]
                drawn.append(_line(label, x, [points[place] for place in places]))
        if len(drawn) == 1:
            panels[f'{varied} ({drawn[0].label})' if fixed else varied] = drawn
        elif drawn:
            title = f'SROCC against {varied}{where}: mean ± SD over splits'
            yield charts.lines(f'{name}-{index + 1}', title, {varied: drawn}, 'SROCC')
    if panels:
        title = f'SROCC against {", ".join(names)}{where}: mean ± SD over splits'
        yield charts.lines(name, title, panels, 'SROCC', legend=False)


def _unseen_picture(experiment: Experiment, test: str, name: str) -> Picture:
    cells = _alike(experiment)
    types = facet_values(cells, 'type')
    found = {
        method: [
            summarize(select(cells, method, type=kind), measure(test, 'srocc')).mean
            for kind in types
        ]
        for method in method_names(experiment)
    }
    return charts.bars(name, 'SROCC on unseen types', found, types, 'SROCC')


def _type_pictures(
    experiment: Experiment, test: str, name: str, where: str
) -> Iterator[Picture]:
    """SROCC within each type of distortion, where test images have several."""
    values: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    types: dict[str, None] = {}
    cells = _alike(experiment)
    for cell in cells:
        shown = predictions_of(cell, test) if test in cell.tests else None
        kinds = dict.fromkeys(shown.types) if shown else {}
        if len(kinds) < 2:
            continue
        types |= kinds
        for kind in kinds:
            chosen = [one == kind for one in shown.types]
            mos, scores = shown.mos[chosen], shown.scores[chosen]
            values[cell.method][kind][cell.split].append(spearman(mos, scores))
    found = {
        method: [
            spread_over_splits(list(values[method][kind].values())).mean
            for kind in types
        ]
        for method in method_names(experiment)
        if method in values
    }
    if types:
        title = f'SROCC by type of distortion{where}: mean over splits'
        title += _labels_of(cells)
        yield charts.bars(name, title, found, list(types), 'SROCC')


def _learning_pictures(experiment: Experiment, name: str) -> Iterator[Picture]:
    drawn, cells = [], _alike(experiment)
    for method in method_names(experiment):
        epochs: dict[float, Any] = defaultdict(lambda: defaultdict(list))
        for cell in select(cells, method):
            for point in cell.curve():
                epochs[point['epoch']][cell.split].append(point['srocc'])
        order = sorted(epochs)
        points = [spread_over_splits(list(epochs[epoch].values())) for epoch in order]
        if epochs:
            drawn.append(_line(method, order, points))
    if drawn:
        title = 'SROCC on the test images while training: mean ± SD over splits'
        title += _labels_of(cells)
        yield charts.lines(name, title, {'epoch': drawn}, 'SROCC')


def _alike(experiment: Experiment) -> list[CellRecord]:
    """Finished cells with the most labels; on unseen types: with the fewest."""
    cells = experiment.finished
    labels = [cell.facets.get('labels') or 0 for cell in cells]
    most = experiment.plan['protocol'] == 'few_shot'
    chosen = (max if most else min)(labels, default=0)
    return list(compress(cells, (count == chosen for count in labels)))


def _labels_of(cells: Sequence[CellRecord]) -> str:
    labels = cells[0].facets.get('labels')
    return f', {labels} labels' if labels else ''


def _line(label: str, x: Sequence[float], points: Sequence[Spread]) -> Line:
    return Line(
        label, x, [point.mean for point in points], [point.sd for point in points]
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _slug(text: str) -> str:
    return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-') or 'x'
