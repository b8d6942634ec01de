"""``metaiqa gmad``: let two metrics compete on images, and show who is wrong where."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, UserError, needing

if TYPE_CHECKING:
    from metaiqa_plugin.score.pipeline import ScoreRow
    from metaiqa_plugin.score.scorers import Scorer
    from metaiqa_plugin.study.gmad import Role

__all__ = ['add_parser', 'gmad']

HEADER = (
    'role',
    'defender',
    'attacker',
    'level',
    'pair',
    'image_better',
    'image_worse',
    'defender_better',
    'defender_worse',
    'attacker_better',
    'attacker_worse',
    'difference',
)
TURNS = ('given', 'swapped')


def add_parser(verbs) -> None:
    """Add the verb ``gmad`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'gmad',
        help='two metrics compete: pairs alike for one, most different for the other',
    )
    common.add_images(verb)
    for side in ('defender', 'attacker'):
        verb.add_argument(f'--{side}', required=True, help=common.METRIC)
    verb.add_argument('--levels', type=int, default=5, help='of quality; default 5')
    verb.add_argument('--pairs', type=int, default=2, help='a level; default 2')
    verb.add_argument(
        '--tolerance',
        type=float,
        default=0.25,
        help="reach of a level in standard deviations of the defender's scores; "
        'default 0.25',
    )
    common.add_out(verb, 'folder to write to', 'gmad')
    verb.set_defaults(command=gmad)


def gmad(options: argparse.Namespace) -> int:
    """Write ``scores.csv``, ``gmad.csv`` and ``gmad.png``; the exit code.

    Raises:
        UserError: an argument is wrong, or too few images could be scored.
    """
    from metaiqa_plugin.score import write_table
    from metaiqa_plugin.score.scorers import open_scorers
    from metaiqa_plugin.score.sources import Sources
    from metaiqa_plugin.study.gmad import Side, both_roles

    with needing('benchmark'):
        from metaiqa_plugin.study.gmad_sheet import draw_sheet

    _check(options)
    paths = Sources(options.images).files()
    metrics = (options.defender, options.attacker)
    scorers = open_scorers(metrics)
    out = Path(options.out)
    rows = list(_scored(paths, scorers, out / 'scores.csv'))
    for row in rows:
        if row.error:
            print(f'metaiqa: skipped {row.path}: {row.error}', file=sys.stderr)
    scored = [row for row in rows if not row.error]
    sides = [
        Side(scorer.name, [row.scores[place] for row in scored], scorer.lower_better)
        for place, scorer in enumerate(scorers)
    ]
    roles = both_roles(*sides, options.levels, options.pairs, options.tolerance)
    images = [row.path for row in scored]
    write_table(out / 'gmad.csv', HEADER, _pair_rows(roles, images))
    draw_sheet(out / 'gmad.png', images, roles)
    for role in roles:
        print(_summary(role, options.pairs))
    print(f'{out}: gmad.csv, gmad.png, scores.csv')
    return SOME_FAILED if len(scored) < len(rows) else 0


def _check(options: argparse.Namespace) -> None:
    """What can be told before any image is scored."""
    from metaiqa_plugin.errors import real_number, whole_number

    if options.defender == options.attacker:
        raise UserError(
            f'defender and attacker are both {options.defender!r}; give two different '
            'metrics'
        )
    whole_number('levels', options.levels)
    whole_number('pairs', options.pairs)
    real_number('tolerance', options.tolerance, 0)


def _scored(
    paths: Sequence[str], scorers: Sequence[Scorer], table: Path
) -> Iterator[ScoreRow]:
    """Rows, each in the table when it comes, with a bar on stderr."""
    from tqdm import tqdm

    from metaiqa_plugin.score.pipeline import score_images
    from metaiqa_plugin.score.result_file import result_file

    names = [scorer.name for scorer in scorers]
    with result_file(table, names, {}, overwrite=True) as file:
        rows = score_images(paths, scorers)
        for row in tqdm(rows, 'score', len(paths), unit='image'):
            file.write(row)
            yield row


def _pair_rows(roles: Sequence[Role], images: Sequence[str]) -> Iterator[list]:
    for turn, role in zip(TURNS, roles, strict=True):
        for level in role.levels:
            for number, pair in enumerate(level.pairs, 1):
                places = (pair.better, pair.worse)
                yield [
                    turn,
                    role.defender.name,
                    role.attacker.name,
                    level.number,
                    number,
                    *(images[place] for place in places),
                    *(f'{role.defender.scores[place]:.8g}' for place in places),
                    *(f'{role.attacker.scores[place]:.8g}' for place in places),
                    f'{pair.difference:.6f}',
                ]


def _summary(role: Role, pairs: int) -> str:
    found = sum(len(level.pairs) for level in role.levels)
    return (
        f'{role.defender.name} defends, {role.attacker.name} attacks: {found} of '
        f'{len(role.levels) * pairs} pairs; the first of a level is '
        f'{role.mean_difference:.2f} standard deviations of the attacker apart (mean)'
    )
