"""``metaiqa export``: a metric as one file for other programs."""

from __future__ import annotations

import argparse
import re

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import UserError

__all__ = ['add_parser', 'read_size', 'run_export']

MIN_SIDE = 8


def add_parser(verbs) -> None:
    """Add the verb ``export`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'export', help='write a metric as ONNX or TorchScript, checked on photos'
    )
    common.add_metric(verb)
    common.add_out(
        verb, 'FILE.onnx, or FILE.torchscript.pt for TorchScript', required=True
    )
    common.add_overwrite(verb)
    verb.add_argument(
        '--input',
        default='dynamic',
        metavar='HxW',
        help='height x width of all images, such as 480x640; default dynamic: any, '
        'MetaIQA alone',
    )
    verb.add_argument(
        '--pixels',
        default='float',
        help='float (default): (N, 3, H, W) float32 RGB in [0, 1]; uint8: '
        '(N, H, W, 3) RGB of 0 to 255',
    )
    verb.set_defaults(command=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the file; the exit code.

    Raises:
        UserError: an argument is wrong, or the metric cannot be exported.
    """
    from metaiqa_plugin.export import export_metric

    exported = export_metric(
        options.metric,
        options.out,
        read_size(options.input),
        options.pixels,
        options.overwrite,
    )
    facts = exported.facts
    print(f'{options.out}: {facts["input"]} -> {facts["output"]}')
    print(
        f'score range {facts["score_range"]}, {facts["better"]} is better; on test '
        f'photos at most {exported.difference:.1e} from the original'
    )
    return 0


def read_size(text: str) -> tuple[int, int] | None:
    """Height and width of ``'HxW'``; None of ``'dynamic'``.

    Raises:
        UserError: neither, or a side of less than 8 pixels.
    """
    if text == 'dynamic':
        return None
    found = re.fullmatch(r'([0-9]{1,5})x([0-9]{1,5})', text)
    size = tuple(map(int, found.groups())) if found else (0, 0)
    if min(size) < MIN_SIDE:
        raise UserError(
            f'input={text!r}: expected dynamic, or height x width such as 480x640, '
            f'sides of at least {MIN_SIDE}'
        )
    return size
