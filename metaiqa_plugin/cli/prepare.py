"""``metaiqa prepare``: the ``meta_info`` csv of a downloaded database."""

from __future__ import annotations

import argparse
import sys

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, UserError

__all__ = ['add_parser', 'run_prepare']

NAMES = ('tid2013', 'kadid10k', 'live', 'csiq', 'livec', 'koniq10k', 'koniq10k-1024')
NAMES += ('cid2013', 'spaq', 'bid', 'biq2021')
"""Those of the registry, whose import is slow."""


def add_parser(verbs) -> None:
    """Add the verb ``prepare`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser('prepare', help='meta_info csv of a downloaded database')
    verb.add_argument('database', help=f'{", ".join(NAMES)}; or csv for your own')
    verb.add_argument('root', help='folder of the download; csv: folder of the images')
    default = 'ROOT/meta_info_NAME.csv; of your own in the current folder'
    common.add_out(verb, f'csv to write; default: {default}')
    common.add_overwrite(verb)
    verb.add_argument(
        '--skip-missing', action='store_true', help='leave out images not on disk'
    )
    verb.add_argument(
        '--groups',
        metavar='CSV',
        help='columns of image names and group: kept together in a split',
    )
    own = verb.add_argument_group('csv only, but for --score-range')
    common.add_labels(own)
    own.add_argument('--reference-column', help='kept together in a split')
    own.add_argument('--group-column', help='kept together in a split')
    verb.set_defaults(command=run_prepare)


def run_prepare(options: argparse.Namespace) -> int:
    """Write the csv; the exit code.

    Raises:
        UserError: see :mod:`metaiqa_plugin.data.databases.prepare`.
    """
    from metaiqa_plugin.data.databases.prepare import prepare, prepare_csv

    own = ('scores', 'lower_better', 'image_column', 'score_column')
    own += ('reference_column', 'group_column')
    given = {name: getattr(options, name) for name in own}
    given = {name: value for name, value in given.items() if value}
    for_all = {
        'out': options.out,
        'overwrite': options.overwrite,
        'skip_missing': options.skip_missing,
        'score_range': options.score_range,
        'groups': options.groups,
    }
    if options.database == 'csv':
        if not options.scores:
            raise UserError('prepare csv needs --scores, the csv with the scores')
        prepared = prepare_csv(options.root, **given, **for_all)
    elif given:
        names = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        raise UserError(f'{names}: only for metaiqa prepare csv')
    else:
        prepared = prepare(options.database, options.root, **for_all)
    print(prepared.summary())
    print(prepared.options())
    for note in prepared.notes:
        print(f'metaiqa: note: {note}', file=sys.stderr)
    if prepared.left_out:
        print(
            f'metaiqa: {len(prepared.left_out)} images are not on disk and left out, '
            f'the first is {prepared.left_out[0]!r}',
            file=sys.stderr,
        )
    return SOME_FAILED if prepared.left_out else 0
