"""Sampling episodes with learn2learn: one task is one distortion type.

Tasks are dealt as cards are, see :func:`dealt`; learn2learn would draw each by itself.
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
import math
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
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

__all__ = ['Episode', 'EpisodeDataset', 'EpisodeSampler', 'dealt']

INSTALL_LEARN2LEARN = (
    'pip install gym==0.26.2 requests tqdm scipy && PIP_USE_PEP517=1 pip install '
    '--no-deps learn2learn==0.2.0 --config-settings=--build-option=build_ext'
)


class Episode(NamedTuple):
    """Indices into the rows; the two sets share no reference."""

    task: str
    support: list[int]
    query: list[int]


class EpisodeSampler:
    """Draws episodes from labelled rows; its memory is three integers a row.

    Args:
        rows: the labelled images.
        support_size, query_size: images in either set of an episode.
        images_per_reference: of one reference photo in a set; both sizes must be
            multiples of it. Of tasks without reference photos it is 1.

    Raises:
        UserError: learn2learn is not installed; sizes that cannot be, or for which a
            task has too few references, or a reference too few images.

    A task with an image that has no reference is one of photos: its episodes have one
    image of a group.
    """

    def __init__(
        self,
        rows: LabelledRows,
        support_size: int,
        query_size: int,
        images_per_reference: int = 1,
    ) -> None:
        whole_number('images_per_reference', images_per_reference)
        for name, size in (('support_size', support_size), ('query_size', query_size)):
            whole_number(name, size)
            if size % images_per_reference:
                raise UserError(
                    f'{name}={size} is not a multiple of images_per_reference='
                    f'{images_per_reference}'
                )
        if not len(rows):
            raise UserError('no labelled image is left to sample episodes from')
        self._support = support_size
        self.tasks = list(rows.tasks)
        self._order, self._starts, first_groups = group_rows(rows)
        photos = set(rows.task_of[rows.reference_of < 0].tolist())
        groups_of = [range(*pair) for pair in itertools.pairwise(first_groups.tolist())]
        self._taken = [
            1 if task in photos else images_per_reference
            for task in range(len(self.tasks))
        ]
        self._needed = [(support_size + query_size) // taken for taken in self._taken]
        self._check_enough(groups_of)
        self._tasksets = self._learn2learn(groups_of)

    def sample(self, task: int, seed: Sequence[int]) -> Episode:
        """The episode that belongs to ``seed``: same seed, same episode, anywhere.

        Args:
            task: its place in ``tasks``.
            seed: whole numbers of at least 0.

        The global random states of Python and NumPy are left as they were.
        """
        with _python_seed(seed):
            places = [
                place
                for group in self._tasksets[task].sample()
                for place in random.sample(
                    range(*self._starts[group : group + 2].tolist()), self._taken[task]
                )
            ]
        images = self._order[places].tolist()
        size = self._support
        return Episode(self.tasks[task], images[:size], images[size:])

    def _check_enough(self, groups_of: Sequence[range]) -> None:
        sizes = np.diff(self._starts)
        for task, groups, needed, taken in zip(
            self.tasks, groups_of, self._needed, self._taken, strict=True
        ):
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

    def _learn2learn(self, groups_of: Sequence[range]) -> list:
        """A task set of each task, which draws numbers of groups."""
        try:
            import learn2learn as l2l
        except ImportError as error:
            raise UserError(
                f'meta-training needs learn2learn ({error}); install it with: '
                f'{INSTALL_LEARN2LEARN}'
            ) from error
        # indices_to_labels, which is not used, would be a dict of every group
        groups = l2l.data.MetaDataset(
            _Numbers(groups_of[-1].stop),
            indices_to_labels={None: None},
            labels_to_indices=dict(enumerate(groups_of)),
        )
        of_task = l2l.data.transforms.FusedNWaysKShots
        load = l2l.data.transforms.LoadData(groups)
        return [
            l2l.data.Taskset(
                groups,
                [of_task(groups, n=1, k=needed, filter_labels=[task]), load],
                task_collate=list,
            )
            for task, needed in enumerate(self._needed)
        ]


class _Numbers(Dataset):
    """Groups by number: images are read after an episode is drawn."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:
        return index


def dealt(place: int, tasks: int, size: int, seed: int) -> int:
    """Which task a place in the endless order of all draws has.

    Tasks come in rounds, each of them once in a round, in random order; a mini-batch of
    ``size`` places from a multiple of ``size`` on has no task more than once oftener
    than another. It is a function of the arguments alone.

    Args:
        place: from 0.
        tasks: how many there are.
        size: of a mini-batch, the paper's k.
        seed: of the order.
    """
    cycle, within = divmod(place, math.lcm(tasks, size))
    return _cycle(tasks, size, seed, cycle)[within]


@lru_cache(maxsize=4)
def _cycle(tasks: int, size: int, seed: int, number: int) -> list[int]:
    """Whole rounds that are whole mini-batches."""
    generator = np.random.default_rng([seed, number])
    order: list[int] = []
    while len(order) < math.lcm(tasks, size):
        begun = order[len(order) - len(order) % size :]
        order += sorted(generator.permutation(tasks).tolist(), key=begun.count)
    return order


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

    Which task an index has, of any number, is :func:`dealt`. ``metaiqa train`` counts
    on from epoch to epoch; pyiqa's own trainer shuffles the indices of an epoch.
    """

    items = 'tasks'
    endless = True

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
            support_size, query_size, images_per_reference: see ``EpisodeSampler``.
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
            self.rows, support_size, query_size, images_per_reference
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
        size, tasks = self.opt.get('batch_size_per_gpu', 1), len(self.sampler.tasks)
        return [
            self._item(
                dealt(indices[place], tasks, size, self.seed),
                (self.seed, place, *indices),
            )
            | {'place': place}
            for place in range(self.rank, len(indices), self.ranks)
        ]

    def _item(self, task: int, seed: Sequence[int]) -> dict[str, Tensor | str | int]:
        episode = self.sampler.sample(task, seed)
        generator = np.random.default_rng([*seed, 1])
        item: dict[str, Tensor | str | int] = {'task': episode.task}
        for part, indices in (('support', episode.support), ('query', episode.query)):
            crops = [self.crop(self.pixels[index], generator) for index in indices]
            item[f'{part}_img'] = torch.stack(crops)
            item[f'{part}_mos'] = torch.from_numpy(self.rows.mos[indices][:, None])
        return item
