"""``metaiqa export``: a metric as one file for other programs."""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common

__all__ = ['add_parser', 'export']


def add_parser(verbs) -> None:
    """Add the verb ``export`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'export', help='write a metric as ONNX or TorchScript, checked on photos'
    )
    common.add_metric(verb)
    common.add_out(verb, 'FILE.onnx, or FILE.torchscript.pt for TorchScript')
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
    verb.set_defaults(command=export)


def export(options: argparse.Namespace) -> int:
    """Write the file; the exit code.

    Raises:
        UserError: an argument is wrong, or the metric can not be exported.
    """
    from metaiqa_plugin.export import export_metric
    from metaiqa_plugin.export.plan import read_size

    size = read_size(options.input)
    name = options.metric
    exported = export_metric(name, options.out, size, options.pixels)
    facts = exported.facts
    print(f'{options.out}: {facts["input"]} -> {facts["output"]}')
    print(
        f'score range {facts["score_range"]}, {facts["better"]} is better; on test '
        f'photos at most {exported.difference:.1e} from the original'
    )
    return 0
