"""What training sees of an image: a crop of its pixels, or of its frozen maps.

When the lower stages of a network are frozen, they make the same maps of an image in
every epoch, so they run once, the store keeps the maps, and training continues from
crops of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from metaiqa_plugin.data.images import resize_shorter
from metaiqa_plugin.data.store import Kind
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.registration import registered

if TYPE_CHECKING:
    from metaiqa_plugin.data.datasets import DatasetImages

__all__ = [
    'FrozenMaps',
    'MapCrop',
    'RandomCrop',
    'as_input',
    'maps_of',
    'training_views',
]

PRECISION = np.float16


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
        whole_number('resize', self.resize, minimum=0)
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


@dataclass(frozen=True)
class MapCrop:
    """A random crop of an image's maps, or of the mirrored image's, one in two.

    Attributes:
        cells: side of the square crop.
        hflip: whether to mirror.
    """

    cells: int
    hflip: bool = True

    def __call__(
        self, both: Sequence[np.ndarray], generator: np.random.Generator
    ) -> Tensor:
        """A crop.

        Args:
            both: maps (h, w, C) of the image, and of the mirrored image, not smaller
                than the crop.

        Returns:
            (C, cells, cells) float16.
        """
        mirror = self.hflip and generator.random() < 0.5
        maps = both[int(mirror)]
        top, left = (
            int(generator.integers(side - self.cells + 1)) for side in maps.shape[:2]
        )
        crop = maps[top : top + self.cells, left : left + self.cells]
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1)


def maps_of(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """(h, w, C) float16 of (H, W, 3) uint8: the frozen stages' maps of an image."""
    device = next(network.parameters()).device
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    with torch.no_grad():
        maps = network.maps(image[None].to(device).float().div_(255))[0]
    return maps.permute(1, 2, 0).cpu().numpy().astype(PRECISION)


@dataclass(frozen=True)
class FrozenMaps(Kind):
    """A kind of store: maps that stages with ImageNet's weights make of images.

    Attributes:
        backbone: timm model name.
        stages: how many are frozen.
        mirrored: of the image mirrored left to right.
    """

    backbone: str = 'tf_efficientnet_lite0'
    stages: int = 5
    mirrored: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> FrozenMaps:
        """Of the block ``maps`` of a dataset: ``backbone`` and ``stages``.

        Raises:
            UserError: another key, or stages that the backbone does not have.
        """
        if not isinstance(options, Mapping) or set(options) - {'backbone', 'stages'}:
            raise UserError(
                f'maps={options!r}: expected a block of backbone and stages'
            )
        maps = cls(**options)
        whole_number('maps.stages', maps.stages)
        return replace(
            maps,
            channels=maps.network.backbone.maps_channels,
            dtype=np.dtype(PRECISION).name,
            folder=f'maps-{maps.backbone}-{maps.stages}',
            images_per_shard=32,
        )

    @property
    def network(self) -> nn.Module:
        """A ``MetaIQA`` with the stages; what comes after them has no meaning."""
        return _imagenet(self.backbone, self.stages)

    @property
    def reduction(self) -> int:
        """Pixels of a cell's side."""
        return self.network.backbone.maps_reduction

    @property
    def both(self) -> list[FrozenMaps]:
        """Of the image as it is, and mirrored."""
        mirrored = replace(self, mirrored=True, folder=f'{self.folder}-mirrored')
        return [self, mirrored]

    def bytes_at_least(self, resize: int) -> int:
        return (resize // self.reduction) ** 2 * self.bytes_per_cell

    def made_of(self, pixels: np.ndarray) -> np.ndarray:
        """Maps, by one thread: processes share the cores, and sums keep their order."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return maps_of(self.network, pixels[:, ::-1] if self.mirrored else pixels)
        finally:
            torch.set_num_threads(threads)


@lru_cache(maxsize=2)
def _imagenet(backbone: str, stages: int) -> nn.Module:
    build = registered('network', 'MetaIQA')
    with torch.random.fork_rng():
        return build(
            backbone, levels=(stages,), frozen=stages, pretrained='imagenet'
        ).eval()


def training_views(
    databases: DatasetImages,
    resize: int,
    crop_size: int,
    hflip: bool,
    maps: Mapping[str, Any] | None,
) -> tuple[Callable[[Any, np.random.Generator], Tensor], Sequence]:
    """How a crop is taken, and what it is taken from: pixels, or frozen maps.

    Args:
        databases: the images.
        resize, crop_size, hflip: see ``RandomCrop``; in pixels with maps, too.
        maps: the block of a dataset, see :class:`FrozenMaps`; None: crops of pixels.

    Raises:
        UserError: maps of stages that do not exist, of images at their own size, or
            without a store.
    """
    crop = RandomCrop(resize, crop_size, hflip)
    if maps is None:
        return crop, databases.pixels(resize)
    kind = FrozenMaps.from_options(maps)
    if resize == 0:
        raise UserError(
            'resize=0: images of many sizes have maps of many sizes; with maps, resize '
            'must be given'
        )
    plain, mirrored = (databases.stored(resize, each) for each in kind.both)
    cells = math.ceil(crop.size / kind.reduction)
    return MapCrop(cells, hflip), _Pairs(plain, mirrored)


class _Pairs(Sequence):
    """Maps of images in a store: of each, and of it mirrored."""

    def __init__(self, *sides: Sequence[np.ndarray]) -> None:
        self._sides = sides

    def __len__(self) -> int:
        return len(self._sides[0])

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(side[index] for side in self._sides)
