"""What training sees of an image: resized, a random crop, perhaps mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metaiqa_plugin.data.images import resize_shorter
from metaiqa_plugin.errors import UserError, whole_number

__all__ = ['RandomCrop', 'as_input']


def as_input(views: Tensor) -> Tensor:
    """What a network takes: uint8 pixels become [0, 1], frozen maps float32."""
    if views.dtype == torch.uint8:
        return views.float().div_(255)
    return views.float()


@dataclass(frozen=True)
class RandomCrop:
    """Resize, crop at random, mirror with probability one half.

    Attributes:
        resize: shorter side in pixels before cropping; 0: crops are cut from images as
            they are, and only those that are too small are enlarged.
        size: side of the square crop in pixels.
        hflip: whether to mirror.
    """

    resize: int = 256
    size: int = 224
    hflip: bool = True

    def __post_init__(self) -> None:
        whole_number('resize', self.resize, least=0)
        whole_number('crop_size', self.size)
        if 0 < self.resize < self.size:
            raise UserError(
                f'crop_size={self.size} is larger than resize={self.resize}, the '
                'shorter side of the images it is cut from'
            )

    def __call__(self, pixels: np.ndarray, generator: np.random.Generator) -> Tensor:
        """A crop of an image that is already resized.

        Args:
            pixels: (H, W, 3) uint8; where a side is below ``size``, the image is
                enlarged first.

        Returns:
            (3, size, size) uint8; its memory lies as (size, size, 3).
        """
        if min(pixels.shape[:2]) < self.size:
            enlarged = resize_shorter(Image.fromarray(pixels), self.size)
            pixels = np.asarray(enlarged)
        height, width = pixels.shape[:2]
        left = int(generator.integers(width - self.size + 1))
        top = int(generator.integers(height - self.size + 1))
        mirror = self.hflip and generator.random() < 0.5
        crop = pixels[top : top + self.size, left : left + self.size]
        if mirror:
            crop = crop[:, ::-1]
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1)
