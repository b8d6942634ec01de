"""``metaiqa report``: tables and pictures of experiments."""

from __future__ import annotations

import argparse
from pathlib import Path

from metaiqa_plugin.cli import common

__all__ = ['add_parser', 'run_report']


def add_parser(verbs) -> None:
    """Add the verb ``report`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('report', help='tables and pictures of experiments')
    verb.add_argument('runs', nargs='+', help='experiments, or folders of them')
    common.add_out(verb, 'folder to write to', 'report')
    common.add_overwrite(verb)
    verb.set_defaults(command=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Write the report; the exit code.

    Raises:
        UserError: no experiment is there, it cannot be read, or ``--out`` exists.
    """
    from metaiqa_plugin.benchmark.report import write_report

    shown = write_report(options.runs, options.out, options.overwrite)
    states = [cell.state for experiment in shown for cell in experiment.cells]
    counted = ', '.join(
        f'{states.count(state)} {state}' for state in ('finished', 'failed', 'open')
    )
    page = Path(options.out) / 'report.html'
    print(f'{page}: {len(shown)} experiments, cells: {counted}')
    return 0
