"""The pyiqa dataset of learning to rank: one item is one group of ranked images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pyiqa.utils import get_root_logger
from torch import Tensor
from torch.utils.data import Dataset

from metaiqa_plugin.data.crops import RandomCrop
from metaiqa_plugin.data.database_block import DatasetImages, require_batch, split_block
from metaiqa_plugin.data.distortions import LEVELS
from metaiqa_plugin.data.ranked_groups import DatabaseGroups, PhotoGroups
from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['RankedDataset']


class RankedDataset(Dataset):
    """Groups of ranked images, from photos or from a database with references.

    An item is a dict of one group: ``img`` (versions, 3, crop, crop) uint8, ``rank``
    (versions,) float32, higher ranks above lower, ``type`` and ``photo`` its names. The
    loader's ``batch_size_per_gpu`` is the number of groups in a mini-batch. An epoch
    takes one sub-image of each image.

    A crop is a function of the seed and of the mini-batch of indices it is asked for
    in, so crops differ from epoch to epoch and do not depend on the workers.

    Args:
        opt: the block; its keys are ``photos`` or those of :class:`DatasetImages`, the
            arguments of :meth:`configure` and those of pyiqa's loader.

    Raises:
        UserError: an unknown key, or anything that reading or :meth:`configure`
            refuses.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        block, own = split_block(opt, self.configure)
        databases = None
        if own.get('photos') is None:
            databases = DatasetImages(block, opt.get('name', 'train'))
        elif block:
            raise UserError(
                f'dataset {opt.get("name")!r}: photos and {sorted(block)} exclude each '
                'other: images are made from photos, or are those of a database'
            )
        self.configure(databases, **own)
        require_batch(len(self), opt, 'groups')

    def configure(
        self,
        databases: DatasetImages | None,
        photos: str | None = None,
        distortions: Sequence[str] = ('kadid10k',),
        levels: Sequence[float] = LEVELS,
        pristine: bool = False,
        max_side: int = 512,
        versions: int = 0,
        resize: int = 0,
        crop_size: int = 224,
        hflip: bool = True,
        same_place: bool = False,
        seed: int = 0,
    ) -> None:
        """Prepare to read.

        Args:
            databases: the labelled images; None: ``photos`` are distorted.
            photos, distortions, levels, pristine, max_side: see ``PhotoGroups``.
            versions: of each group that make an item, drawn at random where it has
                more; 0: as many as the smallest group has.
            resize, crop_size, hflip: see ``RandomCrop``; the paper never resizes, 0.
            same_place: crop the images of a group at one place; the paper crops each
                where it falls.
            seed: of distortions, versions and crops.
        """
        whole_number('seed', seed, least=0)
        whole_number('versions', versions, least=0)
        one_of('same_place', same_place, (True, False))
        self.crop = RandomCrop(resize, crop_size, hflip)
        if databases is None:
            self.groups = PhotoGroups(
                photos, distortions, levels, pristine, max_side, seed
            )
            _warn_of_small_crops(crop_size, max_side)
        else:
            self.groups = DatabaseGroups(databases.rows, databases.pixels(resize))
        self.versions = self._number_of_versions(versions)
        self.same_place = same_place
        self.seed = seed

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor | str]]:
        """The groups of one mini-batch; the DataLoader calls this where it exists."""
        generator = np.random.default_rng([self.seed, *indices])
        return [self._item(index, generator) for index in indices]

    def _item(
        self, group: int, generator: np.random.Generator
    ) -> dict[str, Tensor | str]:
        ranks = self.groups.ranks(group)
        chosen = generator.choice(len(ranks), self.versions, replace=False)
        place = int(generator.integers(2**63)) if self.same_place else None
        photo, kind = self.groups.name(group)
        crops = []
        for version in chosen.tolist():
            own = generator if place is None else np.random.default_rng(place)
            crops.append(self.crop(self.groups.pixels(group, version), own))
        return {
            'img': torch.stack(crops),
            'rank': torch.from_numpy(ranks[chosen]),
            'type': kind,
            'photo': photo,
        }

    def _number_of_versions(self, wanted: int) -> int:
        smallest = min(len(self.groups.ranks(group)) for group in range(len(self)))
        if wanted == 1 or wanted > smallest:
            raise UserError(
                f'versions={wanted}: expected 2 to {smallest}, the images of the '
                'smallest group; or 0 for all of them'
            )
        return wanted or smallest


def _warn_of_small_crops(crop_size: int, max_side: int) -> None:
    if 3 * crop_size < max_side:
        get_root_logger().warning(
            f'crop_size={crop_size} is less than a third of max_side={max_side}: the '
            "paper's sub-images show at least a third of a photo's side"
        )
