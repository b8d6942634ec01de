"""Versions of photos on which a metric may fail: pure functions of pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from metaiqa_plugin.data.distortions import LEVELS, distort, seed_key
from metaiqa_plugin.data.images import read_rgb

__all__ = [
    'ORIGINAL',
    'PRISTINE',
    'VERSIONS',
    'centre',
    'distorted_levels',
    'gray',
    'mean_luma',
    'recompressed',
    'resized',
]

ORIGINAL = 'original'
PRISTINE = 'pristine'
JPEG_QUALITY = 95


def mean_luma(image: Image.Image) -> float:
    """Mean of ITU-R BT.601 luma of an RGB image, 0 (black) to 255 (white).

    Each pixel is rounded to a whole number first, as Pillow converts to ``'L'``.
    """
    return float(np.asarray(image.convert('L'), np.float64).mean())


def gray(image: Image.Image) -> Image.Image:
    """RGB whose three channels are the BT.601 luma."""
    return image.convert('L').convert('RGB')


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Both sides ``factor`` times as long, rounded, at least one pixel.

    Pillow's bicubic filter, which is widened when it shrinks, so it does not alias.
    """
    size = tuple(max(1, round(factor * side)) for side in image.size)
    return image.resize(size, Image.Resampling.BICUBIC)


def centre(image: Image.Image, share: float) -> Image.Image:
    """The middle ``share`` (in (0, 1]) of each side, rounded, at least one pixel."""
    width, height = (max(1, round(share * side)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """Saved as JPEG in memory and read again; Pillow's default 4:2:0 chroma."""
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=quality)
    with Image.open(file) as decoded:
        return decoded.convert('RGB')


VERSIONS: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {
        ORIGINAL: lambda image: image,
        'gray': gray,
        'enlarged 4x': partial(resized, factor=4),
        'enlarged 2x': partial(resized, factor=2),
        'shrunk to 1/2': partial(resized, factor=1 / 2),
        'shrunk to 1/4': partial(resized, factor=1 / 4),
        'shrunk to 1/8': partial(resized, factor=1 / 8),
        'centre 1/2': partial(centre, share=1 / 2),
        'centre 1/4': partial(centre, share=1 / 4),
        'JPEG 95': partial(recompressed, quality=JPEG_QUALITY),
        'mirrored': lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        'turned by 90°': lambda image: image.transpose(Image.Transpose.ROTATE_90),
    }
)
"""What is done to each photo, by name; RGB images in and out, none is modified."""


def distorted_levels(job: tuple[Path, str]) -> list[tuple[int, Image.Image, float]]:
    """A photo, distorted by one type.

    Args:
        job: the photo, whose file name is a whole number, which seeds the draws; the
            type, or :data:`PRISTINE`.

    Returns:
        levels 1 to 5 with their images and the mean absolute difference of the pixels
        to the photo's, 0 to 255; of ``PRISTINE`` the photo itself, level 0.
    """
    path, name = job
    photo = read_rgb(path)
    if name == PRISTINE:
        return [(0, photo, 0.0)]
    pixels = np.asarray(photo, np.int16)
    made = []
    for level in LEVELS:
        rng = np.random.default_rng((int(path.stem), *seed_key(name, level)))
        image = distort(photo, name, level, rng)
        change = np.abs(np.asarray(image, np.int16) - pixels).mean()
        made.append((level, image, float(change)))
    return made
