"""Networks that score an image by the mean over its sub-images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metaiqa_plugin.archs.base import ConfiguredNetwork, NetworkConfig
from metaiqa_plugin.archs.sub_images import PLACEMENTS, corners, resized, sub_images
from metaiqa_plugin.errors import one_of, whole_number

__all__ = ['CHUNK', 'SubImageConfig', 'SubImageNetwork']

CHUNK = 32
"""Sub-images that go through the network at a time."""


@dataclass(frozen=True)
class SubImageConfig(NetworkConfig):
    """What these networks share.

    Attributes:
        backbone, mean, std: see :class:`NetworkConfig`.
        resize: shorter side in pixels that images are brought to in evaluation before
            sub-images are cut; 0: never, as in the papers.
        crop_size: side in pixels of the sub-images.
        crops: how many there are.
        sampling: where they lie, see ``sub_images.corners``.
        seed: of random ones.
    """

    resize: int = 0
    crop_size: int = 224
    crops: int = 9
    sampling: Literal['centre', 'grid', 'random', 'uniform'] = 'grid'
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of('sampling', self.sampling, PLACEMENTS)
        whole_number('resize', self.resize, least=0)
        whole_number('crop_size', self.crop_size, least=32)
        whole_number('crops', self.crops)
        whole_number('seed', self.seed, least=0)
        corners((32, 32), 32, self.sampling, self.crops)


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

    def sub_image_side(self, size: tuple[int, int]) -> int:
        """Side in pixels of the sub-images of an image of ``size`` (height, width)."""
        return self.config.crop_size

    @property
    def shorter_side(self) -> int | None:
        return self.config.resize or None

    def views(self, images: Tensor) -> Tensor:
        """The sub-images."""
        return self.sub_images_of(self.as_rgb(images))

    def sub_images_of(self, image: Tensor) -> Tensor:
        """(crops, 3, side, side) of (1, 3, H, W)."""
        config = self.config
        image = resized(image, config.resize)
        side = self.sub_image_side(tuple(image.shape[-2:]))
        return sub_images(image, side, config.sampling, config.crops, config.seed)

    def _mean_score(self, image: Tensor) -> Tensor:
        chunks = self.sub_images_of(image).split(CHUNK)
        scores = torch.cat([self.view_scores(chunk) for chunk in chunks])
        return scores.mean(0, keepdim=True)
