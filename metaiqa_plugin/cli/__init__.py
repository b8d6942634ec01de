"""The ``metaiqa`` command: lists the verbs; each has a file here.

Files of verbs import what is slow (torch, pyiqa) when the verb runs, not before,
so that help comes at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

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

RENAMED = {
    '--checkpoint': '--metric, which takes checkpoints, too',
    '--prior': '--metric',
    '--force': '--overwrite',
    '--redo': '--overwrite',
    '--processes': '--workers',
    '--jobs': '--workers',
    '--levels': '--quality-levels',
    '--methods': '--maps',
    '--head-steps': '--steps, where 0 fits the last layer alone',
    '--force_yml': '--set KEY=VALUE, which runs no code',
    '--auto_resume': '--resume',
}
"""Old spellings of options, in the verbs that have the new one and not the old."""

IN_PYTHON = {
    'mos_range': 'score_range',
    'mos_column': 'score_column',
    'meta_info_file': 'scores',
    'processes': 'workers',
    'distortion': 'types',
    'distortions': 'types',
    'level': 'levels',
}
"""Arguments of functions that the command line has under the name of another."""


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
    options = parser([verb] if verb in VERBS else VERBS).parse_args(arguments)
    try:
        return options.command(options)
    except UserError as error:
        raise UserError(options.parser.as_typed(str(error))) from error


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
    """Of the command and of each verb: what it refuses is a UserError.

    Options that were renamed name the new one; ``options.parser`` is the verb's.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.set_defaults(parser=self)

    def parse_known_args(self, args=None, namespace=None):
        known = self._option_string_actions
        for word in args:
            old = word.partition('=')[0]
            new = RENAMED.get(old, '')
            if old not in known and new.split(' ')[0].rstrip(',') in known:
                raise UserError(f'{old} was removed; use {new}; see {self.prog} --help')
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f'unrecognized arguments: {" ".join(unknown)}')
        return options, unknown

    def error(self, message: str) -> NoReturn:
        raise UserError(f'{message}; see {self.prog} --help')

    def as_typed(self, message: str) -> str:
        """A message that names arguments as Python has them: ``seed=``, ``max_side``.

        Here it names the options; what is part of a path or in quotes stays.
        """
        typed = {
            action.dest: action.option_strings[-1]
            for action in self._actions
            if action.option_strings
        }
        typed |= {
            name: typed[ours] for name, ours in IN_PYTHON.items() if ours in typed
        }
        words = '|'.join(name if '_' in name else f'{name}(?==)' for name in typed)
        names = rf"""(?<![\w./'"-])(?:{words})(?![\w./'"-])"""
        return re.sub(names, lambda found: typed[found[0]], message)
