"""What training sees of an image when the lower stages of the network are frozen.

The stages below the cut make the same maps of an image in every epoch, so they run
once, and training goes on from the maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.crops import RandomCrop
from metaiqa_plugin.data.database_block import Databases
from metaiqa_plugin.data.store import ImageStore, Kind
from metaiqa_plugin.errors import UserError, whole_number

__all__ = [
    'FrozenMaps',
    'MapCrop',
    'MapPairs',
    'maps_of',
    'require_same_stages',
    'training_views',
]

PRECISION = np.float16


def maps_of(network: MetaIQA, pixels: np.ndarray) -> np.ndarray:
    """(h, w, C) float16 of (H, W, 3) uint8: what the frozen stages make of an image."""
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
        network = maps.network
        return replace(
            maps,
            channels=network.backbone.maps_channels,
            dtype=np.dtype(PRECISION).name,
            folder=f'maps-{maps.backbone}-{maps.stages}',
            images_per_shard=32,
        )

    @property
    def network(self) -> MetaIQA:
        """With the stages; what comes after them has no meaning."""
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
def _imagenet(backbone: str, stages: int) -> MetaIQA:
    with torch.random.fork_rng():
        network = MetaIQA(
            backbone, levels=(stages,), frozen=stages, pretrained='imagenet'
        )
    return network.eval()


def require_same_stages(network: torch.nn.Module, options: Mapping[str, Any]) -> None:
    """Raises UserError where a network could not have made the maps it is to train on.

    Args:
        network: that is to be trained.
        options: the block ``maps`` of its dataset.
    """
    maps = FrozenMaps.from_options(options)
    config = getattr(network, 'config', None)
    theirs = (getattr(config, 'backbone', None), getattr(config, 'frozen', None))
    if theirs != (maps.backbone, maps.stages):
        raise UserError(
            f'maps={dict(options)}: the network has backbone={theirs[0]!r} and '
            f'frozen={theirs[1]}; they must be the same'
        )
    expected = maps.network.backbone.frozen_state()
    found = network.backbone.frozen_state()
    changed = [key for key, value in expected.items() if not _same(value, found[key])]
    if changed:
        raise UserError(
            f'maps={dict(options)} are made with ImageNet weights, and those of the '
            f'network differ from them ({changed[0]} and {len(changed) - 1} more): it '
            'comes from a training that did not freeze these stages; leave out maps'
        )


def _same(value: Tensor, found: Tensor) -> bool:
    """Equal, or as equal as weights that were float16 on disk can be."""
    found = found.to(value.device, value.dtype)
    return torch.equal(found, value) or torch.equal(found, value.half().to(value.dtype))


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


class MapPairs(Sequence):
    """Maps of images in a store: of each, and of it mirrored."""

    def __init__(self, plain: ImageStore, mirrored: ImageStore) -> None:
        self._plain, self._mirrored = plain, mirrored

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._plain[index], self._mirrored[index]


def training_views(
    databases: Databases,
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
        UserError: maps that are not to be had, or of images at their own size.
    """
    if maps is None:
        return RandomCrop(resize, crop_size, hflip), databases.pixels(resize)
    kind = FrozenMaps.from_options(maps)
    if resize == 0:
        raise UserError(
            'resize=0: images of many sizes have maps of many sizes; with maps, resize '
            'must be given'
        )
    crop = RandomCrop(resize, crop_size, hflip)
    cells = math.ceil(crop.size / kind.reduction)
    pairs = MapPairs(*(databases.stored(resize, each) for each in kind.both))
    return MapCrop(cells, hflip), pairs
