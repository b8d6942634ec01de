"""``metaiqa explain``: maps of what a metric's score depends on in an image."""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, needing

__all__ = ['add_parser', 'run_explain']


def add_parser(verbs) -> None:
    """Add the verb ``explain`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'explain', help='show what in an image the score follows: maps beside it'
    )
    common.add_images(verb)
    common.add_metric(verb)
    verb.add_argument(
        '--maps',
        nargs='+',
        metavar='MAP',
        default=['quality'],
        help='quality (default) gradient smooth integrated cam, or all that the metric '
        'has; smooth and integrated compute --copies and --steps gradients an image',
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
    again = verb.add_mutually_exclusive_group()
    common.add_resume(again)
    common.add_overwrite(again)
    verb.set_defaults(command=run_explain)


def run_explain(options: argparse.Namespace) -> int:
    """Write a sheet for each image, and ``explain.csv``; the exit code.

    Raises:
        UserError: an argument is wrong, or the metric cannot be opened.
    """
    if not {'all', 'smooth', 'integrated'}.isdisjoint(options.maps):
        with needing('explain'):
            import captum.attr  # noqa: F401
    from metaiqa_plugin.score.sources import Sources
    from metaiqa_plugin.study.explain.maps import MapSettings
    from metaiqa_plugin.study.explain.sheet import ExplainSettings, write_explanations

    names = ('noise', 'copies', 'seed', 'baseline', 'steps', 'patch')
    how = MapSettings(**{name: getattr(options, name) for name in names})
    settings = ExplainSettings(options.maps, options.longest, options.arrays, how)
    paths = Sources(options.images).files(options.out)
    failed = write_explanations(
        paths, options.metric, settings, options.out, options.overwrite, options.resume
    )
    return SOME_FAILED if failed else 0
