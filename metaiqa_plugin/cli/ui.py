"""``metaiqa ui``: a web page on this machine to score photos and teach a metric."""

from __future__ import annotations

import argparse
from dataclasses import fields

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import UserError

__all__ = ['add_parser', 'run_ui']

HIGHEST_PORT = 65535


def add_parser(verbs) -> None:
    """Add the verb ``ui`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser(
        'ui', help='a web page on this machine: scores, maps, a metric of your taste'
    )
    verb.add_argument('--port', type=int, default=7860, help='default 7860; 0: any')
    verb.add_argument(
        '--host',
        default='127.0.0.1',
        help='default 127.0.0.1; any other opens the page to the network',
    )
    common.add_metric(
        verb,
        None,
        many=True,
        what='checkpoint of ours to offer beside our metrics; the first is chosen',
    )
    verb.add_argument(
        '--max-tabs', type=int, default=10, help='pages at a time; default 10'
    )
    verb.add_argument(
        '--max-files', type=int, default=5000, help='photos of a page; default 5000'
    )
    verb.add_argument(
        '--max-megabytes', type=int, default=50, help='of a photo; default 50'
    )
    verb.add_argument(
        '--max-megapixels', type=int, default=60, help='of a photo; default 60'
    )
    verb.add_argument(
        '--max-checkpoint-megabytes', type=int, default=500, help='default 500'
    )
    common.add_steps(verb, 'of Adam, to learn ratings; default by their count')
    common.add_seed(verb, 'of learning')
    verb.set_defaults(command=run_ui)


def run_ui(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; the exit code is 0 then.

    Raises:
        UserError: an argument is wrong, the port is taken, or the extra is missing.
    """
    from metaiqa_plugin.ui.server import serve
    from metaiqa_plugin.ui.sessions import Limits

    if not 0 <= options.port <= HIGHEST_PORT:
        raise UserError(
            f'port={options.port}: expected 0 (any free one) to {HIGHEST_PORT}'
        )
    names = [field.name for field in fields(Limits)]
    limits = Limits(**{name: getattr(options, name) for name in names})
    learning = options.steps, options.seed
    try:
        serve(options.host, options.port, limits, options.metric or [], *learning)
    except KeyboardInterrupt:
        pass
    return 0
