"""``metaiqa explain``: maps of what in an image a metric's score follows."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, UserError, needing

if TYPE_CHECKING:
    from torch import nn

    from metaiqa_plugin.study.explain.image import Request

__all__ = ['add_parser', 'explain']

HEADER = ('image', 'score', 'width', 'height', 'score_of_maps', 'sheet', 'error')


def add_parser(verbs) -> None:
    """Add the verb ``explain`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'explain', help='show what in an image the score follows: maps beside it'
    )
    common.add_images(verb)
    common.add_metric(verb)
    verb.add_argument(
        '--methods',
        nargs='+',
        metavar='METHOD',
        help='gradient smooth integrated cam quality; default: all that the metric has',
    )
    verb.add_argument(
        '--longest',
        type=int,
        default=1024,
        help='pixels: maps of larger images are those of a smaller copy; 0 keeps all; '
        'default 1024',
    )
    verb.add_argument(
        '--baseline',
        default='blur',
        help='that integrated gradients compare with: blur (default), gray or black',
    )
    common.add_steps(verb, 'of integrated gradients', 32)
    verb.add_argument(
        '--copies', type=int, default=16, help='of the smooth gradient; default 16'
    )
    verb.add_argument(
        '--noise',
        type=float,
        default=0.03,
        help="in them, as a part of the image's range; default 0.03",
    )
    common.add_seed(verb, 'of that noise')
    verb.add_argument(
        '--patch',
        type=float,
        default=0.25,
        help="side of the quality map's patches as a part of the image's shorter "
        'side; default 0.25',
    )
    verb.add_argument('--arrays', action='store_true', help='write maps as .npy, too')
    common.add_out(verb, 'folder', 'explain')
    verb.set_defaults(command=explain)


def explain(options: argparse.Namespace) -> int:
    """Write a sheet for each image, and ``explain.csv``; the exit code.

    Raises:
        UserError: an argument is wrong, or the metric can not be had.
    """
    from metaiqa_plugin.files import write_table
    from metaiqa_plugin.score.sources import Sources

    with needing('explain'):
        import captum.attr  # noqa: F401
        import matplotlib  # noqa: F401

    request = _request(options)
    rows = list(_rows(request, Sources(options.images).files()))
    write_table(request.out / 'explain.csv', HEADER, rows)
    failed = [row for row in rows if row[-1]]
    sheets = len(rows) - len(failed)
    print(f'{request.out}: {sheets} sheet{"s" if sheets != 1 else ""}, explain.csv')
    return SOME_FAILED if failed else 0


def _request(options: argparse.Namespace) -> Request:
    from metaiqa_plugin.errors import whole_number
    from metaiqa_plugin.score import open_metric
    from metaiqa_plugin.study.explain.image import Request
    from metaiqa_plugin.study.explain.maps import MapSettings

    settings = MapSettings(
        noise=options.noise,
        copies=options.copies,
        seed=options.seed,
        baseline=options.baseline,
        steps=options.steps,
        patch=options.patch,
    )
    whole_number('longest', options.longest, least=0)
    name = options.metric
    _check_methods(options.methods)
    metric = open_metric(name)
    return Request(
        os.path.basename(name),
        metric,
        _methods(metric, options.methods, name),
        settings,
        options.longest,
        Path(options.out),
        options.arrays,
    )


def _check_methods(asked: Sequence[str] | None) -> None:
    from metaiqa_plugin.errors import one_of
    from metaiqa_plugin.study.explain.maps import METHODS

    for method in asked or ():
        one_of('methods', method, METHODS)


def _methods(metric: nn.Module, asked: Sequence[str] | None, name: str) -> list[str]:
    """Those asked for, or all that the metric has, each once in the usual order."""
    from metaiqa_plugin.study.explain.maps import METHODS, usable_methods

    usable = usable_methods(metric.net, metric.device)
    missing = [method for method in METHODS if method not in usable]
    refused = [method for method in asked or () if method in missing]
    if refused:
        raise UserError(
            f'methods={refused}: metric {name!r} has only {list(usable)}; gradients '
            'need a differentiable metric, cam a network of this package'
        )
    if not asked and missing:
        print(f'metaiqa: note: {name} has no {", ".join(missing)}', file=sys.stderr)
    return [method for method in usable if not asked or method in asked]


def _rows(request: Request, paths: Sequence[str]) -> Iterator[tuple]:
    """A row of the table for each image, with a bar on stderr.

    Metrics of pyiqa refuse images, small ones above all, with any of these exceptions.
    """
    from tqdm import tqdm

    from metaiqa_plugin.study.explain.image import explained

    names = _sheet_names(paths)
    for path in tqdm(paths, 'explain', unit='image'):
        try:
            yield (path, *explained(request, path, names[path]), '')
        except (UserError, RuntimeError, ValueError, AssertionError) as refused:
            error = ' '.join(str(refused).split()) or type(refused).__name__
            print(f'metaiqa: skipped {path}: {error}', file=sys.stderr)
            yield (path, *[''] * (len(HEADER) - 2), error)


def _sheet_names(paths: Sequence[str]) -> dict[str, str]:
    """Names below the folder of results: as much of the ends of paths as tells apart.

    With the whole name of the file, so that no two images have the same.
    """
    parts = {path: Path(os.path.abspath(path)).parts[1:] for path in paths}
    for length in range(1, max(map(len, parts.values())) + 1):
        names = {path: '/'.join(each[-length:]) for path, each in parts.items()}
        if len(set(names.values())) == len(names):
            break
    return {path: f'{name}.png' for path, name in names.items()}
