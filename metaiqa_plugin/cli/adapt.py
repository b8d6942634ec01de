"""``metaiqa adapt``: a metric or prior adapted to labelled images."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import fields
from typing import TYPE_CHECKING

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import UserError, one_line

if TYPE_CHECKING:
    from metaiqa_plugin.train.adapt import Gain

__all__ = ['add_parser', 'run_adapt']

STARTS = {'metaiqa': True, 'metaiqa-prior': 'prior', 'metaiqa-livec': 'livec'}
"""Metrics that ship, by what ``MetaIQA`` calls their weights."""

FITTED = {
    'none': 'nothing fitted: the metric as it was is as good',
    'offset': 'an offset fitted',
    'line': 'a line fitted',
    'layer': 'the last layer fitted',
    'stages': 'the stages trained',
}


def add_parser(verbs) -> None:
    """Add the verb ``adapt`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('adapt', help='adapt a prior to labelled images')
    what = f'to start from: {", ".join(STARTS)} or a checkpoint'
    common.add_metric(verb, what=what)
    verb.add_argument('--images', required=True, help='folder')
    common.add_labels(verb, required=True)
    common.add_out(verb, '.safetensors or .pth to write', required=True)
    common.add_overwrite(verb)
    verb.add_argument('--allow-unlabelled', action='store_true')
    common.add_steps(verb, 'of Adam; 0: the last layer alone; default: from 200 labels')
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
    from metaiqa_plugin.archs.checkpoint import check_target
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
    from metaiqa_plugin.train.adapt import AdaptSettings, adapt, read_labels

    names = {field.name for field in fields(AdaptSettings)}
    given = {k: v for k, v in vars(options).items() if k in names and v is not None}
    settings = AdaptSettings(**given)
    if options.metric not in STARTS and not os.path.isfile(options.metric):
        raise UserError(
            f'metric={options.metric!r}: expected {", ".join(STARTS)} or the path of a '
            'checkpoint of MetaIQA'
        )
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
    checkpoint = None if options.metric in STARTS else options.metric
    network = MetaIQA(
        pretrained=STARTS.get(options.metric, True), pretrained_model_path=checkpoint
    )
    found = adapt(network, labelled, settings)
    _write(options.out, network.state_dict(), options.overwrite)
    print(f'{options.out}: {len(labelled.paths)} images, {FITTED[found.fitted]}')
    if found.losses:
        course = f'{found.losses[0]:.4f} -> {found.losses[-1]:.4f}'
        print(f'loss {course} in {len(found.losses)} steps')
    if found.gain is not None:
        print(_of_gain(found.gain))
    return 0


def _of_gain(gain: Gain) -> str:
    """What to expect, in words."""
    text = (
        'expected for other images like these, from labels left out: '
        f'error {gain.error[0]:.3f} -> {gain.error[1]:.3f} '
        f'(less by {gain.less_error[0]:.3f} to {gain.less_error[1]:.3f}), '
        f'SROCC {gain.srocc[0]:.3f} -> {gain.srocc[1]:.3f} '
        f'({gain.more_srocc[0]:+.3f} to {gain.more_srocc[1]:+.3f})'
    )
    if gain.seen:
        return text
    return f'{text}\nno gain that chance does not explain: label more images'


def _write(out: str, state: dict, overwrite: bool) -> None:
    """What took long to learn is written elsewhere where its place is gone."""
    from metaiqa_plugin.archs.checkpoint import write_state_dict

    try:
        write_state_dict(out, state, overwrite=overwrite)
    except (UserError, OSError) as error:
        folder = tempfile.mkdtemp(prefix='metaiqa-')
        kept = os.path.join(folder, os.path.basename(out))
        write_state_dict(kept, state)
        reason = f'{one_line(error)}; the result is kept as {kept!r}'
        raise UserError(reason) from error
