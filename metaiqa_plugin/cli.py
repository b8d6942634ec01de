"""The ``metaiqa`` command: one function a verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from metaiqa_plugin.commands import (
    explain,
    export,
    gmad,
    hyper_weights,
    ranking,
    score,
    ui,
)
from metaiqa_plugin.errors import SOME_FAILED, UserError, run
from metaiqa_plugin.extras import needing
from metaiqa_plugin.memory import keep_freed_memory

__all__ = ['main']

PRIOR = 'metaiqa-prior'


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code.

    Args:
        arguments: None: those of this process, which is then ours to set up.
    """
    ours = arguments is None
    arguments = list(sys.argv[1:] if ours else arguments)
    if ours:
        keep_freed_memory()
    passed_on = {'train': _train, 'pyiqa': _pyiqa}
    if arguments and arguments[0] in passed_on:
        return run(passed_on[arguments[0]], arguments[1:])
    options = _parser().parse_args(arguments)
    return run(options.command, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='metaiqa', description='MetaIQA: no-reference image quality for pyiqa.'
    )
    verbs = parser.add_subparsers(required=True, metavar='VERB')
    score.add_parser(verbs)
    _add_synthesize(verbs)
    _add_prepare(verbs)
    verbs.add_parser(
        'train',
        help='train as an option file says: -opt FILE.yml [--root DIR] [--resume]',
    )
    _add_adapt(verbs)
    _add_benchmark(verbs)
    _add_report(verbs)
    for command in (explain, export, ui, ranking, gmad, hyper_weights):
        command.add_parser(verbs)
    verbs.add_parser('pyiqa', help="pyiqa's own command with our metric names known")
    return parser


def _add_synthesize(verbs) -> None:
    verb = verbs.add_parser('synthesize', help='distort pristine photos, labelled')
    verb.add_argument('photos', help='folder of pristine photos, with its sub-folders')
    verb.add_argument('out', help='folder to make')
    verb.add_argument(
        '--types',
        nargs='+',
        metavar='TYPE',
        help="default: KADID-10k's 25; several in sequence: motion_blur+jpeg",
    )
    verb.add_argument(
        '--composites', action='store_true', help='add the usual sequences of types'
    )
    level = verb.add_mutually_exclusive_group()
    level.add_argument('--levels', nargs='+', type=_level, help='default 1 2 3 4 5')
    level.add_argument(
        '--random-levels',
        type=int,
        default=0,
        metavar='N',
        help='N levels at random, 1 to 5, for each photo and type',
    )
    verb.add_argument('--max-side', type=int, default=512, help='pixels; 0 keeps')
    verb.add_argument('--seed', type=int, default=0)
    verb.add_argument('--processes', type=int, help='default: one a core')
    verb.add_argument('--resume', action='store_true', help='go on where it stopped')
    verb.add_argument(
        '--ray',
        nargs='?',
        const='auto',
        metavar='ADDRESS',
        help='work on a Ray cluster: that of RAY_ADDRESS, or one on this machine',
    )
    verb.set_defaults(command=_synthesize)


def _add_prepare(verbs) -> None:
    from metaiqa_plugin.data.databases import DATABASES

    verb = verbs.add_parser('prepare', help='meta_info csv of a downloaded database')
    verb.add_argument('database', help=f'{", ".join(DATABASES)}; or csv for your own')
    verb.add_argument('root', help='folder of the download; csv: folder of the images')
    verb.add_argument('--out', help='csv to write; default: ROOT/meta_info_NAME.csv')
    verb.add_argument('--force', action='store_true', help='replace it if it exists')
    verb.add_argument(
        '--skip-missing', action='store_true', help='leave out images not on disk'
    )
    verb.add_argument('--score-range', nargs=2, type=float, metavar=('LOW', 'HIGH'))
    own = verb.add_argument_group('csv only')
    own.add_argument('--scores', help='csv of image names and scores')
    own.add_argument('--lower-better', action='store_true', default=None)
    own.add_argument('--image-column')
    own.add_argument('--score-column')
    own.add_argument('--reference-column', help='kept together in a split')
    own.add_argument('--group-column', help='kept together in a split')
    verb.set_defaults(command=_prepare)


def _add_adapt(verbs) -> None:
    verb = verbs.add_parser('adapt', help='adapt a prior to labelled images')
    verb.add_argument(
        '--prior',
        metavar='FILE',
        help=f'checkpoint, or {PRIOR}, which ships; default: the metric that ships',
    )
    verb.add_argument('--images', required=True, help='folder')
    verb.add_argument('--scores', required=True, help='csv of image names and scores')
    verb.add_argument('--out', required=True, help='.safetensors or .pth to write')
    verb.add_argument('--score-range', nargs=2, type=float, metavar=('LOW', 'HIGH'))
    verb.add_argument('--lower-better', action='store_true')
    verb.add_argument('--image-column')
    verb.add_argument('--score-column')
    verb.add_argument('--allow-unlabelled', action='store_true')
    verb.add_argument('--head-steps', type=int, help='steps of the head alone before')
    verb.add_argument('--steps', type=int, help='Adam steps; default by image count')
    verb.add_argument('--batch-size', type=int)
    verb.add_argument('--lr', type=float, help='of the backbone')
    verb.add_argument('--lr-head', type=float)
    verb.add_argument('--batchnorm', choices=('frozen', 'running'))
    verb.add_argument('--seed', type=int)
    verb.set_defaults(command=_adapt)


def _add_benchmark(verbs) -> None:
    verb = verbs.add_parser('benchmark', help='run an experiment: a grid of cells')
    verb.add_argument('-opt', required=True, help='a file of options/benchmark')
    verb.add_argument('--root', default='runs', help='folder of all experiments')
    verb.add_argument('--jobs', type=int, default=1, help='cells at a time')
    verb.add_argument(
        '--ray',
        nargs='?',
        const='auto',
        metavar='ADDRESS',
        help='run on a Ray cluster: that of RAY_ADDRESS, or one on this machine',
    )
    verb.add_argument('--list', action='store_true', help='show the grid, run nothing')
    verb.add_argument(
        '--redo', action='store_true', help='run cells of other options anew'
    )
    verb.set_defaults(command=_benchmark)


def _add_report(verbs) -> None:
    verb = verbs.add_parser('report', help='tables and pictures of experiments')
    verb.add_argument('runs', nargs='+', help='experiments, or folders of such')
    verb.add_argument('--out', default='report', help='folder to write to')
    verb.set_defaults(command=_report)


def _level(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _synthesize(options: argparse.Namespace) -> int:
    from metaiqa_plugin.data.distortions import COMPOSITES
    from metaiqa_plugin.data.synthesis import Synthesis, synthesize

    chosen = {name: getattr(options, name) for name in ('max_side', 'seed')}
    chosen['random_levels'] = options.random_levels
    chosen['distortions'] = tuple(options.types or Synthesis.distortions)
    if options.composites:
        chosen['distortions'] += COMPOSITES
    if options.levels:
        chosen['levels'] = tuple(options.levels)
    report = synthesize(
        options.photos,
        options.out,
        Synthesis(**chosen),
        resume=options.resume,
        processes=options.processes,
        ray=options.ray,
    )
    print(f'{report.images} images, {report.meta_info}')
    for name, reason in report.failed.items():
        print(f'metaiqa: skipped {name}: {reason}', file=sys.stderr)
    return SOME_FAILED if report.failed else 0


def _prepare(options: argparse.Namespace) -> int:
    from metaiqa_plugin.data.databases.prepare import prepare, prepare_csv

    own = ('scores', 'lower_better', 'image_column', 'score_column')
    own += ('reference_column', 'group_column')
    given = {name: getattr(options, name) for name in own}
    given = {name: value for name, value in given.items() if value is not None}
    common = {
        'out': options.out,
        'force': options.force,
        'skip_missing': options.skip_missing,
        'score_range': options.score_range,
    }
    if options.database == 'csv':
        prepared = prepare_csv(options.root, **{'scores': None, **given}, **common)
    elif given:
        names = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        raise UserError(f'{names}: only for metaiqa prepare csv')
    else:
        prepared = prepare(options.database, options.root, **common)
    print(prepared.summary())
    print(prepared.options())
    for note in prepared.notes:
        print(f'metaiqa: note: {note}', file=sys.stderr)
    if prepared.left_out:
        print(
            f'metaiqa: {len(prepared.left_out)} images are not on disk and left out, '
            f'the first is {prepared.left_out[0]!r}',
            file=sys.stderr,
        )
    return SOME_FAILED if prepared.left_out else 0


def _adapt(options: argparse.Namespace) -> int:
    from dataclasses import fields
    from pathlib import Path

    from metaiqa_plugin.adaptation import AdaptSettings, adapt, read_labels
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
    from metaiqa_plugin.checkpoint import check_target, write_state_dict

    check_target(Path(options.out))
    labelled = read_labels(
        options.images,
        options.scores,
        options.score_range,
        options.lower_better,
        options.image_column,
        options.score_column,
        options.allow_unlabelled,
    )
    names = {field.name for field in fields(AdaptSettings)} & set(vars(options))
    given = {name: getattr(options, name) for name in names}
    settings = AdaptSettings(**{k: v for k, v in given.items() if v is not None})
    path = None if options.prior == PRIOR else options.prior
    pretrained = 'prior' if options.prior == PRIOR else True
    network = MetaIQA(pretrained=pretrained, pretrained_model_path=path)
    losses = adapt(network, labelled, settings)
    write_state_dict(options.out, network.state_dict())
    course = f', loss {losses[0]:.4f} -> {losses[-1]:.4f}' if losses else ''
    print(f'{options.out}: {len(labelled.paths)} images, {len(losses)} steps{course}')
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    import shlex
    from collections import Counter

    with needing('benchmark'):
        from metaiqa_plugin.benchmark.plan import read_plan
        from metaiqa_plugin.benchmark.runner import run_plan
        from metaiqa_plugin.benchmark.workspace import state_of

        plan = read_plan(options.opt)
    for note in plan.notes:
        print(f'metaiqa: note: {note}', file=sys.stderr)
    if options.list:
        states = [state_of(options.root, cell) for cell in plan.cells]
        for cell, state in zip(plan.cells, states, strict=True):
            print(f'{state:14} {cell.label}')
        for cell in plan.shared:
            print(f'{state_of(options.root, cell):14} {cell.label}')
        counted = Counter(states)
        print(', '.join(f'{count} {state}' for state, count in counted.items()))
        return 0
    command = f'metaiqa benchmark -opt {shlex.quote(options.opt)}'
    command += f' --jobs {options.jobs}' if options.jobs > 1 else ''
    command += f' --ray {shlex.quote(options.ray)}' if options.ray else ''
    outcome = run_plan(
        plan,
        options.root,
        options.jobs,
        options.ray,
        redo=options.redo,
        command=command,
    )
    print(
        f'{outcome.folder}: {outcome.before} cells were finished, '
        f'{len(outcome.finished)} are now, {len(outcome.failed)} failed'
    )
    for label, reason in outcome.failed.items():
        print(f'metaiqa: {label}: {reason}', file=sys.stderr)
    return SOME_FAILED if outcome.failed else 0


def _report(options: argparse.Namespace) -> int:
    with needing('benchmark'):
        from metaiqa_plugin.benchmark.report import write_report

    report = write_report(options.runs, options.out)
    counted = ', '.join(f'{count} {state}' for state, count in report.cells.items())
    print(f'{report.html}: {report.experiments} experiments, cells: {counted}')
    return 0


def _train(arguments: list[str]) -> int:
    from metaiqa_plugin.train import main as train_main

    return train_main(arguments)


def _pyiqa(arguments: list[str]) -> int:
    from pyiqa.pyiqa_cmd import main as pyiqa_main

    before = sys.argv
    sys.argv = ['metaiqa pyiqa', *arguments]
    try:
        pyiqa_main()
    finally:
        sys.argv = before
    return 0


if __name__ == '__main__':
    sys.exit(main())
