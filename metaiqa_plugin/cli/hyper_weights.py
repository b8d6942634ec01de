"""``metaiqa hyper-weights``: a map of the weights that a hyper-network generates."""

from __future__ import annotations

import argparse

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, needing

__all__ = ['add_parser', 'run_hyper_weights']


def add_parser(verbs) -> None:
    """Add the verb ``hyper-weights`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'hyper-weights', help='map the weights that HyperIQA generates for images'
    )
    common.add_images(verb)
    common.add_metric(
        verb, 'hyperiqa-lite0', what='hyperiqa-lite0, or a checkpoint of HyperIQA'
    )
    verb.add_argument('--method', default='tsne', help='tsne (default) or pca')
    verb.add_argument(
        '--distort',
        action='store_true',
        help='add a blurred, a noisy and a compressed version of every image, and tell '
        'whether neighbours share the photo or the distortion',
    )
    common.add_seed(verb, 'of the noise and of the map')
    common.add_out(verb, 'folder', 'hyper-weights')
    common.add_overwrite(verb)
    verb.set_defaults(command=run_hyper_weights)


def run_hyper_weights(options: argparse.Namespace) -> int:
    """Write ``hyper_weights.csv`` and ``hyper_weights.png``; the exit code.

    Raises:
        UserError: an argument is wrong, too few images can be read, or scikit-learn is
            missing.
    """
    from metaiqa_plugin.score.sources import Sources

    with needing('benchmark'):
        from metaiqa_plugin.study.hyper_weights import write_weight_map

    failed = write_weight_map(
        Sources(options.images).files(options.out),
        options.metric,
        options.out,
        options.method,
        options.distort,
        options.seed,
        options.overwrite,
    )
    return SOME_FAILED if failed else 0
