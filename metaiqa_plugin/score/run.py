"""The job of ``metaiqa score``: images in; a table, chosen rows and a summary out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tqdm import tqdm

from metaiqa_plugin.errors import SOME_FAILED, UserError, real_number, whole_number
from metaiqa_plugin.files import check_output, sha256_of
from metaiqa_plugin.score.contact_sheet import thumbnail_folder, write_contact_sheet
from metaiqa_plugin.score.on_ray import score_on_ray
from metaiqa_plugin.score.pipeline import ScoreRow, score_images
from metaiqa_plugin.score.result_file import Csv, check_table, result_file
from metaiqa_plugin.score.scorers import (
    MissingScorer,
    Scorer,
    min_side,
    open_scorers,
    scorer_names,
)
from metaiqa_plugin.score.sources import STDIN, Reader, Sources, file_key
from metaiqa_plugin.score.summary import Chosen, Summary, drawn

__all__ = ['ScoreJob', 'run']

CHOICES = ('top', 'bottom', 'below')
STDIN_FILE = '/dev/stdin'
PROGRESS_SECONDS = 30
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
        memory: see :func:`score_images`.
        out, resume, overwrite: see :func:`result_file`; None: standard output.
        retry_failed: resume, and score again what has an error.
        top, bottom, below: which rows to print, see :class:`Chosen`.
        by: name of the metric that decides; None: the first.
        html: contact sheet to write.
        json: sum up as JSON.

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
    memory: float | None = None
    resume: bool = False
    retry_failed: bool = False
    overwrite: bool = False
    top: int | None = None
    bottom: int | None = None
    below: float | None = None
    by: str | None = None
    html: str | None = None
    json: bool = False

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
        if self.memory is not None:
            real_number('--memory', self.memory, above=0.01)
        if self.continues and not self.out:
            raise UserError('--resume needs --out')
        if self.overwrite and not (self.out or self.html):
            raise UserError('--overwrite needs --out or --html')
        if self.ray and (self.workers or self.device or self.memory):
            raise UserError(
                '--ray: it decides on workers, devices and memory; leave them out'
            )

    @property
    def metrics(self) -> list[str]:
        return list(self.metric or ['metaiqa'])

    @property
    def names(self) -> list[str]:
        """Of the columns of scores."""
        return scorer_names(self.metrics)

    @property
    def continues(self) -> bool:
        return self.resume or self.retry_failed

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
    sources, table = Sources(job.images, job.column, job.root), _table_options(job)
    sources.check()
    _check_outputs(job, table)
    computing = {name: getattr(job, name) for name in ('engine', 'precision')}
    computing['batch_size'] = job.batch_size
    scorers = open_scorers(
        job.metrics, job.names, device=job.device, keep_going=True, **computing
    )
    missing = [scorer for scorer in scorers if isinstance(scorer, MissingScorer)]
    _tell_missing(missing)
    score = _computation(job, scorers, computing)
    summary = Summary(job.names, [scorer not in missing for scorer in scorers])
    chosen, shown = _chosen(job, scorers), []
    listeners = [summary.add, *([chosen.add] if chosen else [])]
    if job.html:  # a metric that cannot be had is no fault of an image
        listeners.append(
            lambda row: shown.append(
                row if summary.lacks(row) else replace(row, error='')
            )
        )
    if chosen and not job.out:
        listeners.append(partial(_name_failed, summary))
    started = time.monotonic()
    with _table(job, table) as (write, earlier):
        done = set()
        for row in earlier:
            done.add(file_key(row.path))
            _tell(listeners, row)
        before = summary.images
        left = _left(sources, done, [name for name in (job.out, job.html) if name])
        for row in _with_progress(score(left), sources, before):
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
    _report(job, summary, directions, before, seconds)
    _tell_left_out(sources)
    _tell_missing(missing)
    return SOME_FAILED if summary.failed or missing else 0


def _table_options(job: ScoreJob) -> dict[str, Any]:
    """Arguments of :func:`check_table`."""
    # a metric of pyiqa by its name, a checkpoint by what is in it
    told = [sha256_of(m)[:16] if os.path.isfile(m) else m for m in job.metrics]
    settings = {
        'metrics': dict(zip(job.names, told, strict=True)),
        'precision': job.precision,
        'as_seen': job.as_seen,
        'shrink_jpeg': job.shrink_jpeg,
    }
    return {
        'path': job.out,
        'metrics': job.names,
        'settings': settings,
        'resume': job.continues,
        'overwrite': job.overwrite,
    }


def _check_outputs(job: ScoreJob, table: dict[str, Any]) -> None:
    # a list on standard input may come from a file
    read = [STDIN_FILE if name == STDIN else name for name in job.images]
    read += job.metrics
    if job.out:
        check_table(**table, inputs=read)
        read.append(job.out)
    if job.html:
        _check_page(job.html, job.overwrite or job.continues, read)


def _check_page(path: str, overwrite: bool, inputs: Sequence[str]) -> None:
    if not path.lower().endswith(('.html', '.htm')):
        raise UserError(f'html={path!r}: expected a name that ends in .html')
    check_output(path, overwrite, 'html', inputs=inputs)
    check_output(thumbnail_folder(path), True, 'html', folder=True, inputs=inputs)


def _left(sources: Sources, done: set[bytes], outputs: Sequence[str]) -> Iterator[str]:
    """What is not done yet; raises UserError where a table names an output."""
    written = {file_key(path): path for path in outputs}
    for path in sources:
        key = file_key(path)
        if key in written:
            raise UserError(f'{written[key]!r} would replace an image; give another')
        if key not in done:
            yield path


def _computation(
    job: ScoreJob, scorers: Sequence[Scorer], computing: dict[str, Any]
) -> Callable[[Iterable[str]], Iterator[ScoreRow]]:
    """What makes rows of paths."""
    side = min_side(scorers) if job.shrink_jpeg else None
    if not job.ray:
        reader = Reader(job.as_seen, side)
        return lambda paths: score_images(
            paths, scorers, job.workers, reader, job.memory
        )
    # workers of a cluster have folders of their own
    metrics = [os.path.abspath(m) if os.path.isfile(m) else m for m in job.metrics]
    settings = {**computing, 'metrics': metrics, 'names': job.names}
    settings |= {'keep_going': True}
    settings |= {'as_seen': job.as_seen, 'shrink_jpeg': job.shrink_jpeg}
    return lambda paths: score_on_ray(paths, settings, job.ray)


def _tell_missing(scorers: Sequence[MissingScorer]) -> None:
    for scorer in scorers:
        told = f'metaiqa: column {scorer.name!r} stays empty: {scorer.reason}'
        print(told, file=sys.stderr, flush=True)


def _tell_left_out(sources: Sources) -> None:
    told = [f'{count} {end or "without suffix"}' for end, count in sources.left_out]
    if told:
        print(f'metaiqa: files that are no images: {", ".join(told)}', file=sys.stderr)


def _name_failed(summary: Summary, row: ScoreRow) -> None:
    if summary.lacks(row):
        tqdm.write(f'metaiqa: no score: {row.path!r}: {row.error}', sys.stderr)


def _chosen(job: ScoreJob, scorers: Sequence[Scorer]) -> Chosen | None:
    if job.choice is None:
        return None
    place = 0 if job.by is None else job.names.index(job.by)
    return Chosen(*job.choice, place, scorers[place].lower_better)


@contextlib.contextmanager
def _table(
    job: ScoreJob, options: dict[str, Any]
) -> Iterator[tuple[Write, Iterable[ScoreRow]]]:
    """What takes the rows, and the rows of an earlier run."""
    if not job.out:
        yield (_printer(job.names) if job.choice is None else lambda row: None), ()
        return
    with result_file(**options, retry=job.retry_failed) as file:
        yield file.write, file.rows()


def _printer(names: Sequence[str]) -> Write:
    """Prints rows as csv; whoever reads standard output gets each at once.

    What would control a terminal is escaped there, elsewhere names stay as they are.
    """
    row_format = Csv(names)

    def show(line: bytes) -> None:
        if sys.stdout.isatty():
            text = line.decode('utf-8', 'backslashreplace')
            text = ''.join(
                sign if sign.isprintable() or sign == '\n' else ascii(sign)[1:-1]
                for sign in text
            )
            line = text.encode(sys.stdout.encoding, 'backslashreplace')
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    show(row_format.header)
    return lambda row: show(row_format.encode(row))


def _tell(listeners: Sequence[Write], *rows: ScoreRow) -> None:
    for row in rows:
        for listener in listeners:
            listener(row)


def _with_progress(
    rows: Iterator[ScoreRow], sources: Sources, before: int
) -> Iterator[ScoreRow]:
    """With a bar on a terminal, which costs counting first; else a line at times."""
    if sys.stderr.isatty():
        label, total = 'score', sources.count()
        yield from tqdm(
            rows, label, total, unit='image', initial=before, smoothing=0.05
        )
        return
    started = told = time.monotonic()
    for count, row in enumerate(rows, 1):
        yield row
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told, rate = now, count / (now - started)
            print(
                f'metaiqa: {before + count} images, {rate:.1f} a second',
                file=sys.stderr,
                flush=True,
            )


def _report(
    job: ScoreJob,
    summary: Summary,
    directions: dict[str, bool],
    before: int,
    seconds: float,
) -> None:
    """On stderr, for a person or as a line of JSON."""
    show = partial(print, file=sys.stderr)
    found = summary.distributions()
    if job.json:
        facts = {'images': summary.images, 'before': before, 'failed': summary.failed}
        show(json.dumps({**facts, 'seconds': round(seconds, 3), 'metrics': found}))
    else:
        now = summary.images - before
        rate = now / max(seconds, 1e-9)
        old = f', {before} before' if before else ''
        show(f'{now} images in {seconds:.1f} s ({rate:.1f} a second){old}')
        for name, facts in found.items():
            _draw(name, facts, directions[name])
    if summary.failed:
        show(f'metaiqa: {summary.failed} images not scored, {summary.first_failed}')


def _draw(name: str, facts: dict[str, Any], lower_better: bool) -> None:
    better, told = 'lower' if lower_better else 'higher', 'no scores'
    if facts['images']:
        told = (
            f'mean {facts["mean"]:.4g}, standard deviation {facts["sd"]:.4g}, median '
            f'{facts["median"]:.4g}'
        )
    print(f'{name} ({better} is better): {told}', file=sys.stderr)
    if sys.stderr.isatty() and facts['images']:
        print(f'{drawn(facts)}\n', file=sys.stderr)
