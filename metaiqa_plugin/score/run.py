"""The job of ``metaiqa score``: images in; a table, chosen rows and a summary out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tqdm import tqdm

from metaiqa_plugin.errors import SOME_FAILED, UserError, whole_number
from metaiqa_plugin.files import check_output, refuse_inputs, sha256_of
from metaiqa_plugin.score.contact_sheet import thumbnail_folder, write_contact_sheet
from metaiqa_plugin.score.on_ray import score_on_ray
from metaiqa_plugin.score.pipeline import ScoreRow, score_images
from metaiqa_plugin.score.result_file import Csv, result_file
from metaiqa_plugin.score.scorers import Scorer, min_side, open_scorers, scorer_names
from metaiqa_plugin.score.sources import Reader, Sources
from metaiqa_plugin.score.summary import Chosen, Summary, drawn

__all__ = ['ScoreJob', 'run']

CHOICES = ('top', 'bottom', 'below')
Write = Callable[[ScoreRow], None]


@dataclass(frozen=True)
class ScoreJob:
    """What ``metaiqa score`` is asked; None: not given.

    Attributes:
        images, column, root: see :class:`Sources`.
        metric: names of metrics, or paths of checkpoints; None: ``metaiqa``.
        as_seen: see :class:`Reader`.
        shrink_jpeg: decode JPEGs as small as the metrics shrink them to.
        precision, engine, device, batch_size: see :func:`open_scorers`.
        workers: see :func:`score_images`.
        ray: address of a cluster that does the work.
        out, resume, overwrite: see :func:`result_file`; None: standard output.
        top, bottom, below: which rows to print, see :class:`Chosen`.
        by: name of the metric that decides; None: the first.
        html: contact sheet to write.

    Raises:
        UserError: they do not fit together.
    """

    images: Sequence[str]
    column: str | None = None
    root: str | None = None
    metric: Sequence[str] | None = None
    as_seen: bool = False
    shrink_jpeg: bool = False
    precision: str = 'fp32'
    engine: str = 'auto'
    device: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    ray: str | None = None
    out: str | None = None
    resume: bool = False
    overwrite: bool = False
    top: int | None = None
    bottom: int | None = None
    below: float | None = None
    by: str | None = None
    html: str | None = None

    def __post_init__(self) -> None:
        for name in ('top', 'bottom', 'batch_size', 'workers'):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name))
        if len(set(self.names)) < len(self.names):
            raise UserError(f'metrics {self.metrics} are not all different')
        if self.by is not None and self.by not in self.names:
            raise UserError(f'by={self.by!r}: expected one of {", ".join(self.names)}')
        if self.by is not None and self.choice is None:
            raise UserError('by: only with --top, --bottom or --below')
        if self.resume and not self.out:
            raise UserError('--resume needs --out')
        if self.overwrite and not (self.out or self.html):
            raise UserError('--overwrite needs --out or --html')
        if self.ray and (self.workers or self.device):
            raise UserError('--ray: it decides on workers and devices; leave them out')

    @property
    def metrics(self) -> list[str]:
        return list(self.metric or ['metaiqa'])

    @property
    def names(self) -> list[str]:
        """Of the columns of scores."""
        return scorer_names(self.metrics)

    @property
    def choice(self) -> tuple[str, float] | None:
        """Which rows to print, and the limit."""
        given = ((name, getattr(self, name)) for name in CHOICES)
        return next((pair for pair in given if pair[1] is not None), None)


def run(job: ScoreJob) -> int:
    """Score, write and sum up; the exit code.

    Raises:
        UserError: an argument is wrong, or nothing can be written there.
    """
    sources = Sources(job.images, job.column, job.root)
    sources.check()
    read = [*job.images, *job.metrics]
    if job.out:
        refuse_inputs(job.out, 'out', read)
    if job.html:
        again = job.overwrite or job.resume
        _check_page(job.html, again, [*read, *([job.out] if job.out else [])])
    computing = {name: getattr(job, name) for name in ('engine', 'precision')}
    computing['batch_size'] = job.batch_size
    scorers = open_scorers(job.metrics, job.names, device=job.device, **computing)
    score = _computation(job, scorers, computing)
    summary, chosen, shown = Summary(job.names), _chosen(job, scorers), []
    listeners = [summary.add, *([chosen.add] if chosen else [])]
    listeners += [shown.append] if job.html else []
    started = time.monotonic()
    with _table(job) as (write, earlier):
        done = set()
        for row in earlier:
            done.add(os.path.abspath(row.path))
            _tell(listeners, row)
        left = (path for path in sources if os.path.abspath(path) not in done)
        for row in _with_bar(score(left), sources, len(done)):
            _tell([write, *listeners], row)
    seconds = time.monotonic() - started
    if chosen:
        _tell([_printer(job.names)], *chosen.rows())
    directions = {scorer.name: scorer.lower_better for scorer in scorers}
    if job.html:
        bar = sys.stderr.isatty()
        beside = write_contact_sheet(
            job.html, shown, directions, job.as_seen, progress=bar
        )
        where = f', thumbnails in {beside}' if beside else ''
        print(f'{job.html}: contact sheet{where}', file=sys.stderr)
    _report(summary, directions, len(done), seconds)
    return SOME_FAILED if summary.failed else 0


def _check_page(path: str, overwrite: bool, inputs: Sequence[str]) -> None:
    if not path.lower().endswith(('.html', '.htm')):
        raise UserError(f'html={path!r}: expected a name that ends in .html')
    check_output(path, overwrite, 'html', inputs=inputs)
    check_output(thumbnail_folder(path), True, 'html', folder=True, inputs=inputs)


def _computation(
    job: ScoreJob, scorers: Sequence[Scorer], computing: dict[str, Any]
) -> Callable[[Iterable[str]], Iterator[ScoreRow]]:
    """What makes rows of paths."""
    side = min_side(scorers) if job.shrink_jpeg else None
    if not job.ray:
        reader = Reader(job.as_seen, side)
        return lambda paths: score_images(paths, scorers, job.workers, reader)
    # workers of a cluster have folders of their own
    metrics = [os.path.abspath(m) if os.path.isfile(m) else m for m in job.metrics]
    settings = {**computing, 'metrics': metrics, 'names': job.names}
    settings |= {'as_seen': job.as_seen, 'shrink_jpeg': job.shrink_jpeg}
    return lambda paths: score_on_ray(paths, settings, job.ray)


def _chosen(job: ScoreJob, scorers: Sequence[Scorer]) -> Chosen | None:
    if job.choice is None:
        return None
    place = 0 if job.by is None else job.names.index(job.by)
    return Chosen(*job.choice, place, scorers[place].lower_better)


@contextlib.contextmanager
def _table(job: ScoreJob) -> Iterator[tuple[Write, Iterable[ScoreRow]]]:
    """What takes the rows, and the rows of an earlier run."""
    if not job.out:
        yield (_printer(job.names) if job.choice is None else lambda row: None), ()
        return
    # a metric of pyiqa by its name, a checkpoint by what is in it
    told = [sha256_of(m) if os.path.isfile(m) else m for m in job.metrics]
    settings = {
        'metrics': dict(zip(job.names, told, strict=True)),
        'precision': job.precision,
        'as_seen': job.as_seen,
        'shrink_jpeg': job.shrink_jpeg,
    }
    with result_file(job.out, job.names, settings, job.resume, job.overwrite) as file:
        yield file.write, file.rows() if job.resume else ()


def _printer(names: Sequence[str]) -> Write:
    """Prints rows as csv; whoever reads standard output gets each at once."""
    row_format = Csv(names)
    show = partial(print, end='', flush=True)
    show(row_format.header.decode())
    return lambda row: show(row_format.encode(row).decode('utf-8', 'backslashreplace'))


def _tell(listeners: Sequence[Write], *rows: ScoreRow) -> None:
    for row in rows:
        for listener in listeners:
            listener(row)


def _with_bar(
    rows: Iterator[ScoreRow], sources: Sources, before: int
) -> Iterator[ScoreRow]:
    """With a bar on a terminal, which costs counting the images first."""
    if not sys.stderr.isatty():
        return rows
    label, total = 'score', sources.count()
    return tqdm(rows, label, total, unit='image', initial=before, smoothing=0.05)


def _report(
    summary: Summary, directions: dict[str, bool], before: int, seconds: float
) -> None:
    """On a terminal for a person, elsewhere a line of JSON; both on stderr."""
    show = partial(print, file=sys.stderr)
    found = summary.distributions()
    if sys.stderr.isatty():
        now = summary.images - before
        rate = now / max(seconds, 1e-9)
        old = f', {before} before' if before else ''
        show(f'{now} images in {seconds:.1f} s ({rate:.1f} a second){old}')
        for name, facts in found.items():
            _draw(name, facts, directions[name])
    else:
        facts = {'images': summary.images, 'before': before, 'failed': summary.failed}
        show(json.dumps({**facts, 'seconds': round(seconds, 3), 'metrics': found}))
    if summary.failed:
        show(f'metaiqa: {summary.failed} images not scored')


def _draw(name: str, facts: dict[str, Any], lower_better: bool) -> None:
    better, told = 'lower' if lower_better else 'higher', 'no scores'
    if facts['images']:
        told = (
            f'mean {facts["mean"]:.4g}, standard deviation {facts["sd"]:.4g}, median '
            f'{facts["median"]:.4g}\n{drawn(facts)}'
        )
    print(f'\n{name} ({better} is better): {told}', file=sys.stderr)
