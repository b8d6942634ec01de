"""The pyiqa dataset of meta-training: one item is one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils.data import Dataset

from metaiqa_plugin.data.crops import training_views
from metaiqa_plugin.data.database_block import (
    DatasetImages,
    require_batch,
    split_block,
)
from metaiqa_plugin.data.episodes import EpisodeSampler, EpisodeSizes
from metaiqa_plugin.errors import whole_number

__all__ = ['EpisodeDataset']


class EpisodeDataset(Dataset):
    """Episodes of labelled databases, built from a pyiqa dataset option block.

    An item is a dict of one task: ``support_img`` (support_size, 3, crop, crop)
    uint8, ``support_mos`` (support_size, 1) float32 in [0, 1], higher better,
    ``query_img`` and ``query_mos`` alike, ``task`` the name of the type, ``place`` its
    place among the k of the mini-batch. The loader's ``batch_size_per_gpu`` is the
    paper's k, however many ranks there are: each gets the tasks of its places.

    An episode is a function of the seed and of the mini-batch of indices it is asked
    for in. pyiqa shuffles the indices anew each epoch, so episodes differ from epoch
    to epoch, and they are the same whatever the number of workers. (pyiqa itself
    reseeds the workers' generators alike in every epoch.)

    Args:
        opt: the block; its keys are those of :class:`DatasetImages`, the arguments of
            :meth:`configure` and those of pyiqa's loader.

    Raises:
        UserError: an unknown key, or anything that reading or :meth:`configure`
            refuses.
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
            maps: crops are of what frozen stages make of the images, in float16:
                ``backbone`` and ``stages``, see ``FrozenMaps``.
        """
        whole_number('tasks_per_epoch', tasks_per_epoch)
        whole_number('seed', seed, least=0)
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

    def __getitem__(self, index: int) -> dict[str, Tensor | str | int]:
        return self.__getitems__([index])[0]

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
