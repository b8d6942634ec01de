"""Options that mean the same in every verb.

Each function adds one option, or a few that belong together, to a parser or a group.
An option that several verbs have is here and nowhere else.
"""

from __future__ import annotations

import argparse
from typing import Any

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.option_yaml import parse

__all__ = [
    'add_batch_size',
    'add_device',
    'add_images',
    'add_labels',
    'add_levels',
    'add_max_side',
    'add_metric',
    'add_option_file',
    'add_out',
    'add_overwrite',
    'add_ray',
    'add_resume',
    'add_root',
    'add_seed',
    'add_set',
    'add_steps',
    'add_types',
    'add_workers',
]

METRIC = "a name ('metaiqa pyiqa -ls' lists all), or a checkpoint of ours"


def add_images(parser) -> None:
    """The images of a command, as :class:`metaiqa_plugin.score.sources.Sources`."""
    parser.add_argument(
        'images',
        nargs='+',
        help="files; folders, with sub-folders; patterns like 'photos/**/*.jpg'; "
        'tables (.csv, .parquet) with a column of paths; - for a list on stdin',
    )


def add_metric(
    parser, default: str | None = 'metaiqa', many: bool = False, what: str = METRIC
) -> None:
    """``--metric``: a name of pyiqa's or the path of a checkpoint of ours.

    Args:
        default: None with ``many``: the verb's own.
        many: it may be given again; ``options.metric`` is a list then, or None.
        what: its help.
    """
    more = '; may be given again' if many else ''
    parser.add_argument(
        '--metric',
        action='append' if many else 'store',
        default=None if many else default,
        metavar='METRIC',
        help=_with_default(what + more, default),
    )


def add_out(
    parser, what: str, default: str | None = None, required: bool = False
) -> None:
    """``--out``: the file or folder that the verb writes."""
    told = _with_default(what, default)
    parser.add_argument('--out', default=default, required=required, help=told)


def add_root(parser, what: str, default: str | None = None) -> None:
    """``--root``: the folder that what the verb reads or writes is below."""
    parser.add_argument('--root', default=default, help=_with_default(what, default))


def add_option_file(parser, what: str) -> None:
    """``-opt``: the YAML file that says what to do."""
    told = f'{what}, or the name of one that comes with the package'
    parser.add_argument('-opt', required=True, metavar='FILE', help=told)


def add_overwrite(parser, what: str = 'replace --out if it exists') -> None:
    """``--overwrite``: without it nothing that exists is replaced."""
    parser.add_argument('--overwrite', action='store_true', help=what)


def add_resume(parser) -> None:
    """``--resume``: continue what an earlier run of the same settings left."""
    parser.add_argument(
        '--resume', action='store_true', help='continue where an earlier run stopped'
    )


def add_seed(parser, what: str = 'of all that is random') -> None:
    """``--seed``: same seed, same machine, same result."""
    parser.add_argument('--seed', type=int, default=0, help=f'{what}; default 0')


def add_set(parser) -> None:
    """``--set KEY=VALUE``; ``options.set`` has the values by dotted key."""
    parser.add_argument(
        '--set',
        action=_Change,
        default={},
        metavar='KEY=VALUE',
        help='change an option, e.g. train.optim.lr=3e-4; may be given several times',
    )


class _Change(argparse.Action):
    def __call__(self, parser, namespace, text, option) -> None:
        key, equals, value = text.partition('=')
        if not equals or not all(key.split('.')):
            raise UserError(
                f'--set {text!r}: expected KEY=VALUE, e.g. train.optim.lr=3e-4'
            )
        namespace.set = {**namespace.set, key: parse(value, f'--set {text!r}')}


def add_device(parser) -> None:
    """``--device``: as torch names it."""
    parser.add_argument(
        '--device',
        help='as torch names it, such as cpu or cuda:1; default: a GPU if there is one',
    )


def add_workers(parser, what: str, default: int | None = None) -> None:
    """``--workers``: how many threads or processes work side by side.

    Args:
        default: None: one per core.
    """
    told = f'{what}; default {default or "one per core"}'
    parser.add_argument('--workers', type=int, default=default, help=told)


def add_ray(parser) -> None:
    """``--ray [ADDRESS]``: work on a cluster instead of on this machine alone."""
    parser.add_argument(
        '--ray',
        nargs='?',
        const='auto',
        metavar='ADDRESS',
        help='work on a Ray cluster: that of RAY_ADDRESS, or one on this machine',
    )


def add_batch_size(parser) -> None:
    """``--batch-size``: images at a time."""
    parser.add_argument(
        '--batch-size', type=int, help='images; default: chosen automatically'
    )


def add_steps(parser, what: str, default: int | None = None) -> None:
    """``--steps``: of something iterative."""
    told = _with_default(what, default)
    parser.add_argument('--steps', type=int, default=default, help=told)


def add_types(parser, what: str, default: list[str] | None = None) -> None:
    """``--types``: of distortions, by name or chained: ``motion_blur+jpeg``."""
    parser.add_argument(
        '--types', nargs='+', default=default, metavar='TYPE', help=what
    )


def add_levels(parser) -> None:
    """``--levels``: of distortions, any numbers from 1 to 5."""
    parser.add_argument(
        '--levels',
        nargs='+',
        type=level,
        default=[1, 2, 3, 4, 5],
        metavar='LEVEL',
        help='of distortions, from 1 to 5; default 1 2 3 4 5',
    )


def add_max_side(parser) -> None:
    """``--max-side``: photos are shrunk to it before they are distorted."""
    parser.add_argument(
        '--max-side',
        type=int,
        default=512,
        help='pixels of the longer side; larger photos are shrunk; 0 keeps them; '
        'default 512',
    )


def add_labels(parser, required: bool = False) -> None:
    """A csv of labels and how it is read: ``--scores``, its columns and range."""
    parser.add_argument(
        '--scores', required=required, help='csv of image names and scores'
    )
    parser.add_argument(
        '--score-range',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='of the scale that people used; default: 0 1',
    )
    parser.add_argument(
        '--lower-better', action='store_true', help='low scores are good (DMOS)'
    )
    parser.add_argument('--image-column', help='of the csv; default: the usual names')
    parser.add_argument('--score-column', help='of the csv; default: the usual names')


def _with_default(what: str, default: Any) -> str:
    return what if default is None else f'{what}; default {default}'


def level(text: str) -> float:
    """A level of distortion; whole numbers stay whole."""
    value = float(text)
    return int(value) if value.is_integer() else value
