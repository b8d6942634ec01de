"""``metaiqa score``: images in, a table of scores out."""

from __future__ import annotations

import argparse
from dataclasses import fields

from metaiqa_plugin.cli import common

__all__ = ['add_parser', 'run_score']


def add_parser(verbs) -> None:
    """Add the verb ``score`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('score', help='score images; a table out')
    common.add_images(verb)
    verb.add_argument('--column', help='of paths in tables; default: the usual names')
    common.add_root(verb, 'folder that paths of tables and lists are below')
    metrics = verb.add_argument_group('metrics')
    common.add_metric(metrics, many=True)
    reading = verb.add_argument_group('reading')
    reading.add_argument(
        '--as-seen',
        action='store_true',
        help='turn photos upright by their EXIF orientation, which pyiqa does not',
    )
    reading.add_argument(
        '--shrink-jpeg',
        action='store_true',
        help='decode large JPEGs at reduced scale: faster, other scores',
    )
    speed = verb.add_argument_group('speed')
    speed.add_argument('--precision', default='fp32', help='fp32 (default) or bf16')
    speed.add_argument(
        '--engine', default='auto', help='auto (default), torch or openvino'
    )
    common.add_device(speed)
    common.add_batch_size(speed)
    common.add_workers(speed, 'reading threads')
    speed.add_argument(
        '--memory',
        type=float,
        metavar='GB',
        help='for images in flight; default: half of what is available',
    )
    common.add_ray(speed)
    out = verb.add_argument_group('results')
    common.add_out(out, '.csv, .jsonl or .parquet; default: csv on standard output')
    again = out.add_mutually_exclusive_group()
    common.add_resume(again)
    again.add_argument(
        '--retry-failed',
        action='store_true',
        help='--resume, and score again images whose rows have an error',
    )
    common.add_overwrite(again)
    chosen = out.add_mutually_exclusive_group()
    chosen.add_argument('--top', type=int, metavar='N', help='print the N best')
    chosen.add_argument('--bottom', type=int, metavar='N', help='print the N worst')
    chosen.add_argument(
        '--below', type=float, metavar='SCORE', help='print those with a score below'
    )
    out.add_argument('--by', metavar='METRIC', help='decides; default: the first')
    out.add_argument('--html', metavar='FILE', help='contact sheet to write')
    out.add_argument('--json', action='store_true', help='sum up as a line of JSON')
    verb.set_defaults(command=run_score)


def run_score(options: argparse.Namespace) -> int:
    """Score, write and sum up; the exit code.

    Raises:
        UserError: an argument is wrong, or nothing can be written there.
    """
    from metaiqa_plugin.score.run import ScoreJob, run

    names = [field.name for field in fields(ScoreJob)]
    return run(ScoreJob(**{name: getattr(options, name) for name in names}))
