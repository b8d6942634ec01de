"""The report of experiments: a page, the same as Markdown, and all numbers as csv."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from metaiqa_plugin.benchmark.records import (
    CORRELATIONS,
    Experiment,
    find_experiments,
    read_experiment,
)
from metaiqa_plugin.benchmark.report.differences import difference_tables
from metaiqa_plugin.benchmark.report.pictures import (
    find_sample,
    result_pictures,
    scatter_plots,
    worst_images,
)
from metaiqa_plugin.benchmark.report.results import result_tables
from metaiqa_plugin.benchmark.report.summaries import Cells
from metaiqa_plugin.benchmark.report.tables import (
    Table,
    cells_table,
    duration,
    overview_table,
    unfinished_table,
)
from metaiqa_plugin.files import check_output, replacing, write_table

__all__ = ['write_report']

FIGURES = 'report-figures'
CSV_COLUMNS = (
    *('experiment', 'protocol', 'method', 'split', 'seed', 'facets', 'test', 'images'),
    *CORRELATIONS,
    *('best_epoch', 'best_epoch_srocc', 'best_epoch_plcc', 'best_epoch_epochs'),
    *('seconds', 'measures', 'state', 'error'),
)
MARKDOWN_SPECIAL = re.compile(r'([\\`*_|<>\[\]])')


def write_report(
    paths: Sequence[str | os.PathLike], out: str | os.PathLike, overwrite: bool = False
) -> list[Experiment]:
    """Write ``report.html``, ``report.md`` with its pictures, and ``report.csv``.

    The same experiments give the same bytes. Pictures of an earlier report in ``out``
    that this one has no use for are deleted.

    Args:
        paths: folders of experiments, or folders that hold some.
        out: folder to write to; made if missing.
        overwrite: it may hold a report.

    Returns:
        the experiments that it shows.

    Raises:
        UserError: a path without experiment, an experiment that cannot be read, or
            ``out`` exists.
    """
    found = find_experiments(paths)
    out = check_output(out, overwrite, folder=True)
    experiments = [read_experiment(folder) for folder in found]
    cells = {
        f'e{number}': Cells.of_experiment(one)
        for number, one in enumerate(experiments, start=1)
    }
    chapters = [
        _chapter(one, of, anchor)
        for one, (anchor, of) in zip(experiments, cells.items(), strict=True)
    ]
    several = len(chapters) > 1
    environment = _templates()
    code = environment.get_template('report.js').render()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    files = {}
    for name in ('report.html', 'report.md'):
        text = environment.get_template(name).render(
            title=f'{len(chapters)} experiments' if several else chapters[0]['title'],
            several=several,
            chapters=chapters,
            overview=overview_table(cells),
            figures=FIGURES,
            script=f"'sha256-{digest}'",
        )
        files[out / name] = text.encode()
    rows = [row for one in experiments for row in _csv_rows(one)]
    lines = [[row.get(name, '') for name in CSV_COLUMNS] for row in rows]
    write_table(out / 'report.csv', CSV_COLUMNS, lines)
    for chapter in chapters:
        for picture in (*chapter['pictures'], *chapter['panels']):
            files[out / FIGURES / f'{picture.name}.svg'] = picture.file.encode()
        for item in (item for images in chapter['worst'].values() for item in images):
            if item.jpeg is not None:
                files[out / FIGURES / item.file] = item.jpeg
    for path, content in files.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    for pattern in ('e*-*.svg', '*.jpg'):
        for path in {*(out / FIGURES).glob(pattern)} - set(files):
            path.unlink()
    return experiments


def _chapter(experiment: Experiment, cells: Cells, anchor: str) -> dict[str, Any]:
    """What the templates show of an experiment."""
    sample, plan = find_sample(cells), experiment.plan
    worst = worst_images(sample) if sample else {}
    notes = []
    if sample and sample.more:
        notes.append(
            f'Scatter plots and worst predictions: without the last {sample.more} '
            'methods.'
        )
    lost = sum(item.jpeg is None for row in worst.values() for item in row)
    if lost:
        notes.append(
            f'{lost} images could not be read below {str(sample.folder)!r}; only '
            'their names are shown.'
        )
    if not sample and experiment.finished and plan['protocol'] != 'runtime':
        notes.append('No predictions are on disk: no scatter plots.')
    return {
        'experiment': experiment,
        'plan': plan,
        'anchor': anchor,
        'title': plan.get('title') or plan['name'],
        'warning': cells.small_sample(),
        'results': result_tables(cells),
        'differences': difference_tables(cells),
        'pictures': list(result_pictures(cells, anchor)),
        'sample': sample,
        'panels': scatter_plots(sample, anchor) if sample else [],
        'worst': worst,
        'notes': notes,
        'cells': cells_table(cells),
        'unfinished': unfinished_table(cells),
        'facts': _facts(experiment),
    }


def _facts(experiment: Experiment) -> dict[str, str]:
    """How it was run."""
    plan, shared = experiment.plan, experiment.shared_seconds
    seconds = sum(cell.measures.get('seconds') or 0 for cell in experiment.cells)
    environment = plan.get('environment') or {}
    facts = {
        'command': plan.get('command'),
        'commit': plan.get('commit'),
        'option file': plan.get('option_file'),
        'time in cells': duration(seconds) if seconds else None,
        'time in priors and features': duration(shared) if shared else None,
        'threads': plan.get('threads'),
        'environment': ', '.join(f'{k} {v}' for k, v in environment.items()) or None,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _csv_rows(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """A row for each cell and test set; one for a cell without any."""
    plan = {
        'experiment': experiment.plan['name'],
        'protocol': experiment.plan['protocol'],
    }
    for cell in experiment.cells:
        place = plan | {
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
            yield place | vars(record) | {'test': test, 'best_epoch': ''} | best
        if not cell.tests:
            yield place


def _templates() -> Environment:
    places = ('benchmark.report', 'score')
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader(f'metaiqa_plugin.{place}', 'templates') for place in places]
        ),
        autoescape=lambda name: not name.endswith('.md'),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        'markdown': _markdown,
        'markdown_row': _markdown_row,
        'markdown_table': _markdown_table,
        'fenced': _fenced,
        'breakable': _breakable,
    }
    return environment


def _markdown(text: Any) -> str:
    """Escaped and in one line, unless it is marked as safe."""
    if isinstance(text, Markup):
        return text
    return MARKDOWN_SPECIAL.sub(r'\\\1', ' '.join(str(text).split()))


def _markdown_row(texts: Sequence[Any]) -> str:
    return f'| {" | ".join(map(_markdown, texts))} |'


def _markdown_table(table: Table) -> str:
    titles = [
        f'{group}: {title}' if group else title for group, title, _ in table.titles
    ]
    rows = [titles, ['---:' if numeric else '---' for _, _, numeric in table.titles]]
    for kind, entries in table.rows:
        texts = [
            Markup(f'**{_markdown(entry.text)}**') if entry.best else entry.text
            for entry in entries
        ]
        rows.append(texts)
        if kind == 'published':
            texts[0] += ' (published)'
    return '\n'.join(map(_markdown_row, rows))


def _fenced(text: str) -> str:
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
    return f'{fence}\n{text.rstrip()}\n{fence}'


def _breakable(text: str) -> Markup:
    """Escaped, with places where a long name may go on in the next line."""
    parts = re.split(r'(?<=[_/.-])(?=\w{2})', text)
    return Markup('<wbr>').join(parts)
