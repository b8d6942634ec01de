"""``metaiqa pyiqa``: pyiqa's own command, with our metric names known to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ['add_parser', 'run_pyiqa']


def add_parser(verbs) -> None:
    """Add the verb to the list; its options are pyiqa's, see :func:`run_pyiqa`."""
    verbs.add_parser('pyiqa', help="pyiqa's own command with our metric names known")


def run_pyiqa(arguments: Sequence[str]) -> int:
    """pyiqa 0.1.16's command reads the arguments of the process, and nothing else."""
    from pyiqa.pyiqa_cmd import main as pyiqa_main

    before = sys.argv
    sys.argv = ['metaiqa pyiqa', *arguments]
    try:
        pyiqa_main()
    finally:
        sys.argv = before
    return 0
