"""Where ranked images come from: photos that are distorted, or a database.

A *group* is the versions of one photo under one distortion type. Within it a milder
version ranks above a more severe one (RankIQA, ICCV 2017, Section 3.1); between groups
nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

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
from metaiqa_plugin.errors import UserError, whole_number

__all__ = [
    'PRESETS',
    'DatabaseGroups',
    'PhotoGroups',
    'preset_types',
]

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
        except TypeError as error:
            raise UserError(f'distortions={list(names)!r}: {error}') from error
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

    Raises:
        UserError: a bad argument, or no photo.
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
        if isinstance(distortions, str) or not isinstance(distortions, Sequence):
            raise UserError(f'distortions={distortions!r}: expected a list of names')
        if isinstance(levels, str) or not isinstance(levels, Sequence):
            raise UserError(f'levels={levels!r}: expected a list of numbers')
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
        """(H, W, 3) uint8 of a version.

        Raises:
            UserError: its photo cannot be read.
        """
        photo, place = divmod(group, len(self.types))
        pixels = _photo(self._folder / self._photos[photo], self._max_side)
        if version == len(self.levels):
            return pixels
        name, level = self.types[place], self.levels[version]
        stem = os.path.splitext(self._photos[photo])[0]
        return version_of(pixels, stem, name, level, self._seed)

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
