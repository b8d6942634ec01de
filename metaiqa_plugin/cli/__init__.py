"""The ``metaiqa`` command: lists the verbs; each has a file here.

Files of verbs import what is slow (torch, pyiqa) when the verb runs, not before: so
help comes at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from metaiqa_plugin.cli import (
    adapt,
    benchmark,
    explain,
    export,
    gmad,
    hyper_weights,
    prepare,
    pyiqa_command,
    ranking,
    report,
    score,
    synthesize,
    train,
    ui,
)
from metaiqa_plugin.errors import run
from metaiqa_plugin.parallel import keep_freed_memory

__all__ = ['main']

VERBS = (
    *(score, synthesize, prepare, train, adapt, benchmark, report),
    *(explain, export, ui, ranking, gmad, hyper_weights, pyiqa_command),
)


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
    if arguments[:1] == ['pyiqa']:  # takes pyiqa's options, --help among them
        return pyiqa_command.run_pyiqa(arguments[1:])
    options = _parser().parse_args(arguments)
    return options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='metaiqa', description='MetaIQA: no-reference image quality for pyiqa.'
    )
    verbs = parser.add_subparsers(required=True, metavar='VERB')
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser
