"""``metaiqa train``: train as an option file says."""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common

__all__ = ['add_parser', 'run_train']


def add_parser(verbs) -> None:
    """Add the verb ``train`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser(
        'train',
        help='train as an option file says: a prior, a metric, a ranking',
        description='Train as an option file says, one of pyiqa.train or of ours.',
        allow_abbrev=False,
    )
    common.add_option_file(verb, 'an option file')
    common.add_set(verb)
    common.add_root(verb, 'folder for experiments/NAME', '.')
    common.add_resume(verb)
    verb.add_argument(
        '--launcher', default='none', help='pytorch: under torchrun; default none'
    )
    verb.set_defaults(command=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Train; the exit code.

    Raises:
        UserError: see :func:`metaiqa_plugin.train.run.train`.
    """
    from metaiqa_plugin.train.run import train

    train(options.opt, options.root, options.resume, options.launcher, options.set)
    return 0
