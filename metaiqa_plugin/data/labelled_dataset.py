"""The pyiqa dataset of adaptation and of joint training: one item is one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from metaiqa_plugin.data.crops import as_input, training_views
from metaiqa_plugin.data.database_block import (
    DatasetImages,
    require_batch,
    split_block,
)
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import one_of, whole_number

__all__ = ['LabelledDataset']

PARTS = ('train', 'val', 'test')


class LabelledDataset(Dataset):
    """Labelled images of any database, for pyiqa's ``GeneralIQAModel``.

    An item is a dict: ``img`` (3, H, W) float32 in [0, 1], ``mos_label`` (1,) float32
    in [0, 1], higher better, ``img_path``. In training ``img`` is a random crop, or one
    of the maps of frozen stages; in validation it is the whole image as pyiqa reads it.

    A crop is a function of the seed and of the mini-batch of indices it is asked for
    in, so crops differ from epoch to epoch and do not depend on the workers.

    Args:
        opt: the block; its keys are those of :class:`DatasetImages`, the arguments of
            :meth:`configure` and those of pyiqa's loader.

    Raises:
        UserError: an unknown key, or anything that reading or :meth:`configure`
            refuses.
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
            maps: in training, ``img`` is a crop of what frozen stages make of the
                image: ``backbone`` and ``stages``, see ``FrozenMaps``.
        """
        whole_number('seed', seed, least=0)
        self.rows = databases.rows
        self.seed = seed
        if self.training:
            views = training_views(databases, resize, crop_size, hflip, maps)
            self.crop, self.pixels = views
        else:
            self.pixels = databases.files(resize)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        return self.__getitems__([index])[0]

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
