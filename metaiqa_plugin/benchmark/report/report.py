"""The report of experiments: a page, the same as Markdown, and all numbers as csv."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.records import (
    Experiment,
    find_experiments,
    read_experiment,
)
from metaiqa_plugin.benchmark.report import charts
from metaiqa_plugin.benchmark.report.charts import Picture
from metaiqa_plugin.benchmark.report.differences import difference_tables
from metaiqa_plugin.benchmark.report.overview import (
    CSV_COLUMNS,
    cells_table,
    csv_rows,
    overview_table,
    total_seconds,
    unfinished_table,
)
from metaiqa_plugin.benchmark.report.pictures import result_pictures
from metaiqa_plugin.benchmark.report.protocol_tables import result_tables
from metaiqa_plugin.benchmark.report.rendering import render
from metaiqa_plugin.benchmark.report.samples import (
    BadImage,
    Sample,
    find_sample,
    image_folder,
    scatter_plots,
    worst_images,
)
from metaiqa_plugin.benchmark.report.table_model import Table, duration
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['Report', 'write_report']

FIGURES = 'report-figures'


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


@dataclass
class Chapter:
    """One experiment in the report."""

    experiment: Experiment
    anchor: str
    results: Sequence[Table]
    differences: Sequence[Table]
    pictures: Sequence[Picture]
    cells: Table
    unfinished: Table | None
    sample: Sample | None
    panels: Sequence[Picture] = ()
    worst: Mapping[str, Sequence[BadImage]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def plan(self) -> Mapping[str, Any]:
        return self.experiment.plan

    @property
    def title(self) -> str:
        return self.plan.get('title') or self.plan['name']

    @property
    def facts(self) -> dict[str, str]:
        """How it was run."""
        seconds = total_seconds(self.experiment.cells)
        shared = self.experiment.shared_seconds
        environment = self.plan.get('environment') or {}
        facts = {
            **{name: self.plan.get(name) for name in ('command', 'commit')},
            'option file': self.plan.get('option_file'),
            'started': self.plan.get('started'),
            'time in cells': duration(seconds) if seconds else None,
            'time in priors and features': duration(shared) if shared else None,
            'threads': self.plan.get('threads'),
            'environment': ', '.join(f'{k} {v}' for k, v in environment.items())
            or None,
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
    experiments = {
        f'e{number}': read_experiment(folder)
        for number, folder in enumerate(find_experiments(paths), start=1)
    }
    chapters = [_chapter(one, anchor) for anchor, one in experiments.items()]
    several = len(chapters) > 1
    known = {
        'title': f'{len(chapters)} experiments' if several else chapters[0].title,
        'chapters': chapters,
        'overview': overview_table(experiments),
        'figures': FIGURES,
    }
    files = {'html': out / 'report.html', 'markdown': out / 'report.md'}
    for path in files.values():
        _write(path, render(path.name, **known))
    _write_csv(out / 'report.csv', list(experiments.values()))
    _write_figures(out / FIGURES, chapters)
    states = Counter(cell.state for one in experiments.values() for cell in one.cells)
    return Report(
        **files,
        table=out / 'report.csv',
        figures=out / FIGURES,
        experiments=len(experiments),
        cells={name: states[name] for name in ('finished', 'failed', 'open')},
    )


def _chapter(experiment: Experiment, anchor: str) -> Chapter:
    sample = find_sample(experiment)
    chapter = Chapter(
        experiment,
        anchor,
        results=result_tables(experiment),
        differences=difference_tables(experiment),
        pictures=list(result_pictures(experiment, anchor)),
        cells=cells_table(experiment),
        unfinished=unfinished_table(experiment),
        sample=sample,
    )
    if sample is None:
        if experiment.finished and experiment.plan['protocol'] != 'runtime':
            chapter.notes.append('No predictions are on disk: no scatter plots.')
        return chapter
    folder = image_folder(experiment, sample.database)
    chapter.panels = scatter_plots(sample, anchor)
    chapter.worst = worst_images(sample, folder)
    lost = sum(item.jpeg is None for row in chapter.worst.values() for item in row)
    if sample.more:
        chapter.notes.append(
            f'Scatter plots and worst predictions: without the last {sample.more} '
            'methods.'
        )
    if lost:
        chapter.notes.append(
            f'{lost} images could not be read below {str(folder)!r}; they are shown as '
            'their names.'
        )
    return chapter


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def _write_csv(path: Path, experiments: Sequence[Experiment]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator='\n')
        writer.writeheader()
        for experiment in experiments:
            writer.writerows(csv_rows(experiment))


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
