"""Draw docs/scores.jpg: carried photos, distorted, with the score of each.

python studies/score_picture.py --out docs --overwrite
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain

from matplotlib.figure import Figure
from PIL import Image
from shared import study_parser, target

from metaiqa_plugin.cli.common import add_metric
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import run
from metaiqa_plugin.photos import KODAK
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import open_scorers

ROWS = (('23', 'gaussian_blur'), ('15', 'jpeg'), ('07', 'darken'))
LEVELS = (1, 3, 4, 5)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__)
    add_metric(parser)
    options = parser.parse_args(arguments)
    path = target(options, 'scores.jpg')
    images = [pair for name, kind in ROWS for pair in versions(name, kind)]
    items = [Item(label, image.copy) for label, image in images]
    scored = score_items(items, open_scorers([options.metric], engine='torch'))
    figure = Figure(figsize=(12.5, 6.2), layout='constrained')
    grid = chain(*figure.subplots(len(ROWS), len(LEVELS) + 1))
    for (label, image), row, axes in zip(images, scored, grid, strict=True):
        axes.imshow(image)
        axes.set_axis_off()
        shown = row.error or f'{row.scores[0]:.2f}'
        axes.set_title(shown, fontsize=17, weight='bold')
        axes.text(0.5, -0.03, label, ha='center', va='top', transform=axes.transAxes)
    figure.savefig(path, dpi=110, pil_kwargs={'quality': 88})
    print(path)


def versions(name: str, distortion: str) -> list[tuple[str, Image.Image]]:
    photo = read_rgb(KODAK / f'{name}.webp').crop((100, 0, 768, 512))
    photo = photo.resize((501, 384), Image.Resampling.LANCZOS)
    levels = [
        (f'{distortion}, level {n}', distort(photo, distortion, n)) for n in LEVELS
    ]
    return [('original', photo), *levels]


if __name__ == '__main__':
    sys.exit(run(main))
