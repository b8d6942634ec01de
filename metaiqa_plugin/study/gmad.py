"""gMAD competition: the image pairs on which two quality metrics disagree the most.

Group MAximum Differentiation: Ma, Wu, Wang, Duanmu, Yong, Li, Zhang, "Group MAD
Competition - A New Methodology to Compare Objective Image Quality Models", CVPR 2016;
extended in TPAMI 42(4), 2020. Used by Su et al. (HyperIQA), CVPR 2020.

A defender says that the images of a level are of about equal quality; an attacker
looks among them for the pair that it finds most different. One glance at the pair
shows who is wrong.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, real_number, whole_number
from metaiqa_plugin.files import check_output, replacing, write_table
from metaiqa_plugin.score.pipeline import ScoreRow, score_images
from metaiqa_plugin.score.result_file import result_file
from metaiqa_plugin.score.scorers import Scorer, open_scorers

__all__ = [
    'Level',
    'Pair',
    'Role',
    'Settings',
    'Side',
    'competition',
    'draw_sheet',
    'write_competition',
]

matplotlib.use('Agg')

HEADER = (
    *('role', 'defender', 'attacker', 'level', 'pair', 'image_better', 'image_worse'),
    *('defender_better', 'defender_worse', 'attacker_better', 'attacker_worse'),
    'difference',
)
DPI = 130
BOX_WIDTH, BOX_HEIGHT = 2.7, 2.05
"""Inches of the box that an image is fitted into; so are all lengths below."""
PAIR, LABEL = 5.8, 1.5
HEADING, ROW, BARE_ROW = 1.1, 3.1, 0.9
MAX_PIXELS = 2**15
DEFENDER, ATTACKER = '#1f5fa8', '#b3261e'
READING = (
    'The defender finds the two images of a pair alike, the attacker finds the left '
    'one better. If they look clearly different in quality, the defender is wrong; if '
    'they look alike, the attacker is wrong. Look at the files, too: these are small.'
)


@dataclass(frozen=True)
class Settings:
    """Of a competition.

    Attributes:
        levels: at least 1, at most half as many as there are images.
        pairs: most pairs of a level, at least 1; a level with fewer images, or to
            whose images the attacker gives one score, has fewer.
        tolerance: how far from its centre a level reaches, in standard deviations of
            the defender's scores; at least 0.
    """

    levels: int = 5
    pairs: int = 2
    tolerance: float = 0.25

    def __post_init__(self) -> None:
        whole_number('levels', self.levels)
        whole_number('pairs', self.pairs)
        real_number('tolerance', self.tolerance, 0)


@dataclass(frozen=True)
class Pair:
    """Two images that the defender finds alike and the attacker does not.

    Attributes:
        better, worse: positions of the images; better and worse by the attacker.
        difference: of the attacker's scores, better minus worse, in standard
            deviations of its scores of all images; above 0.
    """

    better: int
    worse: int
    difference: float


@dataclass(frozen=True)
class Level:
    """Images of about equal quality by the defender.

    Attributes:
        number: from 1, the worst by the defender.
        images: positions of all images of the level, ascending.
        pairs: the largest difference first; an image is in one of them at most. None
            where the level has fewer than two images.
    """

    number: int
    images: tuple[int, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Side:
    """A metric and what it says of the images.

    Attributes:
        name: of the metric.
        scores: (N,) finite, as the metric gives them.
        lower_better: lower scores are better.
    """

    name: str
    scores: Sequence[float]
    lower_better: bool = False

    @property
    def quality(self) -> np.ndarray:
        """(N,) float64: the scores, turned round where lower is better."""
        scores = np.asarray(self.scores, np.float64)
        return -scores if self.lower_better else scores


@dataclass(frozen=True)
class Role:
    """One half of the competition.

    Attributes:
        defender, attacker: the metrics.
        levels: of the defender, the worst first.
    """

    defender: Side
    attacker: Side
    levels: list[Level]

    @property
    def mean_difference(self) -> float:
        """Mean of the first pairs of all levels that have one; NaN without any."""
        first = [level.pairs[0].difference for level in self.levels if level.pairs]
        return float(np.mean(first)) if first else float('nan')


def write_competition(
    paths: Sequence[str],
    defender: str,
    attacker: str,
    settings: Settings,
    out: str | os.PathLike,
    overwrite: bool = False,
) -> int:
    """Let two metrics compete in both roles.

    Writes ``scores.csv``, which grows row by row, ``gmad.csv`` and ``gmad.png``.
    Prints a line for each role, and on stderr the error of each image left out.

    Args:
        paths: of the images.
        defender, attacker: names of metrics or checkpoints of ours.
        settings: of the competition.
        out: folder to write to.
        overwrite: it may have files, which are replaced.

    Returns:
        how many images could not be scored.

    Raises:
        UserError: the metrics are the same, one of them is unknown, too few images
            could be scored, or ``out`` is in use.
    """
    if defender == attacker:
        raise UserError(
            f'defender and attacker are both {defender!r}; give two different metrics'
        )
    _require_images(len(paths), settings)
    out = check_output(out, overwrite, folder=True, inputs=[*paths, defender, attacker])
    scorers = open_scorers((defender, attacker))
    rows = list(_scored(paths, scorers, out / 'scores.csv'))
    scored = [row for row in rows if not row.error]
    one, other = (
        Side(scorer.name, [row.scores[place] for row in scored], scorer.lower_better)
        for place, scorer in enumerate(scorers)
    )
    roles = [
        Role(*sides, competition(*(side.quality for side in sides), settings))
        for sides in ((one, other), (other, one))
    ]
    images = [row.path for row in scored]
    write_table(out / 'gmad.csv', HEADER, _pair_rows(roles, images))
    draw_sheet(out / 'gmad.png', images, roles)
    for role in roles:
        print(_summary(role, settings.pairs))
    print(f'{out}: gmad.csv, gmad.png, scores.csv')
    return len(rows) - len(scored)


def _scored(
    paths: Sequence[str], scorers: Sequence[Scorer], table: Path
) -> Iterator[ScoreRow]:
    """Rows, each in the table when it comes, with a bar on stderr."""
    names = [scorer.name for scorer in scorers]
    with result_file(table, names, {}, overwrite=True) as file:
        rows = score_images(paths, scorers)
        for row in tqdm(rows, 'score', len(paths), unit='image'):
            file.write(row)
            if row.error:
                tqdm.write(f'metaiqa: skipped {row.path}: {row.error}', sys.stderr)
            yield row


def _pair_rows(roles: Sequence[Role], images: Sequence[str]) -> Iterator[list]:
    for turn, role in zip(('given', 'swapped'), roles, strict=True):
        sides = (role.defender, role.attacker)
        for level in role.levels:
            for number, pair in enumerate(level.pairs, 1):
                both = (pair.better, pair.worse)
                yield [
                    *(turn, *(side.name for side in sides), level.number, number),
                    *(images[place] for place in both),
                    *(f'{side.scores[at]:.8g}' for side in sides for at in both),
                    f'{pair.difference:.6f}',
                ]


def _summary(role: Role, pairs: int) -> str:
    found = sum(len(level.pairs) for level in role.levels)
    return (
        f'{role.defender.name} defends, {role.attacker.name} attacks: {found} of '
        f'{len(role.levels) * pairs} pairs; the first of a level is '
        f'{role.mean_difference:.2f} standard deviations of the attacker apart (mean)'
    )


def competition(
    defender: Sequence[float],
    attacker: Sequence[float],
    settings: Settings | None = None,
) -> list[Level]:
    """The pairs with which ``attacker`` attacks each level of ``defender``.

    A level is a window: the images, sorted by the defender's score, are cut into
    groups of equal counts (to one), and of each group those are kept whose score is
    within the tolerance of the group's median. Groups alone would do where images are
    many, but the outer ones span a wide range of scores, and a pair from both ends
    would be no fault of the defender. Windows alone could overlap. So no image is in
    two levels and no level is wider than twice the tolerance; the standard deviation
    is that of all images (divided by their count).

    Within a level the first pair is the attacker's highest score against its lowest,
    the second that of the images that remain, and so on; no other choice of as many
    pairs without a common image has a larger sum of differences. Images of equal
    score are taken by position.

    Args:
        defender: (N,) finite scores, higher is better.
        attacker: (N,) finite scores of the same images, higher is better.
        settings: None: the defaults.

    Returns:
        as many levels as asked for, the worst by the defender first.

    Raises:
        UserError: too few images, or a metric gives all of them the same score.
    """
    settings = settings or Settings()
    defender = _checked('defender', defender)
    attacker = _checked('attacker', attacker)
    if len(defender) != len(attacker):
        raise UserError(
            f'{len(defender)} scores of the defender for {len(attacker)} of the '
            'attacker; expected as many of both'
        )
    _require_images(len(defender), settings)
    reach = settings.tolerance * defender.std()
    groups = np.array_split(np.argsort(defender, kind='stable'), settings.levels)
    found = []
    for number, group in enumerate(groups, 1):
        distance = np.abs(defender[group] - np.median(defender[group]))
        images = np.sort(group[distance <= reach])
        pairs = tuple(_pairs(images, attacker, settings.pairs))
        found.append(Level(number, tuple(images.tolist()), pairs))
    return found


def _require_images(count: int, settings: Settings) -> None:
    if count < 2 * settings.levels:
        raise UserError(
            f'levels={settings.levels}: needs at least {2 * settings.levels} images, '
            f'got {count}; give more images or ask for fewer levels'
        )


def _checked(name: str, scores: Sequence[float]) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise UserError(
            f'{name}: expected one finite score per image, got an array of shape '
            f'{scores.shape}, {np.count_nonzero(~np.isfinite(scores))} not finite'
        )
    if len(scores) and np.ptp(scores) == 0:
        raise UserError(
            f'{name}: gives all {len(scores)} images the score {scores[0]:g}; images '
            'of differing quality or another metric are needed'
        )
    return scores


def _pairs(images: np.ndarray, attacker: np.ndarray, count: int) -> Iterator[Pair]:
    best = images[np.argsort(-attacker[images], kind='stable')]
    worst = images[np.argsort(attacker[images], kind='stable')]
    for pair in zip(best[:count].tolist(), worst[:count].tolist(), strict=True):
        difference = attacker[pair[0]] - attacker[pair[1]]
        if difference > 0:
            yield Pair(*pair, float(difference / attacker.std()))


def draw_sheet(
    path: str | os.PathLike, images: Sequence[str], roles: Sequence[Role]
) -> None:
    """A block for each role: levels are rows, the best on top; pairs side by side.

    Only images of pairs are read, one at a time. A level without a pair says so.

    Args:
        path: PNG to write.
        images: paths, in the order of the scores.
        roles: of one competition, at least one.

    Raises:
        UserError: the picture would be too large, or an image cannot be read.
    """
    levels = [level for role in roles for level in role.levels]
    pairs = max(1, *(len(level.pairs) for level in levels))
    heights, widths = [], [LABEL, *[PAIR] * pairs]
    for role in roles:
        rows = [ROW if level.pairs else BARE_ROW for level in role.levels]
        heights += [HEADING, *reversed(rows)]
    if max(sum(widths), sum(heights)) * DPI > MAX_PIXELS:
        raise UserError(
            f'a sheet of {len(levels)} levels with up to {pairs} pairs is too large to '
            'draw; ask for fewer levels or pairs'
        )
    figure = Figure(figsize=(sum(widths), sum(heights)))
    rows = iter(figure.subfigures(len(heights), 1, height_ratios=heights))
    for role in roles:
        _draw_heading(next(rows), role, int(sum(widths) / 0.067))
        for level in reversed(role.levels):
            parts = next(rows).subfigures(1, len(widths), width_ratios=widths)
            _write_level(parts, role, level)
            for part, pair in zip(parts[1:], level.pairs, strict=False):
                _draw_pair(part, role, pair, images)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _draw_heading(row: SubFigure, role: Role, letters: int) -> None:
    names = (_short(side.name, 32) for side in (role.defender, role.attacker))
    place = {'x': 0.15 / row.figure.get_figwidth(), 'va': 'top', 'parse_math': False}
    title = '{} defends, {} attacks'.format(*names)
    row.text(y=0.85, s=title, size=14, weight='bold', **place)
    row.text(y=0.55, s=textwrap.fill(READING, letters), size=9, **place)


def _write_level(parts: Sequence[SubFigure], role: Role, level: Level) -> None:
    ends = {1: ' (worst)', len(role.levels): ' (best)'}
    end = ends.get(level.number, '') if len(role.levels) > 1 else ''
    style = {'va': 'top', 'parse_math': False}
    parts[0].text(0.1, 0.95, f'level {level.number}{end}', weight='bold', **style)
    facts = 'no image'
    if level.images:
        scores = [role.defender.scores[image] for image in level.images]
        facts = (
            f'{len(scores)} image{"s" if len(scores) > 1 else ""},\n'
            f'{_short(role.defender.name, 18)}\n'
            f'{_number(min(scores))} to {_number(max(scores))}'
        )
    top = 0.87 if level.pairs else 0.6
    parts[0].text(0.1, top, facts, size=8, color='dimgray', **style)
    if not level.pairs:
        few = len(level.images) < 2
        reason = 'fewer than two images' if few else 'one score from the attacker'
        parts[1].text(0.02, 0.95, f'no pair: {reason} in this level', **style)


def _draw_pair(part: SubFigure, role: Role, pair: Pair, images: Sequence[str]) -> None:
    shade = Rectangle((0.02, 0.03), 0.96, 0.94, color='#f0f0f0', zorder=-1)
    part.add_artist(shade)
    apart = f'{pair.difference:.2f} standard deviations of the attacker apart'
    part.text(0.5, 0.94, apart, size=8, color='dimgray', ha='center', va='top')
    for place, left in ((pair.better, 0.03), (pair.worse, 0.505)):
        image = read_rgb(images[place])
        image.thumbnail((BOX_WIDTH * DPI, BOX_HEIGHT * DPI), Image.Resampling.LANCZOS)
        box = (left, 0.2, BOX_WIDTH / PAIR, BOX_HEIGHT / ROW)
        axes = part.add_axes(box, anchor='N')
        axes.imshow(np.asarray(image), interpolation='antialiased')
        axes.set_axis_off()
        lines = (
            (_short(Path(images[place]).name, 36), 'dimgray'),
            (_score(role.defender, place), DEFENDER),
            (_score(role.attacker, place), ATTACKER),
        )
        for line, (text, colour) in enumerate(lines):
            style = {'ha': 'center', 'va': 'top', 'size': 8, 'color': colour}
            middle = left + box[2] / 2
            part.text(middle, 0.18 - 0.05 * line, text, parse_math=False, **style)


def _score(side: Side, image: int) -> str:
    direction = ' (lower is better)' if side.lower_better else ''
    return f'{_short(side.name, 24)} {_number(side.scores[image])}{direction}'


def _number(score: float) -> str:
    return f'{score:#.4g}'.removesuffix('.')


def _short(text: str, length: int) -> str:
    """The text, with dots for its middle if it has more than ``length`` letters.

    Bytes of a name that are not UTF-8 are question marks.
    """
    text = text.encode(errors='replace').decode()
    if len(text) <= length:
        return text
    kept = length - 1
    return f'{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}'
