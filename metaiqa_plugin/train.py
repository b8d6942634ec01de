"""pyiqa's training pipeline with runs written below a folder of the user's.

``python -m metaiqa_plugin.train -opt X.yml`` takes the arguments of
``python -m pyiqa.train``. pyiqa itself writes below its own installation
(``site-packages/experiments``); here the root is the current folder, or ``--root``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.options import check_options, read_options

__all__ = ['main', 'train']


def train(arguments: Sequence[str], root: str | Path = '.') -> dict:
    """Run ``pyiqa.train`` with ``arguments`` (``-opt FILE``, ``--force_yml`` ...).

    Args:
        arguments: as on pyiqa's command line.
        root: folder that gets ``experiments/NAME`` and ``tb_logger/NAME``.

    Returns:
        pyiqa's best validation results, per data set and metric.

    Raises:
        UserError: an option file with faults, all of them named; weights to start from
            that do not exist; or a wish to resume.
    """
    parser = argparse.ArgumentParser(prog='metaiqa train', add_help=False)
    parser.add_argument('-opt', required=True)
    parser.add_argument('--auto_resume', action='store_true')
    known, _ = parser.parse_known_args(list(arguments))
    options = read_options(known.opt)
    check_options(options, known.opt)
    if known.auto_resume or options['path'].get('resume_state'):
        raise UserError(
            'a run can not be resumed: pyiqa 0.1.16 reloads the optimizer without the '
            'weights; start anew from them with path.pretrain_network'
        )
    _require_start(options['path'].get('pretrain_network'))
    from pyiqa.train import train_pipeline

    before = sys.argv
    sys.argv = ['metaiqa train', *arguments]
    try:
        return train_pipeline(str(Path(root).resolve()))
    finally:
        sys.argv = before


def _require_start(weights: str | None) -> None:
    if weights and not Path(weights).is_file():
        raise UserError(
            f'path.pretrain_network={weights!r}: no such file; train it first (the '
            'first lines of the option file say how), name another, or start from '
            'ImageNet with ~ there and network.pretrained: imagenet'
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the top of this module."""
    parser = argparse.ArgumentParser(
        prog='metaiqa train',
        description='Meta-train a quality prior; takes the options of pyiqa.train.',
        epilog='-opt FILE.yml is required; --force_yml key:key=value changes it.',
    )
    parser.add_argument('--root', default='.', help='folder for experiments/NAME')
    known, rest = parser.parse_known_args(arguments)
    train(rest, known.root)
    return 0


if __name__ == '__main__':
    sys.exit(run(main))
