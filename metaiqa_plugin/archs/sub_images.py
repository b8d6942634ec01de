"""Networks that score an image by the mean over its sub-images, and where these lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from metaiqa_plugin.archs.base import LARGEST_SIDE, ConfiguredNetwork, NetworkConfig
from metaiqa_plugin.errors import UserError, whole_number

__all__ = ['CHUNK', 'SubImageConfig', 'SubImageNetwork', 'SubImages', 'resized']

MOST_CROPS = 10_000
LARGEST_SEED = 2**63 - 1
SLIVER = 4
"""An image so many times larger than its sub-images is never enlarged as a whole."""
CHUNK = 32
"""Sub-images that go through the network at a time."""
Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class SubImageConfig(NetworkConfig):
    """What these networks share.

    Attributes:
        backbone, mean, std: see :class:`NetworkConfig`.
        resize: shorter side in pixels that images are brought to in evaluation before
            sub-images are cut; 0: never, as in the papers.
        crop_size: side in pixels of the sub-images.
        crops: how many there are: a square number for ``'grid'`` and ``'uniform'``, 1
            for ``'centre'``.
        sampling: where they lie. ``'centre'``: one, in the middle; ``'grid'``: evenly
            spaced rows and columns from edge to edge; ``'uniform'``: those of pyiqa's
            ``uniform_crop``, which end before the far edges; ``'random'``: where the
            image would be cut as often everywhere, the same for images of one size.
        seed: of random ones.
    """

    resize: int = 0
    crop_size: int = 224
    crops: int = 9
    sampling: Literal['centre', 'grid', 'random', 'uniform'] = 'grid'
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number('resize', self.resize, 0, LARGEST_SIDE)
        whole_number('crop_size', self.crop_size, 32, LARGEST_SIDE)
        whole_number('crops', self.crops, maximum=MOST_CROPS)
        whole_number('seed', self.seed, 0, LARGEST_SEED)
        if self.sampling == 'centre' and self.crops != 1:
            self._refuse_crops('1')
        square = math.isqrt(self.crops) ** 2 == self.crops
        if self.sampling in ('grid', 'uniform') and not square:
            self._refuse_crops('a square: 1, 4, 9, ...')

    def _refuse_crops(self, expected: str) -> None:
        raise UserError(
            f'crops={self.crops}: expected {expected} with sampling={self.sampling!r}'
        )

    def corners(self, size: Size, side: int) -> list[tuple[int, int]]:
        """Top left corners of the sub-images of an image, squares of ``side`` pixels.

        Both sides of the image are at least that.
        """
        height, width = size[0] - side, size[1] - side
        if self.sampling == 'random':
            generator = torch.Generator().manual_seed(self.seed)
            drawn = torch.rand(self.crops, 2, generator=generator, dtype=torch.float64)
            return [
                (int(top * (height + 1)), int(left * (width + 1)))
                for top, left in drawn.tolist()
            ]
        rows = math.isqrt(self.crops)
        if self.sampling == 'uniform':
            tops = [row * (height // rows) for row in range(rows)]
            lefts = [column * (width // rows) for column in range(rows)]
        else:
            tops, lefts = _spread(height, rows), _spread(width, rows)
        return [(top, left) for top in tops for left in lefts]


def _spread(room: int, count: int) -> list[int]:
    if count == 1:
        return [room // 2]
    return [round(room * place / (count - 1)) for place in range(count)]


@dataclass(frozen=True)
class SubImages:
    """The sub-images of images of one size, cut out and never shrunk.

    Attributes:
        size: that the images are brought to first, antialiased; None: they stay.
        enlarged_by: factor that comes next, where a side is too short for a sub-image;
            1: none.
        side: of the sub-images, squares.
        corners: top left, of each.
    """

    size: Size | None
    enlarged_by: float
    side: int
    corners: list[tuple[int, int]]

    def of(self, images: Tensor) -> Tensor:
        """(k * N, C, side, side) of (N, C, H, W): the first of all N come first."""
        before = tuple(images.shape[-2:])
        after = [self.enlarged_by * length for length in self.size or before]
        sliver = math.prod(after) > SLIVER * len(self.corners) * self.side**2
        if sliver and after[0] >= before[0] and after[1] >= before[1]:
            scales = [old / new for old, new in zip(before, after, strict=True)]
            return torch.cat([self._cut(images, scales, at) for at in self.corners])
        if self.size is not None:
            images = functional.interpolate(
                images, self.size, mode='bilinear', align_corners=False, antialias=True
            )
        if self.enlarged_by > 1:
            images = functional.interpolate(
                images,
                scale_factor=self.enlarged_by,
                mode='bilinear',
                align_corners=False,
            )
        side = self.side
        cut = [
            images[..., top : top + side, left : left + side]
            for top, left in self.corners
        ]
        return torch.cat(cut)

    def _cut(self, images: Tensor, scales: list[float], corner: Size) -> Tensor:
        """One of them, enlarged from the pixels below it alone, bilinear."""
        for dim, scale, start in zip((-2, -1), scales, corner, strict=True):
            last = images.shape[dim] - 1
            lengths = torch.arange(start, start + self.side, dtype=torch.float64)
            at = ((lengths + 0.5) * scale - 0.5).clamp(0, last).to(images.device)
            low = at.long()
            part = (at - low).to(images.dtype)
            low, high = (
                images.index_select(dim, place)
                for place in (low, (low + 1).clamp(max=last))
            )
            images = low.lerp(high, part[:, None] if dim == -2 else part)
        return images


class SubImageNetwork(ConfiguredNetwork):
    """Scores crops in training and images in evaluation.

    A subclass scores crops in :meth:`view_scores`. Arguments and exceptions are those
    of ``ConfiguredNetwork``.
    """

    SIZE = 'crop_size'

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch.

        Args:
            images: (N, C, H, W) floating, C = 1 (gray) or 3 (RGB), in [0, 1], any size.
                In training mode they are taken at the size they have (crops), in
                evaluation mode an image's score is the mean over its sub-images,
                whatever other images are in the batch.

        Returns:
            (N, 1), not bounded, about 0 to 1 where the network was trained on MOS in
            [0, 1]; higher is better. Differentiable.
        """
        images = self.as_rgb(images)
        if self.training:
            return self.view_scores(images)
        return torch.cat([self._mean_score(image.unsqueeze(0)) for image in images])

    def sub_image_side(self, size: Size) -> int:
        """Side in pixels of the sub-images of an image of ``size`` (height, width)."""
        return self.config.crop_size

    @property
    def shorter_side(self) -> int | None:
        return self.config.resize or None

    def sub_images(self, size: Size) -> SubImages:
        """Of images of ``size`` (height, width)."""
        resized_to = _scaled(size, self.config.resize)
        side = self.sub_image_side(resized_to)
        shorter = min(resized_to)
        # pyiqa's uniform_crop enlarges an image of just the crop's size by a pixel, too
        uniform = self.config.sampling == 'uniform' and shorter <= side
        factor = _enlargement(shorter, side + uniform)
        enlarged = tuple(math.floor(length * factor) for length in resized_to)
        return SubImages(
            None if resized_to == size else resized_to,
            factor,
            side,
            self.config.corners(enlarged, side),
        )

    def views(self, images: Tensor) -> Tensor:
        """The sub-images of (1, 1 or 3, H, W)."""
        images = self.as_rgb(images)
        return self.sub_images(tuple(images.shape[-2:])).of(images)

    def _mean_score(self, image: Tensor) -> Tensor:
        chunks = self.views(image).split(CHUNK)
        scores = torch.cat([self.view_scores(chunk) for chunk in chunks])
        return scores.mean(0, keepdim=True)


def resized(image: Tensor, shorter: int) -> Tensor:
    """(N, C, H, W) of a shorter side of ``shorter`` pixels, bilinear, antialiased.

    0 leaves it as it is. The data sets do the same to training images.
    """
    size = _scaled(tuple(image.shape[-2:]), shorter)
    if size == tuple(image.shape[-2:]):
        return image
    return functional.interpolate(
        image, size, mode='bilinear', align_corners=False, antialias=True
    )


def _scaled(size: Size, shorter: int) -> Size:
    before = min(size)
    if not shorter or before == shorter:
        return size
    height, width = (max(shorter, round(side * shorter / before)) for side in size)
    return height, width


def _enlargement(shorter: int, minimum: int) -> float:
    """Factor to enlarge by, of which torch makes ``minimum`` pixels, not one less."""
    factor = max(1.0, minimum / shorter)
    while math.floor(shorter * factor) < minimum:
        factor = math.nextafter(factor, math.inf)
    return factor
