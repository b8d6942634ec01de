"""The contact sheet of a gMAD competition."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import Rectangle
from PIL import Image

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing
from metaiqa_plugin.study.gmad import Level, Pair, Role, Side

__all__ = ['draw_sheet']

matplotlib.use('Agg')

DPI = 130
BOX_WIDTH, BOX_HEIGHT = 2.7, 2.05
"""Inches of the box that an image is fitted into; so are all lengths below."""
GAP = 0.06
PAIR_WIDTH = 2 * BOX_WIDTH + GAP
PAIR_GAP = 0.4
FRAME = 0.08
MARGIN = 0.3
LABEL = 1.35
HEADING = 1.2
ROW = 3.15
BARE_ROW = 1.0
LINE = 0.15
MOST_PIXELS = 2**15
DEFENDER, ATTACKER = '#1f5fa8', '#b3261e'
READING = (
    'The defender finds the two images of a pair alike, the attacker finds the left '
    'one better. If they look clearly different in quality, the defender is wrong; if '
    'they look alike, the attacker is wrong. Look at the files, too: these are small.'
)


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
        UserError: the picture would be too large, or an image can not be read.
    """
    levels = [level for role in roles for level in role.levels]
    pairs = max(1, *(len(level.pairs) for level in levels))
    width = 2 * MARGIN + LABEL + pairs * (PAIR_WIDTH + PAIR_GAP) - PAIR_GAP
    height = MARGIN + len(roles) * HEADING + sum(map(_row_height, levels))
    if max(width, height) * DPI > MOST_PIXELS:
        raise UserError(
            f'a sheet of {len(levels)} levels with up to {pairs} pairs is too large to '
            'draw; ask for fewer levels or pairs'
        )
    figure = Figure(figsize=(width, height))
    sheet = _Inches(figure, width, height)
    top = height
    for role in roles:
        _draw_heading(sheet, role, top)
        top -= HEADING
        for level in reversed(role.levels):
            _draw_level(sheet, role, level, images, top)
            top -= _row_height(level)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=DPI)


class _Inches:
    """A figure whose places are inches from its lower left corner."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def text(self, left: float, top: float, text: str, **style) -> None:
        style = {'size': 8, 'va': 'top', 'parse_math': False, **style}
        self.figure.text(left / self.width, top / self.height, text, **style)

    def words(self, left: float, top: float, words: Sequence[tuple[str, str]]) -> None:
        """Texts and their colours, one after the other."""
        style = {'size': 14, 'weight': 'bold', 'parse_math': False}
        areas = [
            TextArea(text, textprops={**style, 'color': colour})
            for text, colour in words
        ]
        box = AnnotationBbox(
            HPacker(children=areas, pad=0, sep=6),
            (left / self.width, top / self.height),
            xycoords='figure fraction',
            box_alignment=(0, 1),
            frameon=False,
            pad=0,
        )
        self.figure.add_artist(box)

    def shade(self, left: float, top: float, width: float, height: float) -> None:
        """A rectangle behind what belongs together."""
        corner = (left / self.width, (top - height) / self.height)
        size = (width / self.width, height / self.height)
        style = {'transform': self.figure.transFigure, 'color': '#f0f0f0', 'zorder': -1}
        self.figure.add_artist(Rectangle(corner, *size, **style))

    def picture(self, left: float, top: float, image: Image.Image) -> None:
        """Fitted into a box, in the middle of its width and at its top."""
        place = (left, top - BOX_HEIGHT, BOX_WIDTH, BOX_HEIGHT)
        size = (self.width, self.height) * 2
        axes = self.figure.add_axes(np.divide(place, size), anchor='N')
        axes.imshow(np.asarray(image), interpolation='antialiased')
        axes.set_axis_off()


def _row_height(level: Level) -> float:
    return ROW if level.pairs else BARE_ROW


def _draw_heading(sheet: _Inches, role: Role, top: float) -> None:
    sheet.words(
        MARGIN,
        top - 0.15,
        [
            (_short(role.defender.name, 32), DEFENDER),
            ('defends,', 'black'),
            (_short(role.attacker.name, 32), ATTACKER),
            ('attacks', 'black'),
        ],
    )
    letters = int((sheet.width - 2 * MARGIN) / 0.067)
    sheet.text(MARGIN, top - 0.5, textwrap.fill(READING, letters), size=9)


def _draw_level(
    sheet: _Inches, role: Role, level: Level, images: Sequence[str], top: float
) -> None:
    sheet.text(
        MARGIN, top, _level_name(level, len(role.levels)), weight='bold', size=10
    )
    for line, text in enumerate(_level_facts(role.defender, level)):
        sheet.text(MARGIN, top - 0.27 - line * LINE, text, color='dimgray')
    if not level.pairs:
        few = len(level.images) < 2
        reason = 'fewer than two images' if few else 'one score from the attacker'
        sheet.text(MARGIN + LABEL, top, f'no pair: {reason} in this level', size=10)
    for number, pair in enumerate(level.pairs):
        left = MARGIN + LABEL + number * (PAIR_WIDTH + PAIR_GAP)
        _draw_pair(sheet, role, pair, images, left, top)


def _level_name(level: Level, count: int) -> str:
    ends = {1: ' (worst)', count: ' (best)'} if count > 1 else {}
    return f'level {level.number}{ends.get(level.number, "")}'


def _level_facts(defender: Side, level: Level) -> list[str]:
    if not level.images:
        return ['no image']
    scores = [defender.scores[image] for image in level.images]
    count = len(scores)
    return [
        f'{count} image{"s" if count > 1 else ""},',
        _short(defender.name, 18),
        f'{_number(min(scores))} to {_number(max(scores))}',
    ]


def _draw_pair(
    sheet: _Inches,
    role: Role,
    pair: Pair,
    images: Sequence[str],
    left: float,
    top: float,
) -> None:
    sheet.shade(left - FRAME, top + FRAME, PAIR_WIDTH + 2 * FRAME, ROW - 3 * FRAME)
    apart = f'{pair.difference:.2f} standard deviations of the attacker apart'
    sheet.text(left + PAIR_WIDTH / 2, top, apart, ha='center', color='dimgray')
    for image in (pair.better, pair.worse):
        sheet.picture(left, top - 0.2, _shrunk(images[image]))
        lines = [(_short(Path(images[image]).name, 36), 'dimgray')]
        for side, colour in ((role.defender, DEFENDER), (role.attacker, ATTACKER)):
            lines.append((_score(side, image), colour))
        for line, (text, colour) in enumerate(lines):
            below = top - 0.25 - BOX_HEIGHT - line * LINE
            sheet.text(left + BOX_WIDTH / 2, below, text, ha='center', color=colour)
        left += BOX_WIDTH + GAP


def _score(side: Side, image: int) -> str:
    direction = ' (lower is better)' if side.lower_better else ''
    return f'{_short(side.name, 24)} {_number(side.scores[image])}{direction}'


def _number(score: float) -> str:
    return f'{score:#.4g}'.removesuffix('.')


def _shrunk(path: str) -> Image.Image:
    image = read_rgb(path)
    image.thumbnail((BOX_WIDTH * DPI, BOX_HEIGHT * DPI), Image.Resampling.LANCZOS)
    return image


def _short(text: str, most: int) -> str:
    """The text, with dots for its middle where it has more than ``most`` letters."""
    if len(text) <= most:
        return text
    kept = most - 1
    return f'{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}'
