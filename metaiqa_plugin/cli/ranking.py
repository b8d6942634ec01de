"""``metaiqa ranking``: does a metric put the levels of distortions in order?"""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED

__all__ = ['add_parser', 'run_ranking']


def add_parser(verbs) -> None:
    """Add the verb ``ranking`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser(
        'ranking', help='does a metric put the levels of distortions in order?'
    )
    verb.add_argument('photos', help='folder of pristine photos, with its sub-folders')
    common.add_metric(verb)
    common.add_types(
        verb,
        'names, chains (motion_blur+jpeg), live, tid2013 or kadid10k (default)',
        ['kadid10k'],
    )
    common.add_levels(verb)
    common.add_max_side(verb)
    common.add_seed(verb)
    common.add_out(verb, 'folder to write to', 'ranking')
    common.add_overwrite(verb)
    verb.add_argument('--limit', type=int, metavar='N', help='the first N photos only')
    verb.set_defaults(command=run_ranking)


def run_ranking(options: argparse.Namespace) -> int:
    """Write ``scores.csv``, ``accuracy.csv`` and ``levels.png``; the exit code.

    Raises:
        UserError: a bad argument, ``--out`` in use, or nothing could be scored.
    """
    from metaiqa_plugin.data.ranked import preset_types
    from metaiqa_plugin.data.synthesis import Synthesis
    from metaiqa_plugin.study.ranking import write_ranking

    settings = Synthesis(
        distortions=preset_types(options.types),
        levels=tuple(options.levels),
        max_side=options.max_side,
        seed=options.seed,
    )
    failed = write_ranking(
        options.photos,
        options.metric,
        settings,
        options.out,
        options.limit,
        options.overwrite,
    )
    return SOME_FAILED if failed else 0
