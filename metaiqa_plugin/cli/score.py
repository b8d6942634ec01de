"""``metaiqa score``: images in, a table of scores out."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, UserError

if TYPE_CHECKING:
    from metaiqa_plugin.score.rows import ScoreRow
    from metaiqa_plugin.score.summary import Chosen

__all__ = ['add_parser', 'score']


def add_parser(verbs) -> None:
    """Add the verb ``score`` to the sub-parsers of a command."""
    verb = verbs.add_parser('score', help='score images; a table out')
    verb.add_argument(
        'images',
        nargs='+',
        help="files; folders, with sub-folders; patterns like 'photos/**/*.jpg'; "
        'tables (.csv, .parquet) with a column of paths; - for a list on stdin',
    )
    verb.add_argument('--column', help='of paths in tables; default: the usual names')
    verb.add_argument('--root', help='folder that paths of tables and lists are below')
    metrics = verb.add_argument_group('metrics')
    common.add_metric(metrics, many=True)
    reading = verb.add_argument_group('reading')
    reading.add_argument(
        '--as-seen',
        action='store_true',
        help='turn photos upright by EXIF and scale 16 bits to 8; pyiqa does neither',
    )
    reading.add_argument(
        '--shrink-jpeg',
        action='store_true',
        help='decode large JPEGs at reduced scale: faster, other scores',
    )
    speed = verb.add_argument_group('speed')
    speed.add_argument('--precision', choices=('fp32', 'bf16'), default='fp32')
    speed.add_argument(
        '--engine', choices=('auto', 'torch', 'openvino'), default='auto'
    )
    common.add_device(speed)
    speed.add_argument('--batch-size', type=int, help='images; default: what suits')
    common.add_workers(speed, 'reading threads')
    common.add_ray(speed)
    out = verb.add_argument_group('results')
    out.add_argument(
        '--out', help='.csv, .jsonl or .parquet; default: csv on standard output'
    )
    again = out.add_mutually_exclusive_group()
    common.add_resume(again)
    common.add_overwrite(again)
    chosen = out.add_mutually_exclusive_group()
    chosen.add_argument('--top', type=int, metavar='N', help='print the N best')
    chosen.add_argument('--bottom', type=int, metavar='N', help='print the N worst')
    chosen.add_argument(
        '--below', type=float, metavar='SCORE', help='print those with a score below'
    )
    out.add_argument('--by', metavar='METRIC', help='decides; default: the first')
    out.add_argument('--html', metavar='FILE', help='contact sheet to write')
    verb.set_defaults(command=score)


def score(options: argparse.Namespace) -> int:
    """Score, write and sum up; the exit code.

    Raises:
        UserError: an argument is wrong.
    """
    from metaiqa_plugin.cli.score_output import print_rows, report, write_sheet
    from metaiqa_plugin.score.scorers import scorer_names
    from metaiqa_plugin.score.sources import Sources
    from metaiqa_plugin.score.summary import Summary

    metrics = options.metric or ['metaiqa']
    names = scorer_names(metrics)
    if len(set(names)) < len(names):
        raise UserError(f'metrics {metrics} are not all different; give each once')
    _check(options, names)
    sources = Sources(options.images, options.column, options.root)
    sources.check()
    rows, directions = _computation(options, metrics, names)
    summary = Summary(names)
    chosen = _chosen(options, names, directions)
    shown: list[ScoreRow] = []
    listeners = [summary.add, *([chosen.add] if chosen else [])]
    listeners += [shown.append] if options.html else []
    started = time.monotonic()
    before = 0
    with _table(options, metrics, names, quiet=chosen is not None) as (table, written):
        done = set()
        for row in written:
            done.add(row.path)
            _tell(listeners, row)
        before = len(done)
        left = (path for path in sources if path not in done)
        for row in _with_bar(rows(left), sources, before):
            table(row)
            _tell(listeners, row)
    seconds = time.monotonic() - started
    if chosen:
        print_rows(names, chosen.rows())
    if options.html:
        write_sheet(options.html, shown, names, directions)
    report(summary, directions, before, seconds)
    if summary.failed:
        print(f'metaiqa: {summary.failed} images not scored', file=sys.stderr)
    return SOME_FAILED if summary.failed else 0


def _check(options: argparse.Namespace, names: Sequence[str]) -> None:
    """What can be told before anything is opened."""
    from metaiqa_plugin.errors import whole_number

    for name in ('top', 'bottom', 'batch_size', 'workers'):
        if getattr(options, name) is not None:
            whole_number(name, getattr(options, name))
    if options.by is not None and options.by not in names:
        raise UserError(f'by={options.by!r}: expected one of {", ".join(names)}')
    if options.by is not None and _selection(options) is None:
        raise UserError('by: only with --top, --bottom or --below')
    for name in ('resume', 'overwrite'):
        if getattr(options, name) and not options.out:
            raise UserError(f'--{name} needs --out')
    if options.ray and (options.workers or options.device):
        raise UserError('--ray: it decides on workers and devices; leave them out')


def _computation(
    options: argparse.Namespace, metrics: Sequence[str], names: Sequence[str]
) -> tuple[Callable[[Iterable[str]], Iterator[ScoreRow]], list[bool]]:
    """What makes rows of paths, and for each metric whether its low scores are good."""
    from metaiqa_plugin.score.pipeline import score_images
    from metaiqa_plugin.score.reading import Reader
    from metaiqa_plugin.score.scorers import least_side, open_scorers

    settings = {
        'engine': options.engine,
        'precision': options.precision,
        'batch_size': options.batch_size,
    }
    scorers = open_scorers(metrics, names, device=options.device, **settings)
    side = least_side(scorers) if options.shrink_jpeg else None
    directions = [scorer.lower_better for scorer in scorers]
    if options.ray:
        from metaiqa_plugin.score.on_ray import score_on_ray

        settings |= {'metrics': list(map(_absolute, metrics)), 'names': names}
        settings['as_seen'] = options.as_seen
        settings['shrink_jpeg'] = options.shrink_jpeg
        return lambda paths: score_on_ray(paths, settings, options.ray), directions
    reader = Reader(options.as_seen, side)
    return (
        lambda paths: score_images(paths, scorers, options.workers, reader),
        directions,
    )


def _selection(options: argparse.Namespace) -> tuple[str, float] | None:
    for which in ('top', 'bottom', 'below'):
        limit = getattr(options, which)
        if limit is not None:
            return which, limit
    return None


def _chosen(
    options: argparse.Namespace, names: Sequence[str], directions: Sequence[bool]
) -> Chosen | None:
    from metaiqa_plugin.score.summary import Chosen

    selection = _selection(options)
    if selection is None:
        return None
    place = 0 if options.by is None else list(names).index(options.by)
    return Chosen(*selection, place, directions[place])


@contextlib.contextmanager
def _table(
    options: argparse.Namespace,
    metrics: Sequence[str],
    names: Sequence[str],
    quiet: bool,
) -> Iterator[tuple[Callable[[ScoreRow], None], Iterable[ScoreRow]]]:
    """What takes the rows, and the rows of an earlier run."""
    from metaiqa_plugin.cli.score_output import Printing
    from metaiqa_plugin.score.result_file import result_file

    if options.out:
        settings = {
            'metrics': dict(zip(names, map(_identity, metrics), strict=True)),
            'precision': options.precision,
            'as_seen': options.as_seen,
            'shrink_jpeg': options.shrink_jpeg,
        }
        with result_file(
            options.out, names, settings, options.resume, options.overwrite
        ) as file:
            yield file.write, file.rows() if options.resume else ()
    elif quiet:
        yield lambda row: None, ()
    else:
        yield Printing(names), ()


def _absolute(metric: str) -> str:
    """Workers of a cluster have folders of their own."""
    return os.path.abspath(metric) if os.path.isfile(metric) else metric


def _identity(metric: str) -> str:
    """A metric of pyiqa by its name, a checkpoint by the SHA-256 of its file."""
    path = Path(metric)
    if not path.is_file():
        return metric
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _tell(listeners: Sequence[Callable[[ScoreRow], None]], row: ScoreRow) -> None:
    for listener in listeners:
        listener(row)


def _with_bar(rows: Iterator[ScoreRow], sources, before: int) -> Iterator[ScoreRow]:
    """With a bar on a terminal, which costs counting the images first."""
    from tqdm import tqdm

    if not sys.stderr.isatty():
        yield from rows
        return
    with tqdm(
        rows, 'score', sources.count(), unit='image', initial=before, smoothing=0.05
    ) as bar:
        yield from bar
