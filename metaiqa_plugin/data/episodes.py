"""Sampling episodes with learn2learn: one task is one distortion type.

A *group* is the versions of one reference photo under one type. learn2learn draws
groups of one type; each group goes to the support or to the query set as a whole, so
the two never share a reference. Databases without references have one image a group.
"""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from metaiqa_plugin.checks import whole_number
from metaiqa_plugin.errors import UserError

__all__ = ['INSTALL_LEARN2LEARN', 'Episode', 'EpisodeSampler', 'EpisodeSizes', 'Row']

INSTALL_LEARN2LEARN = (
    'pip install gym==0.26.2 requests tqdm scipy && PIP_USE_PEP517=1 pip install '
    '--no-deps learn2learn==0.2.0 --config-settings=--build-option=build_ext'
)


class Row(NamedTuple):
    """One labelled image of a database."""

    image: str
    mos: float
    task: str
    reference: str


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
            multiples of it.
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
                    f'{name}={getattr(self, name)} is no multiple of '
                    f'per_reference={self.per_reference}'
                )


class EpisodeSampler:
    """Draws episodes from labelled rows.

    Args:
        rows: the labelled images.
        sizes: of the episodes.

    Raises:
        UserError: learn2learn is not installed, or a task has too few references
            (or a reference too few images) for the sizes; names the task.
    """

    def __init__(self, rows: Sequence[Row], sizes: EpisodeSizes) -> None:
        self.sizes = sizes
        grouped: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            grouped[row.task, row.reference].append(index)
        if not grouped:
            raise UserError('no labelled image is left to sample episodes from')
        keys = sorted(grouped)
        self._groups = [grouped[key] for key in keys]
        self._task_of_group = [task for task, _ in keys]
        self.tasks = sorted(set(self._task_of_group))
        self._check_enough()
        self._taskset = self._build_taskset()

    def sample(self, seed: Sequence[int]) -> Episode:
        """The episode that belongs to ``seed``: same seed, same episode, anywhere.

        The global random states of Python and NumPy are left as they were.
        """
        generator = np.random.default_rng(list(seed))
        with _python_seed(int(generator.integers(2**63))):
            groups = self._taskset.sample()
        images = [
            index
            for group in groups
            for index in generator.choice(
                self._groups[group], self.sizes.per_reference, replace=False
            ).tolist()
        ]
        task = self._task_of_group[groups[0]]
        return Episode(task, images[: self.sizes.support], images[self.sizes.support :])

    @property
    def _groups_per_episode(self) -> int:
        return (self.sizes.support + self.sizes.query) // self.sizes.per_reference

    def _check_enough(self) -> None:
        needed = self._groups_per_episode
        for task in self.tasks:
            members = [
                group
                for group, name in zip(self._groups, self._task_of_group, strict=True)
                if name == task
            ]
            if len(members) < needed:
                raise UserError(
                    f'task {task!r} has {len(members)} references, an episode needs '
                    f'{needed}; make support_size and query_size smaller or '
                    'images_per_reference larger'
                )
            if min(map(len, members)) < self.sizes.per_reference:
                raise UserError(
                    f'images_per_reference={self.sizes.per_reference}: task {task!r} '
                    f'has a reference with {min(map(len, members))} images'
                )

    def _build_taskset(self):
        try:
            import learn2learn as l2l
        except ImportError as error:
            raise UserError(
                f'meta-training needs learn2learn ({error}); install it with: '
                f'{INSTALL_LEARN2LEARN}'
            ) from error
        labels = dict(enumerate(self._task_of_group))
        by_task = defaultdict(list)
        for index, label in labels.items():
            by_task[label].append(index)
        groups = l2l.data.MetaDataset(
            _Indices(len(labels)),
            indices_to_labels=labels,
            labels_to_indices=dict(by_task),
        )
        return l2l.data.Taskset(
            groups,
            task_transforms=[
                l2l.data.transforms.FusedNWaysKShots(
                    groups, n=1, k=self._groups_per_episode
                ),
                l2l.data.transforms.LoadData(groups),
            ],
            num_tasks=-1,
            task_collate=list,
        )


class _Indices(Dataset):
    """Items are their own indices: images are read after an episode is drawn."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> int:
        return index


@contextlib.contextmanager
def _python_seed(seed: int) -> Iterator[None]:
    """learn2learn draws from Python's global generator."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
