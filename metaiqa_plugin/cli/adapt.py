"""``metaiqa adapt``: a metric or prior adapted to labelled images."""

from __future__ import annotations

import argparse
from dataclasses import fields

from metaiqa_plugin.cli import common

__all__ = ['add_parser', 'run_adapt']

STARTS = {'metaiqa': True, 'metaiqa-prior': 'prior'}
"""Metrics that ship, by what ``MetaIQA`` calls their weights."""


def add_parser(verbs) -> None:
    """Add the verb ``adapt`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('adapt', help='adapt a prior to labelled images')
    what = f'to start from: {", ".join(STARTS)} or a checkpoint'
    common.add_metric(verb, what=what)
    common.add_retired(verb, '--prior', '--metric')
    verb.add_argument('--images', required=True, help='folder')
    common.add_labels(verb, required=True)
    common.add_out(verb, '.safetensors or .pth to write', required=True)
    common.add_overwrite(verb)
    verb.add_argument('--allow-unlabelled', action='store_true')
    verb.add_argument('--head-steps', type=int, help='steps of the head alone before')
    common.add_steps(verb, 'of Adam; default by image count')
    common.add_batch_size(verb)
    verb.add_argument('--lr', type=float, help='of the backbone')
    verb.add_argument('--lr-head', type=float)
    verb.add_argument('--batchnorm', choices=('frozen', 'running'))
    common.add_seed(verb)
    verb.set_defaults(command=run_adapt)


def run_adapt(options: argparse.Namespace) -> int:
    """Train, and write the checkpoint; the exit code.

    Raises:
        UserError: see :mod:`metaiqa_plugin.train.adapt`.
    """
    from metaiqa_plugin.archs.checkpoint import check_target, write_state_dict
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
    from metaiqa_plugin.train.adapt import AdaptSettings, adapt, read_labels

    check_target(options.out, options.overwrite, [options.scores, options.metric])
    labelled = read_labels(
        options.images,
        options.scores,
        options.score_range,
        options.lower_better,
        options.image_column,
        options.score_column,
        options.allow_unlabelled,
    )
    names = {field.name for field in fields(AdaptSettings)}
    given = {k: v for k, v in vars(options).items() if k in names and v is not None}
    checkpoint = None if options.metric in STARTS else options.metric
    network = MetaIQA(
        pretrained=STARTS.get(options.metric, True), pretrained_model_path=checkpoint
    )
    losses = adapt(network, labelled, AdaptSettings(**given))
    write_state_dict(options.out, network.state_dict(), overwrite=options.overwrite)
    course = f', loss {losses[0]:.4f} -> {losses[-1]:.4f}' if losses else ''
    print(f'{options.out}: {len(labelled.paths)} images, {len(losses)} steps{course}')
    return 0
