"""The ``metaiqa`` command: lists the verbs; each has a file here.

Files of verbs import what is slow (torch, pyiqa) when the verb runs, not before,
so that help comes at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from metaiqa_plugin import __version__
from metaiqa_plugin.cli import (
    adapt,
    benchmark,
    explain,
    export,
    gmad,
    hyper_weights,
    options,
    prepare,
    pyiqa_command,
    ranking,
    report,
    score,
    synthesize,
    train,
    ui,
)
from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.parallel import keep_freed_memory

__all__ = ['VERBS', 'main', 'parser']

VERBS = {
    'score': score,
    'synthesize': synthesize,
    'prepare': prepare,
    'train': train,
    'adapt': adapt,
    'benchmark': benchmark,
    'report': report,
    'options': options,
    'explain': explain,
    'export': export,
    'ui': ui,
    'ranking': ranking,
    'gmad': gmad,
    'hyper-weights': hyper_weights,
    'pyiqa': pyiqa_command,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code.

    Args:
        arguments: None: those of this process, which is then ours to set up.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        keep_freed_memory()
    return run(_command, list(arguments))


def _command(arguments: Sequence[str]) -> int:
    verb = arguments[0] if arguments else ''
    if verb == 'pyiqa':  # takes pyiqa's options, --help among them
        return pyiqa_command.run_pyiqa(arguments[1:])
    given = parser([verb] if verb in VERBS else VERBS).parse_args(arguments)
    return given.command(given)


def parser(names: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The parser of the command, with some verbs or all."""
    command = _Parser(
        prog='metaiqa', description='MetaIQA: no-reference image quality for pyiqa.'
    )
    command.add_argument('--version', action='version', version=__version__)
    verbs = command.add_subparsers(required=True, metavar='VERB')
    for name in names:
        VERBS[name].add_parser(verbs)
    return command


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong as other errors are reported; verbs' parsers, too."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f'{message}; see {self.prog} --help')
