"""The data sets of the option files: what an item is, and how a mini-batch is drawn.

Items are functions of the seed and of the mini-batch of indices that they are asked for
in. pyiqa shuffles the indices again each epoch, so crops and episodes differ from epoch
to epoch, and they are the same whatever the number of workers. (pyiqa itself reseeds
the workers' generators alike in every epoch.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pyiqa.utils import get_root_logger
from torch import Tensor
from torch import distributed as dist
from torch.utils.data import Dataset

from metaiqa_plugin.data.crops import RandomCrop, as_input, training_views
from metaiqa_plugin.data.database_block import (
    DatasetImages,
    require_batch,
    split_block,
)
from metaiqa_plugin.data.distortions import LEVELS
from metaiqa_plugin.data.episodes import EpisodeSampler, EpisodeSizes
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.ranked_groups import DatabaseGroups, PhotoGroups
from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['EpisodeDataset', 'LabelledDataset', 'RankedDataset']

PARTS = ('train', 'val', 'test')


class _BatchDataset(Dataset):
    """Items are drawn a mini-batch at a time; the DataLoader asks so where it can.

    Args:
        opt: the block; its keys are those of :class:`DatasetImages`, the arguments of
            ``configure`` and those of pyiqa's loader.

    Raises:
        UserError: an unknown key, or anything that reading or ``configure`` refuses.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]


class LabelledDataset(_BatchDataset):
    """Labelled images of any database, for pyiqa's ``GeneralIQAModel``.

    An item is a dict: ``img`` (3, H, W) float32 in [0, 1], ``mos_label`` (1,) float32
    in [0, 1], higher better, ``img_path``. In training ``img`` is a random crop, or one
    of the maps of frozen stages; in validation it is the whole image as pyiqa reads it.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        databases, own = split_block(opt, self.configure)
        part = own.get('override_phase') or opt.get('phase', 'train')
        one_of('phase', part, PARTS)
        self.training = opt.get('phase', 'train') == 'train'
        self.configure(DatasetImages(databases, opt.get('name', part), part), **own)
        if self.training:
            require_batch(len(self), opt, 'images')

    def configure(
        self,
        databases: DatasetImages,
        resize: int = 256,
        crop_size: int = 224,
        hflip: bool = True,
        seed: int = 0,
        override_phase: str | None = None,
        maps: dict[str, Any] | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            databases: the labelled images.
            resize, crop_size, hflip: see ``RandomCrop``; used in training.
            seed: of the crops.
            override_phase: the part of the split to use, ``'train'``, ``'val'`` or
                ``'test'``; None: that of the section of the option file.
            maps: in training, ``img`` is a crop of the frozen stages' maps of the
                image: ``backbone`` and ``stages``, see ``FrozenMaps``.
        """
        whole_number('seed', seed, minimum=0)
        self.rows = databases.rows
        self.seed = seed
        if self.training:
            views = training_views(databases, resize, crop_size, hflip, maps)
            self.crop, self.pixels = views
        else:
            self.pixels = databases.files(resize)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor | str]]:
        """The images of one mini-batch; the DataLoader calls this where it exists."""
        if not self.training:
            return [self._item(index, self._whole(index)) for index in indices]
        generator = np.random.default_rng([self.seed, *indices])
        return [
            self._item(index, self.crop(self.pixels[index], generator))
            for index in indices
        ]

    def _whole(self, index: int) -> Tensor:
        pixels = np.array(read_rgb(self.rows.path(index)))
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _item(self, index: int, pixels: Tensor) -> dict[str, Tensor | str]:
        return {
            'img': as_input(pixels).contiguous(),
            'mos_label': torch.tensor([self.rows.mos[index]]),
            'img_path': str(self.rows.path(index)),
        }


class EpisodeDataset(_BatchDataset):
    """Episodes of labelled databases, built from a pyiqa dataset option block.

    An item is a dict of one task: ``support_img`` (support_size, 3, crop, crop)
    uint8, ``support_mos`` (support_size, 1) float32 in [0, 1], higher better,
    ``query_img`` and ``query_mos`` alike, ``task`` the name of the type, ``place`` its
    place among the k of the mini-batch. The loader's ``batch_size_per_gpu`` is the
    paper's k, however many ranks there are: each gets the tasks of its places.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        started = dist.is_initialized()
        self.rank = dist.get_rank() if started else 0
        self.ranks = dist.get_world_size() if started else 1
        databases, own = split_block(opt, self.configure)
        self.configure(DatasetImages(databases, opt.get('name', 'train')), **own)
        require_batch(self.length, opt, 'tasks')

    def configure(
        self,
        databases: DatasetImages,
        support_size: int = 16,
        query_size: int = 16,
        images_per_reference: int = 2,
        tasks_per_epoch: int = 100,
        resize: int = 256,
        crop_size: int = 224,
        hflip: bool = True,
        seed: int = 0,
        maps: dict[str, Any] | None = None,
    ) -> None:
        """Prepare to sample.

        Args:
            databases: the labelled images.
            support_size, query_size, images_per_reference: see ``EpisodeSizes``.
            tasks_per_epoch: items in an epoch.
            resize, crop_size, hflip: see ``RandomCrop``.
            seed: of the episodes and crops.
            maps: crops are of the frozen stages' maps of the images, in float16:
                ``backbone`` and ``stages``, see ``FrozenMaps``.
        """
        whole_number('tasks_per_epoch', tasks_per_epoch)
        whole_number('seed', seed, minimum=0)
        self.rows = databases.rows
        self.sampler = EpisodeSampler(
            self.rows, EpisodeSizes(support_size, query_size, images_per_reference)
        )
        views = training_views(databases, resize, crop_size, hflip, maps)
        self.crop, self.pixels = views
        self.length = tasks_per_epoch
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitems__(
        self, indices: Sequence[int]
    ) -> list[dict[str, Tensor | str | int]]:
        """This rank's tasks of a mini-batch; the DataLoader calls it where it exists.

        Args:
            indices: of the whole mini-batch, the same on every rank.
        """
        return [
            self._task((self.seed, place, *indices)) | {'place': place}
            for place in range(self.rank, len(indices), self.ranks)
        ]

    def _task(self, seed: Sequence[int]) -> dict[str, Tensor | str | int]:
        episode = self.sampler.sample(seed)
        generator = np.random.default_rng([*seed, 1])
        item: dict[str, Tensor | str | int] = {'task': episode.task}
        for part, indices in (('support', episode.support), ('query', episode.query)):
            crops = [self.crop(self.pixels[index], generator) for index in indices]
            item[f'{part}_img'] = torch.stack(crops)
            item[f'{part}_mos'] = torch.from_numpy(self.rows.mos[indices][:, None])
        return item


class RankedDataset(_BatchDataset):
    """Groups of ranked images, from photos or from a database with references.

    An item is a dict of one group: ``img`` (versions, 3, crop, crop) uint8, ``rank``
    (versions,) float32, higher ranks above lower, ``type`` and ``photo`` its names. The
    loader's ``batch_size_per_gpu`` is the number of groups in a mini-batch. An epoch
    takes one sub-image of each image.
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
        whole_number('seed', seed, minimum=0)
        whole_number('versions', versions, minimum=0)
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
