"""Draw the pictures of docs that distortions make: contact sheets, and scores.

    python studies/pictures.py --out docs --overwrite

writes `docs/distortions.jpg`, the 25 types of KADID-10k, and
`docs/distortions-more.jpg`, the six of TID2013 and the chains of `COMPOSITES`: a
carried photo is brought to 512 x 384 pixels, the size of both databases, distorted as
a whole, and a detail of it is shown pixel by pixel, one row for each type. And
`docs/scores.jpg`: carried photos, distorted, with the score of each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps
from shared import study_parser, target

from metaiqa_plugin.cli.common import add_metric
from metaiqa_plugin.data.distortions import (
    COMPOSITES,
    DISTORTIONS,
    KADID10K,
    LEVELS,
    distort,
)
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import run
from metaiqa_plugin.photos import KODAK
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import open_scorers

PHOTO = '15.webp'
SIZE = (512, 384)
SEED = 227
LABEL_WIDTH = 190
HEADER_HEIGHT = 238
GAP = 4
BACKGROUND, INK, FAINT = (250, 250, 250), (25, 25, 25), (95, 95, 95)
SCORED = (('23', 'gaussian_blur'), ('15', 'jpeg'), ('07', 'darken'))
SCORED_LEVELS = (1, 3, 4, 5)


@dataclass(frozen=True)
class Sheet:
    """One picture: its name, what it says on top, its rows, and what they show."""

    file: str
    title: str
    lines: tuple[str, ...]
    names: tuple[str, ...]
    detail: tuple[int, int, int, int]
    quality: int

    @property
    def cell(self) -> tuple[int, int]:
        """Width and height of a cell."""
        return self.detail[2] - self.detail[0], self.detail[3] - self.detail[1]


SHEETS = (
    Sheet(
        file='distortions.jpg',
        title='The 25 distortions of KADID-10k',
        lines=(
            'at their five levels, synthesised by metaiqa_plugin.data.distortions.',
            f'Each cell is the same detail of a {SIZE[0]} x {SIZE[1]} image, distorted',
            'as a whole. The values are the published parameters of levels 1 to 5.',
        ),
        names=KADID10K,
        detail=(116, 4, 356, 184),
        quality=85,
    ),
    Sheet(
        file='distortions-more.jpg',
        title='Six distortions of TID2013, and chains',
        lines=(
            'at their five levels. Each cell is the same detail of an image of',
            f'{SIZE[0]} x {SIZE[1]} pixels, distorted as a whole. The values are',
            "TID2013's; the parts of a chain are all at the level of the column.",
        ),
        names=(*(name for name in DISTORTIONS if name not in KADID10K), *COMPOSITES),
        detail=(146, 44, 306, 164),
        quality=60,
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__)
    add_metric(parser)
    options = parser.parse_args(arguments)
    names = [*(sheet.file for sheet in SHEETS), 'scores.jpg']
    *paths, scores = [target(options, name) for name in names]
    photo = ImageOps.fit(read_rgb(KODAK / PHOTO), SIZE, Image.Resampling.LANCZOS)
    for path, sheet in zip(paths, SHEETS, strict=True):
        draw_sheet(photo, sheet).save(path, quality=sheet.quality, optimize=True)
    draw_scores(options.metric).savefig(scores, dpi=110, pil_kwargs={'quality': 88})
    for path in (*paths, scores):
        print(f'{path}: {path.stat().st_size / 1e6:.2f} MB')


def draw_scores(metric: str) -> Figure:
    """A row of each photo: as it is, then its levels."""
    images = [pair for name, kind in SCORED for pair in versions(name, kind)]
    items = [Item(label, image.copy) for label, image in images]
    scored = score_items(items, open_scorers([metric], engine='torch'))
    figure = Figure(figsize=(12.5, 6.2), layout='constrained')
    grid = chain(*figure.subplots(len(SCORED), len(SCORED_LEVELS) + 1))
    for (label, image), row, axes in zip(images, scored, grid, strict=True):
        axes.imshow(image)
        axes.set_axis_off()
        shown = row.error or f'{row.scores[0]:.2f}'
        axes.set_title(shown, fontsize=17, weight='bold')
        axes.text(0.5, -0.03, label, ha='center', va='top', transform=axes.transAxes)
    return figure


def versions(name: str, distortion: str) -> list[tuple[str, Image.Image]]:
    photo = read_rgb(KODAK / f'{name}.webp').crop((100, 0, 768, 512))
    photo = photo.resize((501, 384), Image.Resampling.LANCZOS)
    levels = [
        (f'{distortion}, level {n}', distort(photo, distortion, n))
        for n in SCORED_LEVELS
    ]
    return [('original', photo), *levels]


def draw_sheet(photo: Image.Image, sheet: Sheet) -> Image.Image:
    """The original on top, then one row for each distortion."""
    cell_width, cell_height = sheet.cell
    width = LABEL_WIDTH + len(LEVELS) * (cell_width + GAP)
    height = HEADER_HEIGHT + len(sheet.names) * (cell_height + GAP)
    canvas = Image.new('RGB', (width, height), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    _draw_header(canvas, pen, photo, sheet)
    for row, name in enumerate(sheet.names):
        top = HEADER_HEIGHT + row * (cell_height + GAP)
        _draw_label(pen, name, top)
        for column, level in enumerate(LEVELS):
            left = LABEL_WIDTH + column * (cell_width + GAP)
            distorted = distort(photo, name, level, SEED)
            canvas.paste(distorted.crop(sheet.detail), (left, top))
    return canvas


def _draw_header(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, photo: Image.Image, sheet: Sheet
) -> None:
    cell_width = sheet.cell[0]
    canvas.paste(photo.crop(sheet.detail), (LABEL_WIDTH, GAP))
    left = LABEL_WIDTH + cell_width + 5 * GAP
    pen.text((12, GAP), 'original', fill=INK, font=_font(19))
    pen.text((left, 12), sheet.title, fill=INK, font=_font(30))
    for number, line in enumerate(sheet.lines):
        pen.text((left, 62 + 30 * number), line, fill=FAINT, font=_font(19))
    for column, level in enumerate(LEVELS):
        x = LABEL_WIDTH + column * (cell_width + GAP) + cell_width / 2
        pen.text((x, HEADER_HEIGHT - 26), f'level {level}', INK, _font(19), anchor='mm')


def _draw_label(pen: ImageDraw.ImageDraw, name: str, top: int) -> None:
    kind = DISTORTIONS.get(name)
    if kind is None:
        lines = name.replace('+', ' +\n').split('\n')
        pen.text((12, top + 6), '\n'.join(lines), fill=INK, font=_font(15))
        return
    number = kind.number if kind.number < 100 else f'TID2013 {kind.number - 100}'
    lines = _wrapped(name.split('_'), _font(18), separator='_')
    pen.text((12, top + 6), f'{number}', fill=FAINT, font=_font(15))
    pen.text((12, top + 24), '\n'.join(lines), fill=INK, font=_font(18))
    below = top + 24 + 26 * len(lines)
    words = _wrapped(kind.parameter.split(), _font(13), separator=' ')
    values = ', '.join(f'{value:g}' for value in kind.levels)
    values = _wrapped([*values.split()], _font(13), separator=' ')
    pen.text((12, below), '\n'.join([*words, *values]), fill=FAINT, font=_font(13))


def _wrapped(
    words: list[str], font: ImageFont.FreeTypeFont, separator: str
) -> list[str]:
    lines = [words[0]]
    for word in words[1:]:
        longer = lines[-1] + separator + word
        if font.getlength(longer) > LABEL_WIDTH - 20:
            lines[-1] += separator.rstrip()
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


if __name__ == '__main__':
    sys.exit(run(main))
