"""``metaiqa synthesize``: pristine photos in, a labelled database out."""

from __future__ import annotations

import argparse
import sys

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, whole_number

__all__ = ['add_parser', 'run_synthesize']


def add_parser(verbs) -> None:
    """Add the verb ``synthesize`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('synthesize', help='distort pristine photos, labelled')
    verb.add_argument('photos', help='folder of pristine photos, with its sub-folders')
    verb.add_argument('out', help='folder to make')
    common.add_types(
        verb, "default: KADID-10k's 25; several in sequence: motion_blur+jpeg"
    )
    verb.add_argument(
        '--composites', action='store_true', help='add the usual sequences of types'
    )
    level = verb.add_mutually_exclusive_group()
    common.add_levels(level)
    level.add_argument(
        '--random-levels',
        type=int,
        metavar='N',
        help='N levels at random, 1 to 5, for each photo and type',
    )
    common.add_max_side(verb)
    common.add_seed(verb)
    common.add_workers(verb, 'processes')
    common.add_resume(verb)
    common.add_ray(verb)
    verb.set_defaults(command=run_synthesize)


def run_synthesize(options: argparse.Namespace) -> int:
    """Write the database; the exit code.

    Raises:
        UserError: see :func:`metaiqa_plugin.data.synthesis.synthesize`.
    """
    from metaiqa_plugin.data.distortions import COMPOSITES
    from metaiqa_plugin.data.synthesis import Synthesis, synthesize

    chosen = {name: getattr(options, name) for name in ('max_side', 'seed')}
    if options.random_levels is not None:
        whole_number('random_levels', options.random_levels)
        chosen['random_levels'] = options.random_levels
    chosen['distortions'] = tuple(options.types or Synthesis.distortions)
    if options.composites:
        chosen['distortions'] += COMPOSITES
    chosen['levels'] = tuple(options.levels)
    report = synthesize(
        options.photos,
        options.out,
        Synthesis(**chosen),
        resume=options.resume,
        processes=options.workers,
        ray=options.ray,
    )
    print(f'{report.images} images, {report.meta_info}')
    for name, reason in report.failed.items():
        print(f'metaiqa: skipped {name}: {reason}', file=sys.stderr)
    return SOME_FAILED if report.failed else 0
