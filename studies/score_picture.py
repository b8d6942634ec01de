"""Draw docs/scores.jpg: carried photos, distorted, with the score of each.

python studies/score_picture.py
"""

from __future__ import annotations

from pathlib import Path

import pyiqa
from matplotlib.figure import Figure
from PIL import Image

import metaiqa_plugin
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb

PHOTOS = Path(metaiqa_plugin.__file__).parent / 'photos' / 'kodak24'
ROWS = (('23', 'gaussian_blur'), ('15', 'jpeg'), ('07', 'darken'))
LEVELS = (1, 3, 4, 5)
TARGET = Path('docs/scores.jpg')


def versions(photo: Image.Image, distortion: str):
    yield 'original', photo
    for level in LEVELS:
        yield f'{distortion}, level {level}', distort(photo, distortion, level)


def main() -> None:
    metric = pyiqa.create_metric('metaiqa')
    figure = Figure(figsize=(12.5, 6.2), layout='constrained')
    grid = figure.subplots(len(ROWS), len(LEVELS) + 1)
    for (name, distortion), line in zip(ROWS, grid, strict=True):
        photo = read_rgb(PHOTOS / f'{name}.webp').crop((100, 0, 768, 512))
        photo = photo.resize((501, 384), Image.Resampling.LANCZOS)
        for axes, (label, image) in zip(line, versions(photo, distortion), strict=True):
            axes.imshow(image)
            axes.set_axis_off()
            axes.set_title(f'{metric(image).item():.2f}', fontsize=17, weight='bold')
            axes.text(
                0.5, -0.03, label, ha='center', va='top', transform=axes.transAxes
            )
    figure.savefig(TARGET, dpi=110, pil_kwargs={'quality': 88})
    print(TARGET)


if __name__ == '__main__':
    main()
