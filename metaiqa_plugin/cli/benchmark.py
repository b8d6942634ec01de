"""``metaiqa benchmark``: run an experiment, a grid of cells."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED

__all__ = ['add_parser', 'run_benchmark']


def add_parser(verbs) -> None:
    """Add the verb ``benchmark`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('benchmark', help='run an experiment: a grid of cells')
    common.add_option_file(verb, 'a benchmark file')
    common.add_root(verb, 'folder of all experiments', 'runs')
    common.add_workers(verb, 'cells at a time', 1)
    common.add_ray(verb)
    verb.add_argument('--list', action='store_true', help='show the grid, run nothing')
    common.add_overwrite(verb, 'rerun cells that finished under other options')
    verb.set_defaults(command=run_benchmark)


def run_benchmark(options: argparse.Namespace) -> int:
    """Run the cells that are not finished, or list them; the exit code.

    Raises:
        UserError: the file has faults, or the experiment is being run already.
    """
    from metaiqa_plugin.benchmark.plan import read_plan
    from metaiqa_plugin.benchmark.run import run_plan, state_of
    from metaiqa_plugin.train.options import require_paths

    plan = read_plan(options.opt)
    for note in plan.notes:
        print(f'metaiqa: note: {note}', file=sys.stderr)
    if options.list:
        every = (*plan.cells, *plan.shared)
        states = [state_of(options.root, cell) for cell in every]
        for cell, state in zip(every, states, strict=True):
            print(f'{state:14} {cell.label}')
        counted = Counter(states[: len(plan.cells)])
        print(', '.join(f'{count} {state}' for state, count in counted.items()))
        return 0
    for name, database in plan.databases.items():
        require_paths(vars(database.options), f'{options.opt}: databases.{name}')
    command = f'metaiqa benchmark -opt {shlex.quote(options.opt)}'
    command += f' --workers {options.workers}' if options.workers > 1 else ''
    command += f' --ray {shlex.quote(options.ray)}' if options.ray else ''
    outcome = run_plan(
        plan,
        options.root,
        options.workers,
        options.ray,
        overwrite=options.overwrite,
        command=command,
    )
    print(
        f'{outcome.folder}: {outcome.before} cells were finished, '
        f'{len(outcome.finished)} are now, {len(outcome.failed)} failed'
    )
    for label, reason in outcome.failed.items():
        print(f'metaiqa: {label}: {reason}', file=sys.stderr)
    return SOME_FAILED if outcome.failed else 0
