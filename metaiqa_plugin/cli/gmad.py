"""``metaiqa gmad``: let two metrics compete on images, and show who is wrong where."""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED

__all__ = ['add_parser', 'run_gmad']


def add_parser(verbs) -> None:
    """Add the verb ``gmad`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'gmad',
        help='two metrics compete: pairs alike for one, most different for the other',
    )
    common.add_images(verb)
    for side in ('defender', 'attacker'):
        verb.add_argument(f'--{side}', required=True, help=common.METRIC)
    verb.add_argument(
        '--quality-levels', type=int, default=5, dest='levels', help='default 5'
    )
    verb.add_argument('--pairs', type=int, default=2, help='a level; default 2')
    verb.add_argument(
        '--tolerance',
        type=float,
        default=0.25,
        help="reach of a level in standard deviations of the defender's scores; "
        'default 0.25',
    )
    common.add_out(verb, 'folder to write to', 'gmad')
    common.add_overwrite(verb)
    verb.set_defaults(command=run_gmad)


def run_gmad(options: argparse.Namespace) -> int:
    """Write ``scores.csv``, ``gmad.csv`` and ``gmad.png``; the exit code.

    Raises:
        UserError: an argument is wrong, or too few images could be scored.
    """
    from metaiqa_plugin.score.sources import Sources
    from metaiqa_plugin.study.gmad import Settings, write_competition

    failed = write_competition(
        Sources(options.images).files(options.out),
        options.defender,
        options.attacker,
        Settings(options.levels, options.pairs, options.tolerance),
        options.out,
        options.overwrite,
    )
    return SOME_FAILED if failed else 0
