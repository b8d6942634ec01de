"""Draw the 25 distortions at their five levels on one contact sheet.

    python benchmarks/distortion_sheet.py [--output docs/distortions.jpg]

A carried photo is brought to 512 x 384 pixels, the size of KADID-10k, distorted as a
whole, and a detail of it is shown pixel by pixel, one row for each type.
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from metaiqa_plugin.data.distortions import DISTORTIONS, LEVELS, Distortion, distort

PHOTO = '15.webp'
SIZE = (512, 384)
DETAIL = (116, 4, 356, 184)
SEED = 227
LABEL_WIDTH = 190
HEADER_HEIGHT = 238
GAP = 4
BACKGROUND = (250, 250, 250)
INK = (25, 25, 25)
FAINT = (95, 95, 95)


def main() -> None:
    """Draw the sheet and save it where the command line says."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--output',
        type=Path,
        default=root / 'docs' / 'distortions.jpg',
        help='picture to write (default: docs/distortions.jpg)',
    )
    parser.add_argument(
        '--quality', type=int, default=85, help='JPEG quality of the sheet'
    )
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet = draw_sheet(load_photo())
    sheet.save(arguments.output, quality=arguments.quality, optimize=True)
    print(f'{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB')


def load_photo() -> Image.Image:
    """Return the carried photo, cropped and resized to `SIZE`."""
    folder = resources.files('metaiqa_plugin') / 'photos' / 'kodak24'
    with (folder / PHOTO).open('rb') as file, Image.open(file) as photo:
        return ImageOps.fit(photo.convert('RGB'), SIZE, Image.Resampling.LANCZOS)


def draw_sheet(photo: Image.Image) -> Image.Image:
    """Return the sheet: the original on top, then one row for each distortion."""
    cell_width, cell_height = DETAIL[2] - DETAIL[0], DETAIL[3] - DETAIL[1]
    width = LABEL_WIDTH + len(LEVELS) * (cell_width + GAP)
    height = HEADER_HEIGHT + len(DISTORTIONS) * (cell_height + GAP)
    sheet = Image.new('RGB', (width, height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _draw_header(sheet, pen, photo, cell_width)
    for row, distortion in enumerate(DISTORTIONS.values()):
        top = HEADER_HEIGHT + row * (cell_height + GAP)
        _draw_label(pen, distortion, top)
        for column, level in enumerate(LEVELS):
            left = LABEL_WIDTH + column * (cell_width + GAP)
            distorted = distort(photo, distortion.name, level, SEED)
            sheet.paste(distorted.crop(DETAIL), (left, top))
    return sheet


def _draw_header(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, photo: Image.Image, cell_width: int
) -> None:
    sheet.paste(photo.crop(DETAIL), (LABEL_WIDTH, GAP))
    left = LABEL_WIDTH + cell_width + 5 * GAP
    pen.text((12, GAP), 'original', fill=INK, font=_font(19))
    pen.text((left, 12), 'The 25 distortions of KADID-10k', fill=INK, font=_font(30))
    lines = (
        'at their five levels, synthesised by metaiqa_plugin.data.distortions.',
        f'Each cell is the same detail of a {SIZE[0]} x {SIZE[1]} image, distorted',
        'as a whole. The values are the published parameters of levels 1 to 5.',
    )
    for number, line in enumerate(lines):
        pen.text((left, 62 + 30 * number), line, fill=FAINT, font=_font(19))
    for column, level in enumerate(LEVELS):
        x = LABEL_WIDTH + column * (cell_width + GAP) + cell_width / 2
        pen.text((x, HEADER_HEIGHT - 26), f'level {level}', INK, _font(19), anchor='mm')


def _draw_label(pen: ImageDraw.ImageDraw, distortion: Distortion, top: int) -> None:
    lines = _wrapped(distortion.name.split('_'), _font(18), separator='_')
    name = '\n'.join(lines)
    pen.text((12, top + 6), f'{distortion.number}', fill=FAINT, font=_font(15))
    pen.text((12, top + 24), name, fill=INK, font=_font(18))
    below = top + 24 + 26 * len(lines)
    words = _wrapped(distortion.parameter.split(), _font(13), separator=' ')
    values = ', '.join(f'{value:g}' for value in distortion.levels)
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
    main()
