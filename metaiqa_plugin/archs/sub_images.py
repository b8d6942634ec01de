"""Sub-images of an image that networks of a fixed view score in its place."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from metaiqa_plugin.errors import UserError

__all__ = ['PLACEMENTS', 'corners', 'enlarged', 'enlargement', 'resized', 'sub_images']

PLACEMENTS = ('centre', 'grid', 'random', 'uniform')


def sub_images(
    image: Tensor, side: int, placement: str, count: int, seed: int = 0
) -> Tensor:
    """Square sub-images, cut out and never shrunk.

    Args:
        image: (1, C, H, W); one with a shorter side below ``side`` is enlarged to it
            first, see :func:`enlarged`.
        side: of the squares, pixels.
        placement: see :func:`corners`.
        count: how many.
        seed: of random ones.

    Returns:
        (count, C, side, side).
    """
    # pyiqa's uniform_crop enlarges an image of just the crop's size by a pixel, too
    least = side + 1 if placement == 'uniform' and min(image.shape[-2:]) <= side else 0
    image = enlarged(image, max(least, side))
    cut = [
        image[..., top : top + side, left : left + side]
        for top, left in corners(image.shape[-2:], side, placement, count, seed)
    ]
    return torch.cat(cut)


def resized(image: Tensor, shorter: int) -> Tensor:
    """(N, C, H, W) of a shorter side of ``shorter`` pixels, bilinear, antialiased.

    0 leaves it as it is. It is what the data sets do to training images.
    """
    before = min(image.shape[-2:])
    if not shorter or before == shorter:
        return image
    size = [max(shorter, round(side * shorter / before)) for side in image.shape[-2:]]
    return functional.interpolate(
        image, size, mode='bilinear', align_corners=False, antialias=True
    )


def enlarged(image: Tensor, least: int) -> Tensor:
    """(N, C, H, W), bilinearly enlarged where the shorter side is below ``least``."""
    shorter = min(image.shape[-2:])
    if shorter >= least:
        return image
    return functional.interpolate(
        image,
        scale_factor=enlargement(shorter, least),
        mode='bilinear',
        align_corners=False,
    )


def enlargement(shorter: int, least: int) -> float:
    """Factor to enlarge by, of which torch makes ``least`` pixels and not one less."""
    factor = least / shorter
    while math.floor(shorter * factor) < least:
        factor = math.nextafter(factor, math.inf)
    return factor


def corners(
    size: tuple[int, int], side: int, placement: str, count: int, seed: int = 0
) -> list[tuple[int, int]]:
    """Top left corners of squares in an image.

    Args:
        size: height and width of the image, both at least ``side``.
        side: of the squares.
        placement: ``'centre'``: one, in the middle; ``'grid'``: evenly spaced rows and
            columns from edge to edge; ``'uniform'``: those of pyiqa's
            ``uniform_crop``, which end before the far edges; ``'random'``: where the
            image would be cut as often everywhere, the same for images of one size.
        count: how many; a square number for ``'grid'`` and ``'uniform'``, 1 for
            ``'centre'``.
        seed: of random ones.

    Raises:
        UserError: a number that the placement can not have.
    """
    height, width = size[0] - side, size[1] - side
    if placement == 'centre':
        _require(count == 1, placement, count, 'expected 1')
        return [(height // 2, width // 2)]
    if placement == 'random':
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        return [
            (int(top * (height + 1)), int(left * (width + 1)))
            for top, left in drawn.tolist()
        ]
    rows = math.isqrt(count)
    _require(rows * rows == count, placement, count, 'expected a square: 1, 4, 9, ...')
    if placement == 'uniform':
        tops = [row * (height // rows) for row in range(rows)]
        lefts = [column * (width // rows) for column in range(rows)]
    else:
        tops, lefts = _spread(height, rows), _spread(width, rows)
    return [(top, left) for top in tops for left in lefts]


def _spread(room: int, count: int) -> list[int]:
    if count == 1:
        return [room // 2]
    return [round(room * place / (count - 1)) for place in range(count)]


def _require(fits: bool, placement: str, count: int, expected: str) -> None:
    if not fits:
        raise UserError(f'crops={count}: {expected} with sampling={placement!r}')
