"""Ranked images, of photos that are distorted or of a database, and their data set.

A *group* is the versions of one photo under one distortion type. Within it a milder
version ranks above a more severe one (RankIQA, ICCV 2017, Section 3.1); between groups
nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyiqa.utils import get_root_logger
from torch import Tensor

from metaiqa_plugin.data.crops import RandomCrop
from metaiqa_plugin.data.datasets import BlockDataset, DatasetImages
from metaiqa_plugin.data.distortions import (
    KADID10K,
    LEVELS,
    LIVE_TYPES,
    TID2013_TYPES,
    chain_parts,
)
from metaiqa_plugin.data.images import read_photo, walk_images
from metaiqa_plugin.data.rows import LabelledRows, group_rows
from metaiqa_plugin.data.versions import (
    PRISTINE_SEVERITY,
    at_working_size,
    severity,
    version_of,
)
from metaiqa_plugin.errors import UserError, one_of, whole_number

__all__ = ['PRESETS', 'DatabaseGroups', 'PhotoGroups', 'RankedDataset', 'preset_types']

NOT_MADE_OF_TID2013 = (3, 4, 12, 13, 20, 21, 24)
PRESETS = {
    'live': tuple(LIVE_TYPES.values()),
    'tid2013': tuple(
        name
        for number, name in TID2013_TYPES.items()
        if number not in NOT_MADE_OF_TID2013
    ),
    'kadid10k': KADID10K,
}
"""The types that the paper ranks for LIVE and for TID2013, and all of KADID-10k."""


def preset_types(names: Sequence[str]) -> tuple[str, ...]:
    """Types, of names of types, chains and presets; each once.

    Raises:
        UserError: an unknown name.
    """
    types: dict[str, None] = {}
    for name in names:
        if name in PRESETS:
            types.update(dict.fromkeys(PRESETS[name]))
            continue
        try:
            chain_parts(name)
        except UserError as error:
            raise UserError(f'{error}; or a preset: {", ".join(PRESETS)}') from error
        types[name] = None
    if not types:
        raise UserError('distortions=[]: name a type or a preset, such as live')
    return tuple(types)


class PhotoGroups:
    """Distorted versions of photos, made when they are asked for.

    Args:
        photos: folder of pristine photos, with its sub-folders.
        distortions: types, chains and presets.
        levels: of each, numbers from 1 to 5; at least two.
        pristine: whether the photo itself is in each group, ranked above all.
        max_side: pixels; longer photos are shrunk to it before they are distorted.
        seed: of the random part of the distortions.
    """

    def __init__(
        self,
        photos: str | os.PathLike,
        distortions: Sequence[str] = ('kadid10k',),
        levels: Sequence[float] = LEVELS,
        pristine: bool = False,
        max_side: int = 512,
        seed: int = 0,
    ) -> None:
        for name, given in (('distortions', distortions), ('levels', levels)):
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise UserError(f'{name}={given!r}: expected a list')
        if len(set(levels)) < len(levels) or len(levels) + pristine < 2:
            raise UserError(f'levels={list(levels)!r}: at least two, each once')
        whole_number('max_side', max_side, minimum=0)
        self.types = preset_types(distortions)
        self.levels = tuple(levels)
        self._ranks = {
            name: np.array(
                [-severity(name, level) for level in levels]
                + [-PRISTINE_SEVERITY] * pristine,
                np.float32,
            )
            for name in self.types
        }
        self._folder = Path(photos)
        self._photos = walk_images(photos, 'photos')
        self._max_side, self._seed = max_side, seed

    def __len__(self) -> int:
        """How many groups."""
        return len(self._photos) * len(self.types)

    def ranks(self, group: int) -> np.ndarray:
        """(V,) of its versions; a higher number ranks above a lower one."""
        return self._ranks[self.name(group)[1]]

    def pixels(self, group: int, version: int) -> np.ndarray:
        """(H, W, 3) uint8 of a version; raises UserError as ``read_photo``."""
        photo, kind = self.name(group)
        pixels = _photo(self._folder / photo, self._max_side)
        if version == len(self.levels):
            return pixels
        stem = os.path.splitext(photo)[0]
        return version_of(pixels, stem, kind, self.levels[version], self._seed)

    def name(self, group: int) -> tuple[str, str]:
        """Photo and type."""
        photo, place = divmod(group, len(self.types))
        return self._photos[photo], self.types[place]


@lru_cache(maxsize=4)
def _photo(path: Path, max_side: int) -> np.ndarray:
    """Its groups come one after the other."""
    return np.asarray(at_working_size(read_photo(path), max_side))


class DatabaseGroups:
    """The versions of each photo and type in a database, ranked by its labels.

    Its methods are those of :class:`PhotoGroups`.

    Those of a synthesised database are pseudo-MOS, which order the levels of a type;
    nothing else of them is used. Images of equal labels are not ranked.

    Args:
        rows: labelled images; those without a reference are in no group.
        pixels: of each row.

    Raises:
        UserError: no photo has two versions of one type.
    """

    def __init__(self, rows: LabelledRows, pixels: Sequence[np.ndarray]) -> None:
        groups = group_rows(rows)
        self._rows, self._pixels, self._order = rows, pixels, groups.order
        sizes = np.diff(groups.starts)
        chosen = np.flatnonzero(sizes > 1)
        if not len(chosen):
            raise UserError(
                f'{rows.sources[0]}: no photo has two versions of one type, so nothing '
                'can be ranked; the csv needs the columns distortion and ref_name'
            )
        self._starts, self._sizes = groups.starts[chosen], sizes[chosen]

    def __len__(self) -> int:
        return len(self._starts)

    def ranks(self, group: int) -> np.ndarray:
        start = self._starts[group]
        return self._rows.mos[self._order[start : start + self._sizes[group]]]

    def pixels(self, group: int, version: int) -> np.ndarray:
        return self._pixels[int(self._order[self._starts[group] + version])]

    def name(self, group: int) -> tuple[str, str]:
        row = self._rows[int(self._order[self._starts[group]])]
        return row.reference, row.task


class RankedDataset(BlockDataset):
    """Groups of ranked images, from photos or from a database with references.

    An item is a dict of one group: ``img`` (versions, 3, crop, crop) uint8, ``rank``
    (versions,) float32, higher ranks above lower, ``type`` and ``photo`` its names. The
    loader's ``batch_size_per_gpu`` is the number of groups in a mini-batch. An epoch
    takes one sub-image of each image.
    """

    items = 'groups'

    def images(
        self, block: dict[str, Any], own: dict[str, Any]
    ) -> DatasetImages | None:
        if own.get('photos') is None:
            return super().images(block, own)
        if block:
            raise UserError(
                f'dataset {self.opt.get("name")!r}: photos and {sorted(block)} exclude '
                'each other: images are made from photos, or are those of a database'
            )
        return None

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
        self.same_place, self.seed = same_place, seed
        if databases is None:
            self.groups = PhotoGroups(
                photos, distortions, levels, pristine, max_side, seed
            )
            if 3 * crop_size < max_side:
                get_root_logger().warning(
                    f'crop_size={crop_size} is less than a third of max_side='
                    f"{max_side}: the paper's sub-images show at least a third of a "
                    "photo's side"
                )
        else:
            self.groups = DatabaseGroups(databases.rows, databases.pixels(resize))
        smallest = min(len(self.groups.ranks(group)) for group in range(len(self)))
        if versions == 1 or versions > smallest:
            raise UserError(
                f'versions={versions}: expected 2 to {smallest}, the images of the '
                'smallest group; or 0 for all of them'
            )
        self.versions = versions or smallest

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
