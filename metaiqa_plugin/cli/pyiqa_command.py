"""``metaiqa pyiqa``: pyiqa's own command, with our metric names known to it."""

from __future__ import annotations

import argparse
import os
import sys

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import UserError, one_line

__all__ = ['add_parser', 'run_pyiqa']

OF_SETS = ('fid', 'inception_score')
"""Metrics of a folder, not of its images."""


def add_parser(verbs) -> None:
    """Add the verb ``pyiqa`` to the list, with the options of pyiqa 0.1.16."""
    verb = verbs.add_parser(
        'pyiqa', help="pyiqa's own command with our metric names known"
    )
    verb.add_argument('metrics', nargs='*', metavar='METRIC', help='names of metrics')
    verb.add_argument('-t', '--target', help='image, or folder of images')
    verb.add_argument('-r', '--ref', help='reference, or folder of references')
    verb.add_argument('--isc_splits', type=int, help='of the inception score')
    verb.add_argument('--fid_mode', help='clean, legacy_pytorch or legacy_tensorflow')
    common.add_device(verb)
    verb.add_argument('-v', '--verbose', action='store_true', help='each image, too')
    verb.add_argument('-ls', '--list_models', action='store_true', help='list metrics')
    verb.set_defaults(command=run_pyiqa)


def run_pyiqa(options: argparse.Namespace) -> int:
    """pyiqa 0.1.16's command reads the arguments of the process, and nothing else.

    It loads metrics before it looks for images, gives the mean of none as nan, and
    fails by assertions; what can be known is checked before.

    Raises:
        UserError: a metric or an image that is not there; whatever pyiqa raises.
    """
    from pyiqa.pyiqa_cmd import main as pyiqa_main

    given = ['-ls']
    if not options.list_models:
        _check(options)
        names = ('target', 'ref', 'isc_splits', 'fid_mode', 'device')
        named = {name: getattr(options, name) for name in names}
        given = [f'--{k}={v}' for k, v in named.items() if v is not None]
        given += [*(['-v'] if options.verbose else []), *options.metrics]
    before = sys.argv
    sys.argv = ['metaiqa pyiqa', *given]
    try:
        pyiqa_main()
    except (UserError, OSError):
        raise
    except Exception as error:  # metrics refuse images with any of them
        raise UserError(f'pyiqa: {one_line(error)}') from error
    finally:
        sys.argv = before
    return 0


def _check(options: argparse.Namespace) -> None:
    import pyiqa

    from metaiqa_plugin.score.scorers import usable_device

    known, alone = pyiqa.list_models(), {*pyiqa.list_models('NR'), *OF_SETS}
    if not options.metrics:
        raise UserError('no metric is given; metaiqa pyiqa -ls lists all')
    for name in options.metrics:
        if name not in known:
            raise UserError(f'metric {name!r} is unknown; metaiqa pyiqa -ls lists all')
        if name not in alone and options.ref is None:
            raise UserError(f'metric {name!r} compares with a reference; give --ref')
    if options.target is None:
        raise UserError('no image is given; name it, or a folder, with --target')
    for name in ('target', 'ref'):
        path = getattr(options, name)
        if path is not None and not os.path.exists(path):
            raise UserError(f'{name}={path!r}: no such file or folder')
        if path is not None and os.path.isdir(path):
            if not list(pyiqa.utils.scandir_images(path)):
                raise UserError(f'{name}={path!r}: no image in this folder')
    if options.device is not None:
        usable_device(options.device)
