"""``metaiqa report``: tables and pictures of experiments."""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import needing

__all__ = ['add_parser', 'run_report']


def add_parser(verbs) -> None:
    """Add the verb ``report`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('report', help='tables and pictures of experiments')
    verb.add_argument('runs', nargs='+', help='experiments, or folders of such')
    common.add_out(verb, 'folder to write to', 'report')
    verb.set_defaults(command=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Write the report; the exit code.

    Raises:
        UserError: no experiment is there, or it cannot be read.
    """
    with needing('benchmark'):
        from metaiqa_plugin.benchmark.report import write_report

    report = write_report(options.runs, options.out)
    counted = ', '.join(f'{count} {state}' for state, count in report.cells.items())
    print(f'{report.html}: {report.experiments} experiments, cells: {counted}')
    return 0
