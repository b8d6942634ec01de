"""The pyiqa dataset of meta-training: one item is one task."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from metaiqa_plugin.checks import whole_number
from metaiqa_plugin.data.crops import RandomCrop
from metaiqa_plugin.data.episodes import EpisodeSampler, EpisodeSizes, Row
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.tables import (
    normalise_mos,
    read_table,
    require_files,
    split_rows,
)
from metaiqa_plugin.errors import UserError

__all__ = ['EpisodeDataset', 'read_rows']

LOADER_OPTIONS = frozenset(
    {
        'name',
        'type',
        'phase',
        'scale',
        'use_shuffle',
        'num_worker_per_gpu',
        'batch_size_per_gpu',
        'dataset_enlarge_ratio',
        'prefetch_mode',
        'num_prefetch_queue',
        'pin_memory',
        'persistent_workers',
    }
)


class EpisodeDataset(Dataset):
    """Episodes of a labelled database, built from a pyiqa dataset option block.

    An item is a dict of one task: ``support_img`` (support_size, 3, crop, crop)
    uint8, ``support_mos`` (support_size, 1) float32 in [0, 1], higher better,
    ``query_img`` and ``query_mos`` alike, ``task`` the name of the type. The loader's
    ``batch_size_per_gpu`` is the paper's k.

    An episode is a function of the seed and of the mini-batch of indices it is asked
    for in. pyiqa shuffles the indices anew each epoch, so episodes differ from epoch
    to epoch, and they are the same whatever the number of workers. (pyiqa itself
    reseeds the workers' generators alike in every epoch.)

    Args:
        opt: the block; its keys are the arguments of :meth:`configure` and those of
            pyiqa's loader.

    Raises:
        UserError: an unknown key, or anything that :meth:`configure` refuses.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        own = {key: value for key, value in opt.items() if key not in LOADER_OPTIONS}
        known = set(inspect.signature(self.configure).parameters)
        unknown = sorted(set(own) - known)
        if unknown:
            raise UserError(
                f'dataset {opt.get("name")!r}: unknown option {unknown}; '
                f'EpisodeDataset knows {sorted(known)} and the loader '
                f'{sorted(LOADER_OPTIONS)}'
            )
        self.configure(**own)

    def configure(
        self,
        meta_info_file: str,
        dataroot_target: str,
        mos_range: Sequence[float] = (0, 1),
        lower_better: bool = False,
        split_index: int | str | None = None,
        exclude_distortions: Sequence[str] = (),
        keep_distortions: Sequence[str] = (),
        support_size: int = 16,
        query_size: int = 16,
        images_per_reference: int = 2,
        tasks_per_epoch: int = 100,
        resize: int = 256,
        crop_size: int = 224,
        hflip: bool = True,
        seed: int = 0,
    ) -> None:
        """Read the table and prepare to sample.

        Args:
            meta_info_file: csv whose first two columns are image name and MOS, with
                columns ``distortion`` (else all rows are one task) and ``ref_name``
                (else each image is its own reference).
            dataroot_target: folder of the images.
            mos_range, lower_better: scale and direction of the MOS.
            split_index: use the ``train`` rows of this split; None: all rows.
            exclude_distortions: types to leave out.
            keep_distortions: the only types to use, if any are named.
            support_size, query_size, images_per_reference: see ``EpisodeSizes``.
            tasks_per_epoch: items in an epoch.
            resize, crop_size, hflip: see ``RandomCrop``.
            seed: of the episodes and crops.
        """
        whole_number('tasks_per_epoch', tasks_per_epoch)
        whole_number('seed', seed, least=0)
        rows = read_rows(meta_info_file, mos_range, lower_better, split_index)
        rows = _selected(rows, keep_distortions, exclude_distortions, meta_info_file)
        require_files(dataroot_target, [row.image for row in rows], meta_info_file)
        self.rows = rows
        self.folder = Path(dataroot_target)
        self.sampler = EpisodeSampler(
            rows, EpisodeSizes(support_size, query_size, images_per_reference)
        )
        self.crop = RandomCrop(resize, crop_size, hflip)
        self.length = tasks_per_epoch
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor | str]]:
        """The tasks of one mini-batch; the DataLoader calls this where it exists."""
        return [
            self._task((self.seed, place, *indices)) for place in range(len(indices))
        ]

    def _task(self, seed: Sequence[int]) -> dict[str, Tensor | str]:
        episode = self.sampler.sample(seed)
        generator = np.random.default_rng([*seed, 1])
        item: dict[str, Tensor | str] = {'task': episode.task}
        for part, indices in (('support', episode.support), ('query', episode.query)):
            rows = [self.rows[index] for index in indices]
            crops = [
                self.crop(read_rgb(self.folder / row.image), generator) for row in rows
            ]
            item[f'{part}_img'] = torch.stack(crops)
            item[f'{part}_mos'] = torch.tensor([[row.mos] for row in rows]).float()
        return item


def read_rows(
    meta_info_file: str,
    mos_range: Sequence[float],
    lower_better: bool = False,
    split_index: int | str | None = None,
    phase: str = 'train',
) -> list[Row]:
    """Labelled rows of a ``meta_info`` csv, MOS normalised to [0, 1], higher better."""
    table = read_table(meta_info_file, 'meta_info_file')
    if table.shape[1] < 2:
        raise UserError(
            f'meta_info_file={meta_info_file!r} has one column; expected image name '
            'and MOS first'
        )
    table = split_rows(table, split_index, phase, meta_info_file)
    images = table.iloc[:, 0].tolist()
    mos = normalise_mos(
        table.iloc[:, 1].tolist(), images, mos_range, lower_better, meta_info_file
    )
    everything = ['all'] * len(table)
    tasks = table['distortion'].tolist() if 'distortion' in table else everything
    references = table['ref_name'].tolist() if 'ref_name' in table else images
    return [
        Row(*values)
        for values in zip(images, mos.tolist(), tasks, references, strict=True)
    ]


def _selected(
    rows: list[Row], keep: Sequence[str], exclude: Sequence[str], source: str
) -> list[Row]:
    known = {row.task for row in rows}
    for name, wanted in (
        ('keep_distortions', keep),
        ('exclude_distortions', exclude),
    ):
        unknown = sorted(set(wanted) - known)
        if unknown:
            raise UserError(
                f'{name}={unknown}: not in {source}, which has {sorted(known)}'
            )
    keep = set(keep) or known
    return [row for row in rows if row.task in keep and row.task not in set(exclude)]
