"""The report of experiments: a page, the same as Markdown, and all numbers as csv."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from metaiqa_plugin.benchmark import charts, tables
from metaiqa_plugin.benchmark.charts import Picture
from metaiqa_plugin.benchmark.records import (
    CellRecord,
    Experiment,
    Predictions,
    find_experiments,
    read_experiment,
)
from metaiqa_plugin.benchmark.statistics import (
    rank_differences,
    spearman,
    spread_over_splits,
)
from metaiqa_plugin.benchmark.tables import Table, figure, measure, of_method
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['Report', 'write_report']

FIGURES = 'report-figures'
WORST = 5
THUMBNAIL_SIDE = 128
MARKDOWN_SPECIAL = re.compile(r'([\\`*_|<>\[\]])')


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        html, markdown, table: the files.
        figures: folder of the pictures that the Markdown shows.
        experiments: how many.
        cells: how many are ``'finished'``, ``'failed'`` and ``'open'``.
    """

    html: Path
    markdown: Path
    table: Path
    figures: Path
    experiments: int
    cells: Mapping[str, int]


@dataclass(frozen=True)
class BadImage:
    """An image that a method ranks far from where its MOS does.

    Attributes:
        image: its name.
        mos: in [0, 1].
        score: of the method.
        off: difference of ranks, as a share of the most possible; above 0: overrated.
        jpeg: its thumbnail; None where the image is not to be had.
    """

    image: str
    mos: float
    score: float
    off: float
    jpeg: bytes | None

    @property
    def data_uri(self) -> str:
        return f'data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}'

    @property
    def file(self) -> str:
        return f'{hashlib.sha256(self.jpeg).hexdigest()[:16]}.jpg'


@dataclass(frozen=True)
class Sample:
    """Predictions of one split, by method; the first seed that is finished."""

    split: str
    test: str
    database: str
    predictions: Mapping[str, Predictions]


@dataclass
class Chapter:
    """One experiment in the report."""

    experiment: Experiment
    anchor: str
    results: Sequence[Table] = ()
    differences: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    panels: Sequence[Picture] = ()
    worst: Mapping[str, Sequence[BadImage]] = field(default_factory=dict)
    sample: Sample | None = None
    notes: Sequence[str] = ()

    @property
    def plan(self) -> Mapping[str, Any]:
        return self.experiment.plan

    @property
    def title(self) -> str:
        return self.plan.get('title') or self.plan['name']

    @cached_property
    def cells(self) -> Table:
        return tables.cells_table(self.experiment)

    @cached_property
    def unfinished(self) -> Table | None:
        return tables.unfinished_table(self.experiment)

    @property
    def facts(self) -> dict[str, str]:
        """How it was run."""
        seconds = [cell.measures.get('seconds') or 0 for cell in self.experiment.cells]
        facts = {
            'command': self.plan.get('command'),
            'commit': self.plan.get('commit'),
            'option file': self.plan.get('option_file'),
            'started': self.plan.get('started'),
            'time in cells': tables.duration(sum(seconds)) if any(seconds) else None,
            'threads': self.plan.get('threads'),
            **(self.plan.get('environment') or {}),
        }
        return {name: str(value) for name, value in facts.items() if value is not None}


def write_report(paths: Sequence[str | os.PathLike], out: str | os.PathLike) -> Report:
    """Write ``report.html``, ``report.md`` with its pictures, and ``report.csv``.

    The same experiments give the same bytes. Pictures of an earlier report in ``out``
    that this one has no use for are deleted.

    Args:
        paths: folders of experiments, or folders that hold some.
        out: folder to write to; made if missing.

    Raises:
        UserError: a path without experiment, or an experiment that cannot be read.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f'--out {str(out)!r} is a file; name a folder')
    experiments = [read_experiment(folder) for folder in find_experiments(paths)]
    chapters = [
        _chapter(experiment, f'e{number}')
        for number, experiment in enumerate(experiments, start=1)
    ]
    known = {
        'title': _title(chapters),
        'chapters': chapters,
        'overview': tables.overview_table(experiments),
        'figures': FIGURES,
    }
    files = {'html': out / 'report.html', 'markdown': out / 'report.md'}
    for path in files.values():
        _write(path, _templates().get_template(path.name).render(known))
    _write_csv(out / 'report.csv', experiments)
    _write_figures(out / FIGURES, chapters)
    states = Counter(cell.state for one in experiments for cell in one.cells)
    return Report(
        **files,
        table=out / 'report.csv',
        figures=out / FIGURES,
        experiments=len(experiments),
        cells={name: states[name] for name in ('finished', 'failed', 'open')},
    )


def _title(chapters: Sequence[Chapter]) -> str:
    return chapters[0].title if len(chapters) == 1 else f'{len(chapters)} experiments'


def _chapter(experiment: Experiment, anchor: str) -> Chapter:
    sample, notes = _sample(experiment), []
    chapter = Chapter(
        experiment,
        anchor,
        results=tables.result_tables(experiment),
        differences=tables.difference_tables(experiment),
        pictures=list(_pictures(experiment, anchor)),
        sample=sample,
        notes=notes,
    )
    if sample is None:
        if experiment.finished and experiment.plan['protocol'] != 'runtime':
            notes.append('No predictions are on disk: no scatter plots.')
        return chapter
    chapter.panels = _panels(sample, anchor)
    chapter.worst = _worst(experiment, sample)
    missing = [
        item for row in chapter.worst.values() for item in row if item.jpeg is None
    ]
    if missing:
        folder = _image_folder(experiment, sample.database)
        notes.append(
            f'{len(missing)} images could not be read below {str(folder)!r}; they are '
            'shown as their names.'
        )
    return chapter


def _sample(experiment: Experiment) -> Sample | None:
    """The split that most methods have predictions of; the first of those."""
    few_shot = experiment.plan['protocol'] == 'few_shot'
    by_split: dict[str, dict[str, CellRecord]] = {}
    for cell in experiment.finished:
        if cell.tests:
            by_split.setdefault(cell.split, {}).setdefault(cell.method, cell)

    def rank(split: str) -> tuple[int, float]:
        (cell, *_) = by_split[split].values()
        labels = cell.facets.get('labels') or 0
        return len(by_split[split]), labels if few_shot else -labels

    for split in sorted(by_split, key=rank, reverse=True):
        (cell, *_) = by_split[split].values()
        test = next(iter(cell.tests))
        found = {
            method: predictions
            for method in tables.method_names(experiment)
            if method in by_split[split]
            and (predictions := _predictions(by_split[split][method], test))
        }
        if found:
            return Sample(split, test, cell.tests[test].database, found)
    return None


def _predictions(cell: CellRecord, test: str) -> Predictions | None:
    try:
        return cell.predictions(test)
    except FileNotFoundError:
        return None


def _panels(sample: Sample, anchor: str) -> list[Picture]:
    panels = []
    for index, (method, shown) in enumerate(sample.predictions.items()):
        srocc = spearman(shown.mos, shown.scores)
        title = f'{method}: SROCC {srocc:.3f}'.replace('nan', 'NaN')
        name = f'{anchor}-scatter-{index + 1}'
        panels.append(charts.scatter(name, title, shown.mos, shown.scores, index))
    return panels


def _worst(experiment: Experiment, sample: Sample) -> dict[str, list[BadImage]]:
    folder = _image_folder(experiment, sample.database)
    seen: dict[str, bytes | None] = {}
    worst: dict[str, list[BadImage]] = {}
    for method, shown in sample.predictions.items():
        off = rank_differences(shown.mos, shown.scores)
        known = [index for index in range(len(off)) if abs(off[index]) > 0]
        known.sort(key=lambda index: (-abs(off[index]), shown.images[index]))
        worst[method] = []
        for index in known[:WORST]:
            image = shown.images[index]
            if image not in seen:
                seen[image] = charts.thumbnail(folder / image, THUMBNAIL_SIDE)
            numbers = (shown.mos[index], shown.scores[index], off[index])
            worst[method].append(BadImage(image, *map(float, numbers), seen[image]))
    return worst


def _image_folder(experiment: Experiment, database: str) -> Path:
    known = (experiment.plan.get('databases') or {}).get(database) or {}
    return Path(known.get('dataroot_target') or '.')


def _pictures(experiment: Experiment, anchor: str) -> Iterator[Picture]:
    if not experiment.finished:
        return
    protocol = experiment.plan['protocol']
    if protocol == 'runtime':
        yield from _runtime_pictures(experiment, anchor)
    for test in tables.test_names(experiment.cells):
        several = len(tables.test_names(experiment.cells)) > 1
        where = f' on {test}' if several else ''
        name = f'{anchor}-{_slug(test)}'
        if protocol == 'few_shot':
            yield _few_shot_picture(experiment, test, f'{name}-labels', where)
        if protocol == 'parameters':
            yield from _sweep_pictures(experiment, test, f'{name}-sweep', where)
        yield from _type_pictures(experiment, test, f'{name}-types', where)
    yield from _learning_pictures(experiment, f'{anchor}-learning')


def _runtime_pictures(experiment: Experiment, anchor: str) -> Iterator[Picture]:
    for name, (title, _) in tables.RUNTIME.items():
        values = {}
        for method in tables.method_names(experiment):
            cells = of_method(experiment.finished, method)
            found = [cell.measures.get(name) for cell in cells]
            values[method] = [value for value in found if value is not None]
        values = {method: row for method, row in values.items() if row}
        if values and name != 'parameters':
            heading = f'{title[0].upper()}{title[1:]}: median and range'
            yield charts.ranges(f'{anchor}-{name}', heading, values, title)


def _few_shot_picture(
    experiment: Experiment, test: str, name: str, where: str
) -> Picture:
    labels = sorted({cell.facets['labels'] for cell in experiment.finished})
    drawn = []
    for method in tables.method_names(experiment):
        points = []
        for count in labels:
            cells = [
                cell
                for cell in of_method(experiment.finished, method)
                if cell.facets['labels'] == count
            ]
            points.append(figure(cells, measure(test, 'srocc')).spread)
        drawn.append(_line(method, labels, points))
    title = f'SROCC by number of labelled images{where}: mean ± SD over draws'
    return charts.lines(name, title, {'labelled images': drawn}, 'SROCC', True)


def _sweep_pictures(
    experiment: Experiment, test: str, name: str, where: str
) -> Iterator[Picture]:
    """A panel for each parameter: lines along it, all others being equal."""
    names = tables.swept(experiment)
    points = {}
    for method in tables.method_names(experiment):
        cells = of_method(experiment.finished, method)
        if cells and all(_is_number(cells[0].facets.get(one)) for one in names):
            place = tuple(cells[0].facets[one] for one in names)
            points[place] = figure(cells, measure(test, 'srocc')).spread
    for index, varied in enumerate(names):
        rest: dict[tuple, list[tuple]] = {}
        for place in sorted(points):
            others = (*place[:index], *place[index + 1 :])
            rest.setdefault(others, []).append(place)
        drawn = []
        fixed = [one for one in names if one != varied]
        for others, places in rest.items():
            if len(places) > 1:
                label = ', '.join(
                    f'{one} = {value}' for one, value in zip(fixed, others, strict=True)
                )
                x = [place[index] for place in places]
                drawn.append(_line(label, x, [points[place] for place in places]))
        if drawn:
            title = f'SROCC against {varied}{where}: mean ± SD over splits'
            slug = f'{name}-{index + 1}'
            yield charts.lines(
                slug, title, {varied: drawn}, 'SROCC', legend=bool(fixed)
            )


def _type_pictures(
    experiment: Experiment, test: str, name: str, where: str
) -> Iterator[Picture]:
    """SROCC within each type of distortion, where there are types."""
    if experiment.plan['protocol'] == 'leave_one_distortion_out':
        cells = _alike(experiment)
        types = list(dict.fromkeys(cell.facets['type'] for cell in cells))
        found = {
            method: [
                figure(
                    [
                        cell
                        for cell in of_method(cells, method)
                        if cell.facets['type'] == kind
                    ],
                    measure(test, 'srocc'),
                ).spread.mean
                for kind in types
            ]
            for method in tables.method_names(experiment)
        }
        title = 'SROCC on unseen types'
    else:
        types, found = _srocc_by_type(experiment, test)
        title = f'SROCC by type of distortion{where}: mean over splits'
        labels = _alike(experiment)[0].facets.get('labels')
        title += f', {labels} labels' if labels else ''
    if types:
        yield charts.bars(name, title, found, types, 'SROCC')


def _alike(experiment: Experiment) -> list[CellRecord]:
    """Finished cells with the most labels; on unseen types: with the fewest."""
    cells = experiment.finished
    labels = [cell.facets.get('labels') or 0 for cell in cells]
    most = experiment.plan['protocol'] == 'few_shot'
    chosen = (max if most else min)(labels, default=0)
    return [cell for cell in cells if (cell.facets.get('labels') or 0) == chosen]


def _srocc_by_type(
    experiment: Experiment, test: str
) -> tuple[list[str], dict[str, list[float]]]:
    cells = [cell for cell in _alike(experiment) if test in cell.tests]
    types: dict[str, None] = {}
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for cell in cells:
        shown = _predictions(cell, test)
        if shown is None:
            continue
        kinds = dict.fromkeys(shown.types)
        if len(kinds) < 2:
            return [], {}
        types |= kinds
        for kind in kinds:
            places = [place for place, one in enumerate(shown.types) if one == kind]
            srocc = spearman(shown.mos[places], shown.scores[places])
            splits = values.setdefault(cell.method, {}).setdefault(kind, {})
            splits.setdefault(cell.split, []).append(srocc)
    methods = [name for name in tables.method_names(experiment) if name in values]
    found = {
        method: [
            spread_over_splits(list(values[method].get(kind, {}).values())).mean
            for kind in types
        ]
        for method in methods
    }
    return list(types), found


def _learning_pictures(experiment: Experiment, name: str) -> Iterator[Picture]:
    drawn, cells = [], _alike(experiment)
    for method in tables.method_names(experiment):
        epochs: dict[float, dict[str, list[float]]] = {}
        for cell in of_method(cells, method):
            for point in cell.curve():
                splits = epochs.setdefault(point['epoch'], {})
                splits.setdefault(cell.split, []).append(point['srocc'])
        if epochs:
            order = sorted(epochs)
            points = [
                spread_over_splits(list(epochs[epoch].values())) for epoch in order
            ]
            drawn.append(_line(method, order, points))
    if drawn:
        labels = cells[0].facets.get('labels')
        title = 'SROCC on the test images while training: mean ± SD over splits'
        title += f', {labels} labels' if labels else ''
        yield charts.lines(name, title, {'epoch': drawn}, 'SROCC')


def _line(label: str, x: Sequence[float], points: Sequence) -> charts.Line:
    return charts.Line(
        label, x, [point.mean for point in points], [point.sd for point in points]
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _slug(text: str) -> str:
    return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-') or 'x'


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader('metaiqa_plugin.benchmark', 'templates'),
        autoescape=lambda name: not name.endswith('.md'),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        'markup': Markup,
        'markdown': _markdown,
        'markdown_table': _markdown_table,
        'fenced': _fenced,
        'groups': _groups,
        'breakable': _breakable,
    }
    return environment


def _groups(table: Table) -> list[tuple[str, int]]:
    """Titles over neighbouring columns, and how many each is over; none: empty."""
    groups: list[tuple[str, int]] = []
    for column in table.columns:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups if any(title for title, _ in groups) else []


def _markdown(text: Any) -> str:
    return MARKDOWN_SPECIAL.sub(r'\\\1', ' '.join(str(text).split()))


def _breakable(text: str) -> Markup:
    """Escaped, with places where a long name may go on in the next line."""
    parts = re.split(r'(?<=[_/.-])(?=\w{2})', text)
    return Markup('<wbr>').join(parts)


def _fenced(text: str) -> str:
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
    return f'{fence}\n{text.rstrip()}\n{fence}'


def _markdown_table(table: Table) -> str:
    titles = [
        f'{column.group}: {column.title}' if column.group else column.title
        for column in table.columns
    ]
    rules = ['---:' if column.numeric else '---' for column in table.columns]
    lines = [[_markdown(title) for title in titles], rules]
    for row in table.rows:
        texts = [
            f'**{_markdown(cell.text)}**' if cell.best else _markdown(cell.text)
            for cell in row.cells
        ]
        if row.kind == 'published':
            texts[0] += ' (published)'
        lines.append(texts)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def _write_csv(path: Path, experiments: Sequence[Experiment]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        writer = csv.DictWriter(file, tables.CSV_COLUMNS, lineterminator='\n')
        writer.writeheader()
        for experiment in experiments:
            writer.writerows(tables.csv_rows(experiment))


def _write_figures(folder: Path, chapters: Sequence[Chapter]) -> None:
    written = set()
    for chapter in chapters:
        for picture in (*chapter.pictures, *chapter.panels):
            _write(folder / f'{picture.name}.svg', charts.standalone(picture))
            written.add(f'{picture.name}.svg')
        for item in (item for row in chapter.worst.values() for item in row):
            if item.jpeg is not None and item.file not in written:
                with replacing(folder / item.file) as temporary:
                    temporary.write_bytes(item.jpeg)
                written.add(item.file)
    for pattern in ('e*-*.svg', '*.jpg'):
        for path in folder.glob(pattern):
            if path.name not in written:
                path.unlink()
