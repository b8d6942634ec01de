"""What training sees of an image: resized, a random crop, perhaps mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metaiqa_plugin.checks import whole_number
from metaiqa_plugin.errors import UserError

__all__ = ['RandomCrop', 'resize_shorter']


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """Resize to a shorter side of ``size`` pixels: bilinear, antialiased."""
    shorter = min(image.size)
    if shorter == size:
        return image
    target = tuple(max(size, round(side * size / shorter)) for side in image.size)
    return image.resize(target, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class RandomCrop:
    """Resize, crop at random, mirror with probability one half.

    Attributes:
        resize: shorter side in pixels before cropping.
        size: side of the square crop in pixels.
        hflip: whether to mirror.
    """

    resize: int = 256
    size: int = 224
    hflip: bool = True

    def __post_init__(self) -> None:
        whole_number('resize', self.resize)
        whole_number('crop_size', self.size)
        if self.size > self.resize:
            raise UserError(
                f'crop_size={self.size} is larger than resize={self.resize}, the '
                'shorter side of the images it is cut from'
            )

    def __call__(self, image: Image.Image, generator: np.random.Generator) -> Tensor:
        """(3, size, size) uint8."""
        return self.crop(resize_shorter(image, self.resize), generator)

    def crop(self, image: Image.Image, generator: np.random.Generator) -> Tensor:
        """The same of an image that is already resized."""
        left = int(generator.integers(image.width - self.size + 1))
        top = int(generator.integers(image.height - self.size + 1))
        mirror = self.hflip and generator.random() < 0.5
        box = (left, top, left + self.size, top + self.size)
        pixels = np.asarray(image.crop(box))
        if mirror:
            pixels = pixels[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
