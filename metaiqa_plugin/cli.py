"""The ``metaiqa`` command: one function a verb."""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Sequence
from urllib.error import URLError

from metaiqa_plugin.errors import SOME_FAILED, UserError, run

__all__ = ['main']


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
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
    _add_score(verbs)
    _add_synthesize(verbs)
    verbs.add_parser(
        'train', help='meta-train a prior: -opt FILE.yml [--root DIR], see pyiqa.train'
    )
    _add_adapt(verbs)
    verbs.add_parser('pyiqa', help="pyiqa's own command with our metric names known")
    return parser


def _add_score(verbs) -> None:
    verb = verbs.add_parser('score', help='score images or folders; csv out')
    verb.add_argument('images', nargs='+', help='files or folders')
    which = verb.add_mutually_exclusive_group()
    which.add_argument('--metric', default='metaiqa', help='a pyiqa NR metric')
    which.add_argument('--checkpoint', help='a checkpoint of ours')
    verb.add_argument('--out', help='csv file to write; default: standard output')
    verb.set_defaults(command=_score)


def _add_synthesize(verbs) -> None:
    verb = verbs.add_parser('synthesize', help='distort pristine photos, labelled')
    verb.add_argument('photos', help='folder of pristine photos')
    verb.add_argument('out', help='folder to make')
    verb.add_argument('--types', nargs='+', help='distortion types; default all 25')
    verb.add_argument('--levels', nargs='+', type=int, help='default 1 2 3 4 5')
    verb.add_argument('--max-side', type=int, default=512, help='pixels; 0 keeps')
    verb.add_argument('--seed', type=int, default=0)
    verb.add_argument('--processes', type=int, help='default: one a core')
    verb.add_argument('--resume', action='store_true', help='go on where it stopped')
    verb.set_defaults(command=_synthesize)


def _add_adapt(verbs) -> None:
    verb = verbs.add_parser('adapt', help='adapt a prior to labelled images')
    verb.add_argument('--prior', help='checkpoint; default: the weights that ship')
    verb.add_argument('--images', required=True, help='folder')
    verb.add_argument('--scores', required=True, help='csv of image names and scores')
    verb.add_argument('--out', required=True, help='.safetensors or .pth to write')
    verb.add_argument('--score-range', nargs=2, type=float, metavar=('LOW', 'HIGH'))
    verb.add_argument('--lower-better', action='store_true')
    verb.add_argument('--image-column')
    verb.add_argument('--score-column')
    verb.add_argument('--allow-unlabelled', action='store_true')
    verb.add_argument('--steps', type=int, help='Adam steps; default by image count')
    verb.add_argument('--batch-size', type=int, default=16)
    verb.add_argument('--lr', type=float, default=1e-4)
    verb.add_argument('--lr-head', type=float, default=1e-3)
    verb.add_argument('--seed', type=int, default=0)
    verb.set_defaults(command=_adapt)


def _score(options: argparse.Namespace) -> int:
    from pathlib import Path

    import pyiqa

    from metaiqa_plugin.data.images import find_images
    from metaiqa_plugin.scoring import score_files, write_table

    if options.metric not in pyiqa.list_models('NR'):
        raise UserError(
            f'--metric {options.metric!r} is not a no-reference metric of pyiqa; '
            'metaiqa pyiqa -ls lists all'
        )
    paths = []
    for name in options.images:
        folder = Path(name).is_dir()
        paths += find_images(name, 'images') if folder else [Path(name)]
    arguments = {}
    if options.checkpoint:
        arguments['pretrained_model_path'] = options.checkpoint
    try:
        metric = pyiqa.create_metric(options.metric, **arguments)
    except URLError as error:
        raise UserError(
            f'--metric {options.metric!r} needs weights from a model hub, which can '
            f'not be reached ({error.reason})'
        ) from error
    header = ('image', 'score', 'error')
    failed = []
    rows = _noting_errors(score_files(metric, paths), failed)
    if options.out:
        write_table(options.out, header, rows)
    else:
        csv.writer(sys.stdout).writerows(itertools.chain([header], rows))
    if failed:
        print(f'metaiqa: {len(failed)} images not scored', file=sys.stderr)
    return SOME_FAILED if failed else 0


def _noting_errors(rows, failed: list):
    for row in rows:
        if row[2]:
            failed.append(row)
        yield row


def _synthesize(options: argparse.Namespace) -> int:
    from metaiqa_plugin.data.synthesis import Synthesis, synthesize

    chosen = {'max_side': options.max_side, 'seed': options.seed}
    if options.types:
        chosen['distortions'] = tuple(options.types)
    if options.levels:
        chosen['levels'] = tuple(options.levels)
    report = synthesize(
        options.photos,
        options.out,
        Synthesis(**chosen),
        resume=options.resume,
        processes=options.processes,
    )
    print(f'{report.images} images, {report.meta_info}')
    for name, reason in report.failed.items():
        print(f'metaiqa: skipped {name}: {reason}', file=sys.stderr)
    return SOME_FAILED if report.failed else 0


def _adapt(options: argparse.Namespace) -> int:
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
    settings = AdaptSettings(
        steps=options.steps,
        batch_size=options.batch_size,
        lr=options.lr,
        lr_head=options.lr_head,
        seed=options.seed,
    )
    network = MetaIQA(pretrained_model_path=options.prior)
    losses = adapt(network, labelled, settings)
    write_state_dict(options.out, network.state_dict())
    print(
        f'{options.out}: {len(labelled.paths)} images, {len(losses)} steps, loss '
        f'{losses[0]:.4f} -> {losses[-1]:.4f}'
    )
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
