"""``metaiqa options``: the option files that come with the package."""

from __future__ import annotations

import argparse
from typing import Literal

from metaiqa_plugin.errors import UserError

__all__ = ['add_parser', 'run_options']

KINDS: tuple[Literal['train', 'benchmark'], ...] = ('train', 'benchmark')


def add_parser(verbs) -> None:
    """Add the verb ``options`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser(
        'options', help='option files that come with the package: list them, print one'
    )
    verb.add_argument('--show', metavar='NAME', help='print this one, to copy it')
    verb.set_defaults(command=run_options)


def run_options(options: argparse.Namespace) -> int:
    """List the names, or print a file; the exit code.

    Raises:
        UserError: no file of that name.
    """
    from metaiqa_plugin.train.options import SHIPPED, option_file, shipped_options

    if options.show is None:
        for kind in KINDS:
            for path in shipped_options(kind):
                print(path.relative_to(SHIPPED).as_posix())
        return 0
    for kind in KINDS:
        found = option_file(options.show, kind)
        if found != options.show:
            with open(found, encoding='utf-8') as file:
                print(file.read(), end='')
            return 0
    raise UserError(f'--show {options.show!r}: no such name; leave it out to list all')
