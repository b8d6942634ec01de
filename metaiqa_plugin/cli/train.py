"""``metaiqa train``: train as an option file says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import UserError

__all__ = ['add_parser', 'run_train']


def add_parser(verbs) -> None:
    """Add the verb ``train`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser(
        'train',
        help='train as an option file says: a prior, a metric, a ranking',
        description='Train as an option file says, one of pyiqa.train or of ours.',
        allow_abbrev=False,
    )
    common.add_option_file(verb, 'a YAML file')
    verb.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='change an option, e.g. train.optim.lr=3e-4; may be given several times',
    )
    common.add_root(verb, 'folder for experiments/NAME', '.')
    common.add_resume(verb)
    verb.add_argument(
        '--launcher', default='none', help='pytorch: under torchrun; default none'
    )
    common.add_retired(verb, '--force_yml', '--set KEY=VALUE, which runs no code')
    common.add_retired(verb, '--auto_resume', '--resume')
    verb.set_defaults(command=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Train; the exit code.

    Raises:
        UserError: see :func:`metaiqa_plugin.train.run.train`.
    """
    from metaiqa_plugin.train.run import train

    changes = _changes(options.set)
    train(options.opt, options.root, options.resume, options.launcher, changes)
    return 0


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """Values by dotted key, of texts ``KEY=VALUE``; a value is YAML."""
    from metaiqa_plugin.option_yaml import parse

    changes = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals or not all(key.split('.')):
            raise UserError(
                f'--set {text!r}: expected KEY=VALUE, e.g. train.optim.lr=3e-4'
            )
        changes[key] = parse(value, f'--set {text!r}')
    return changes
