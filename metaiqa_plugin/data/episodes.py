"""Sampling episodes with learn2learn: one task is one distortion type.

A *group* is the versions of one reference photo under one type. learn2learn draws
groups of one type; each group goes to the support or to the query set as a whole, so
the two never share a reference. Images without a reference are a group each.

A task may also be photos as cameras took them, such as a subset of a database. Nothing
is a version of anything there, so an episode has one photo of a group: of a burst, if
``reference_column`` names the bursts. Tasks of both kinds may lie side by side.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils.data import Dataset

from metaiqa_plugin.data.crops import training_views
from metaiqa_plugin.data.datasets import BlockDataset, DatasetImages
from metaiqa_plugin.data.rows import LabelledRows, group_rows
from metaiqa_plugin.errors import UserError, whole_number

__all__ = ['Episode', 'EpisodeDataset', 'EpisodeSampler', 'EpisodeSizes']

INSTALL_LEARN2LEARN = (
    'pip install gym==0.26.2 requests tqdm scipy && PIP_USE_PEP517=1 pip install '
    '--no-deps learn2learn==0.2.0 --config-settings=--build-option=build_ext'
)


class Episode(NamedTuple):
    """Indices into the rows; the two sets share no reference."""

    task: str
    support: list[int]
    query: list[int]


@dataclass(frozen=True)
class EpisodeSizes:
    """Images in an episode.

    Attributes:
        support: images in the support set.
        query: images in the query set.
        per_reference: images of one reference photo in a set; both sizes must be
            multiples of it. Of tasks without reference photos it is 1.
    """

    support: int
    query: int
    per_reference: int = 1

    def __post_init__(self) -> None:
        for name in ('support', 'query', 'per_reference'):
            whole_number(name, getattr(self, name))
        for name in ('support', 'query'):
            if getattr(self, name) % self.per_reference:
                raise UserError(
                    f'{name}={getattr(self, name)} is not a multiple of '
                    f'per_reference={self.per_reference}'
                )


class EpisodeSampler:
    """Draws episodes from labelled rows; its memory is three integers a row.

    Args:
        rows: the labelled images.
        sizes: of the episodes.

    Raises:
        UserError: learn2learn is not installed, or a task has too few references
            (or a reference too few images) for the sizes; names the task.

    A task with an image that has no reference is one of photos: its episodes have one
    image of a group, whatever ``per_reference`` is.
    """

    def __init__(self, rows: LabelledRows, sizes: EpisodeSizes) -> None:
        if not len(rows):
            raise UserError('no labelled image is left to sample episodes from')
        self.sizes = sizes
        self.tasks = list(rows.tasks)
        self._task_of = rows.task_of
        self._order, self._starts, first_groups = group_rows(rows)
        photos = set(rows.task_of[rows.reference_of < 0].tolist())
        kinds: dict[int, dict[str, range]] = {}
        for code, pair in enumerate(itertools.pairwise(first_groups.tolist())):
            taken = 1 if code in photos else sizes.per_reference
            kinds.setdefault(taken, {})[self.tasks[code]] = range(*pair)
        for taken, groups_of in kinds.items():
            self._check_enough(groups_of, taken)
        self._kinds = [
            (taken, self._taskset(groups_of, taken))
            for taken, groups_of in kinds.items()
        ]
        self._weights = [len(groups_of) for groups_of in kinds.values()]

    def sample(self, seed: Sequence[int]) -> Episode:
        """The episode that belongs to ``seed``: same seed, same episode, anywhere.

        Args:
            seed: whole numbers of at least 0.

        The global random states of Python and NumPy are left as they were.
        """
        with _python_seed(seed):
            taken, taskset = self._kinds[0]
            if len(self._kinds) > 1:
                [(taken, taskset)] = random.choices(self._kinds, self._weights)
            groups = taskset.sample()
            starts = self._starts[groups].tolist()
            ends = self._starts[[group + 1 for group in groups]].tolist()
            places = [
                place
                for start, end in zip(starts, ends, strict=True)
                for place in random.sample(range(start, end), taken)
            ]
        images = self._order[places].tolist()
        task = self.tasks[self._task_of[images[0]]]
        return Episode(task, images[: self.sizes.support], images[self.sizes.support :])

    def _check_enough(self, groups_of: dict[str, range], taken: int) -> None:
        sizes = np.diff(self._starts)
        needed = self._groups(taken)
        for task, groups in groups_of.items():
            if len(groups) < needed:
                raise UserError(
                    f'task {task!r} has {len(groups)} references, an episode needs '
                    f'{needed}; make support_size and query_size smaller '
                    'or images_per_reference larger'
                )
            smallest = int(sizes[groups.start : groups.stop].min())
            if smallest < taken:
                raise UserError(
                    f'images_per_reference={taken}: task {task!r} '
                    f'has a reference with {smallest} images'
                )

    def _groups(self, taken: int) -> int:
        """Groups in an episode that takes so many images of each."""
        return (self.sizes.support + self.sizes.query) // taken

    def _taskset(self, groups_of: dict[str, range], taken: int):
        try:
            import learn2learn as l2l
        except ImportError as error:
            raise UserError(
                f'meta-training needs learn2learn ({error}); install it with: '
                f'{INSTALL_LEARN2LEARN}'
            ) from error
        numbers = np.concatenate(
            [np.arange(g.start, g.stop) for g in groups_of.values()]
        )
        ends = np.cumsum([len(groups) for groups in groups_of.values()]).tolist()
        places = map(range, [0, *ends], ends)
        # indices_to_labels, which is not used, would be a dict of every group
        groups = l2l.data.MetaDataset(
            _Numbers(numbers.astype(np.int32)),
            indices_to_labels={None: None},
            labels_to_indices=dict(zip(groups_of, places, strict=False)),
        )
        transforms = l2l.data.transforms
        return l2l.data.Taskset(
            groups,
            task_transforms=[
                transforms.FusedNWaysKShots(groups, n=1, k=self._groups(taken)),
                transforms.LoadData(groups),
            ],
            num_tasks=-1,
            task_collate=list,
        )


class _Numbers(Dataset):
    """Groups of some tasks, by number: images are read after an episode is drawn."""

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> int:
        return int(self._numbers[index])


@contextlib.contextmanager
def _python_seed(seed: Sequence[int]) -> Iterator[None]:
    """learn2learn draws from Python's global generator."""
    whole = 1
    for part in seed:
        whole = (whole << 64) | int(part)
    before = random.getstate()
    random.seed(whole)
    try:
        yield
    finally:
        random.setstate(before)


class EpisodeDataset(BlockDataset):
    """Episodes of labelled databases, built from a pyiqa dataset option block.

    An item is a dict of one task: ``support_img`` (support_size, 3, crop, crop)
    uint8, ``support_mos`` (support_size, 1) float32 in [0, 1], higher better,
    ``query_img`` and ``query_mos`` alike, ``task`` the name of the type, ``place`` its
    place among the k of the mini-batch. The loader's ``batch_size_per_gpu`` is the
    paper's k, however many ranks there are: each gets the tasks of its places.
    """

    items = 'tasks'

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
        started = dist.is_initialized()
        self.rank = dist.get_rank() if started else 0
        self.ranks = dist.get_world_size() if started else 1
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
