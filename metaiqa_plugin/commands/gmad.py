"""``metaiqa gmad``: let two metrics compete on images, and show who is wrong where."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.errors import SOME_FAILED, UserError
from metaiqa_plugin.extras import needing

if TYPE_CHECKING:
    from torch import nn

    from metaiqa_plugin.gmad import Role

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


@dataclass(frozen=True)
class ScoredImage:
    """A row of ``scores.csv``: a score for each metric, or what was wrong."""

    image: str
    scores: tuple[float, ...] = ()
    error: str = ''

    def cells(self, metrics: int) -> list[str]:
        """Image, ``metrics`` scores or blanks, error."""
        scores = [f'{score:.8g}' for score in self.scores] or [''] * metrics
        return [self.image, *scores, self.error]


def add_parser(verbs) -> None:
    """Add the verb ``gmad`` to the sub-parsers of a command."""
    verb = verbs.add_parser(
        'gmad',
        help='two metrics compete: pairs alike for one, most different for the other',
    )
    verb.add_argument('images', nargs='+', help='files, or folders with sub-folders')
    for side in ('defender', 'attacker'):
        verb.add_argument(
            f'--{side}', required=True, help='a pyiqa NR metric or a checkpoint of ours'
        )
    verb.add_argument('--levels', type=int, default=5, help='of quality; default 5')
    verb.add_argument('--pairs', type=int, default=2, help='a level; default 2')
    verb.add_argument(
        '--tolerance',
        type=float,
        default=0.25,
        help="reach of a level in standard deviations of the defender's scores; "
        'default 0.25',
    )
    verb.add_argument('--out', default='gmad', help='folder to write to; default gmad')
    verb.set_defaults(command=gmad)


def gmad(options: argparse.Namespace) -> int:
    """Write ``scores.csv``, ``gmad.csv`` and ``gmad.png``; the exit code.

    Raises:
        UserError: an argument is wrong, or too few images could be scored.
    """
    from metaiqa_plugin.commands.image_arguments import image_paths
    from metaiqa_plugin.gmad import Side, both_roles
    from metaiqa_plugin.scoring import open_metric, write_table

    with needing('benchmark'):
        from metaiqa_plugin.visualize.gmad_sheet import draw_sheet

    _check(options)
    paths = image_paths(options.images)
    metrics = [open_metric(name) for name in (options.defender, options.attacker)]
    names = _labels(options.defender, options.attacker)
    rows = list(_score_rows(metrics, paths))
    out = Path(options.out)
    cells = [row.cells(len(metrics)) for row in rows]
    write_table(out / 'scores.csv', ('image', *names, 'error'), cells)
    for row in rows:
        if row.error:
            print(f'metaiqa: skipped {row.image}: {row.error}', file=sys.stderr)
    scored = [row for row in rows if not row.error]
    sides = [
        Side(name, [row.scores[index] for row in scored], metric.lower_better)
        for index, (name, metric) in enumerate(zip(names, metrics, strict=True))
    ]
    roles = both_roles(*sides, options.levels, options.pairs, options.tolerance)
    images = [row.image for row in scored]
    write_table(out / 'gmad.csv', HEADER, _pair_rows(roles, images))
    draw_sheet(out / 'gmad.png', images, roles)
    for role in roles:
        print(_summary(role, options.pairs))
    print(f'{out}: gmad.csv, gmad.png, scores.csv')
    return SOME_FAILED if len(scored) < len(rows) else 0


def _check(options: argparse.Namespace) -> None:
    """What can be told before any image is scored."""
    from metaiqa_plugin.checks import real_number, whole_number

    if options.defender == options.attacker:
        raise UserError(
            f'defender and attacker are both {options.defender!r}; give two different '
            'metrics'
        )
    whole_number('levels', options.levels)
    whole_number('pairs', options.pairs)
    real_number('tolerance', options.tolerance, 0)


def _labels(*names: str) -> tuple[str, ...]:
    """Names as they are shown: of checkpoints that of the file, if that is enough."""
    short = tuple(os.path.basename(name) for name in names)
    return short if len(set(short)) == len(names) else names


def _score_rows(
    metrics: Sequence[nn.Module], paths: Sequence[str]
) -> Iterator[ScoredImage]:
    """All metrics of an image after the other, with a bar on stderr.

    Metrics of pyiqa refuse images, small ones above all, with any of these exceptions.
    """
    from tqdm import tqdm

    from metaiqa_plugin.data.images import read_rgb

    for path in tqdm(paths, 'score', unit='image'):
        try:
            image = read_rgb(path)
            scores = tuple(metric(image).item() for metric in metrics)
        except (UserError, RuntimeError, ValueError, AssertionError) as refused:
            error = ' '.join(str(refused).split()) or type(refused).__name__
            yield ScoredImage(path, error=error)
            continue
        if all(map(math.isfinite, scores)):
            yield ScoredImage(path, scores)
        else:
            yield ScoredImage(path, error=f'scores {scores} are not all finite')


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
