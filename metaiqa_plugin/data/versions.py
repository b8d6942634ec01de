"""Versions of a pristine photo: how they are made, and what people said of such.

The same photo, type, level and seed give the same pixels wherever a version is made.

Pseudo-MOS is the mean MOS of each (type, level) of KADID-10k, over its 81 photos, and
of TID2013, over its 25. The tables explain 89% and 86% of the variance of the MOS of
those databases; what the photo itself does to the judgement is not in them. It is not
an opinion about the image it labels, hence the name.

All is on KADID-10k's scale from 1 (bad) to 5 (excellent). For the six types that only
TID2013 has, its MOS on [0, 9] is mapped by the declared ranges, ``mos / 9 * 4 + 1``, as
MetaIQA's authors bring databases to one scale (Zhu et al., CVPR 2020). The people and
the task were others, so a TID2013 type looks worse here than a KADID-10k type that is
as visible: TID2013's mildest levels come to 3.7, KADID-10k's to 4.6.

The rest is assumption, not opinion: between two levels the pseudo-MOS is linear, and a
chain of distortions takes the product rule, see :func:`pseudo_mos`.

Sources: Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially Distorted IQA
Database", QoMEX 2019. Ponomarenko et al., "Image database TID2013: Peculiarities,
results and perspectives", Signal Processing: Image Communication 30, 2015.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib import resources
from math import prod
from zlib import crc32

import numpy as np
from PIL import Image

from metaiqa_plugin.data.distortions import (
    DISTORTIONS,
    KADID10K,
    LEVELS,
    TID2013_TYPES,
    between_levels,
    chain_parts,
    distort,
    seed_key,
)

__all__ = [
    'PRISTINE_MOS',
    'PRISTINE_SEVERITY',
    'PSEUDO_MOS_RANGE',
    'at_working_size',
    'pseudo_mos',
    'severity',
    'version_of',
]

PSEUDO_MOS_RANGE = (1.0, 5.0)
PRISTINE_MOS = 4.603
"""KADID-10k's mean MOS of level 3 of mean_shift, which keeps the image as it is."""

PRISTINE_SEVERITY = 0.0
BOTH_WAYS = frozenset({'mean_shift', 'contrast_change'})
TID2013_TOP = 9.0


def at_working_size(photo: Image.Image, max_side: int) -> Image.Image:
    """The photo, shrunk to a longer side of ``max_side`` pixels; 0 keeps it."""
    longer = max(photo.size)
    if not max_side or longer <= max_side:
        return photo
    size = tuple(max(1, round(side * max_side / longer)) for side in photo.size)
    return photo.resize(size, Image.Resampling.LANCZOS)


def version_of(
    pixels: np.ndarray, photo: str, distortion: str, level: float, seed: int
) -> np.ndarray:
    """A distorted version of a photo.

    Args:
        pixels: (H, W, 3) uint8, of the photo at its working size.
        photo: its name below its folder, without suffix; the random part of a
            distortion depends on it.
        distortion, level: see ``distort``.
        seed: of the random part.
    """
    key = (
        seed,
        crc32(photo.encode('utf-8', 'surrogateescape')),
        *seed_key(distortion, level),
    )
    return distort(pixels, distortion, level, np.random.default_rng(key))


def pseudo_mos(distortion: str, level: float) -> float:
    """Mean MOS of a distortion type at a level, 1 to 5, higher better.

    At the levels 1, 2, 3, 4 and 5 of a single type it is that of the table, and
    between them linear. For a chain (``'motion_blur+jpeg'``) it is, with m the
    pseudo-MOS of each part and P = :data:`PRISTINE_MOS`::

        1 + (P - 1) * product of min(1, (m - 1) / (P - 1))

    so each part leaves the same share of the quality, whatever came before. It is
    never above that of the worst part. That it is near people's opinion is an
    assumption: the databases have no chains.

    Args:
        distortion: name of a type in ``DISTORTIONS``, or a chain of two or three
            joined by ``'+'``.
        level: number from 1 to 5.

    Raises:
        UserError: no such distortion type, chain or level.
    """
    kinds = chain_parts(distortion)
    parts = [between_levels(_table()[kind.name], level) for kind in kinds]
    if len(parts) == 1:
        return parts[0]
    lowest = PSEUDO_MOS_RANGE[0]
    span = PRISTINE_MOS - lowest
    left = prod(min(1, (mos - lowest) / span) for mos in parts)
    return min(*parts, lowest + span * left)


def severity(distortion: str, level: float) -> float:
    """How severe a level is among the levels of its type; higher is worse.

    It is the level. Only where levels go from one direction through no change to the
    other (``BOTH_WAYS``) is a level no severity: there it is what people
    liked the version less by, by its pseudo-MOS, and 0 where nothing is changed. Of
    different types it cannot be compared.

    Raises:
        UserError: no such distortion type, chain or level.
    """
    mos = pseudo_mos(distortion, level)
    parts = chain_parts(distortion)
    if not any(kind.name in BOTH_WAYS for kind in parts):
        return float(level)
    if len(parts) == 1 and parts[0].value_at(level) == 0:
        return PRISTINE_SEVERITY
    return PRISTINE_MOS - mos


@lru_cache
def _table() -> dict[str, tuple[float, ...]]:
    """The pseudo-MOS of the five levels by type name."""
    cells = {}
    for row in _facts('kadid10k_mos_by_type_and_level.csv'):
        cells[row['distortion'], int(row['level'])] = float(row['mean_mos'])
    low, high = PSEUDO_MOS_RANGE
    for row in _facts('tid2013_mos_by_type_and_level.csv'):
        name = TID2013_TYPES.get(int(row['type']))
        if name and name not in KADID10K:
            share = float(row['mean_mos']) / TID2013_TOP
            cells[name, int(row['level'])] = low + share * (high - low)
    return {name: tuple(cells[name, level] for level in LEVELS) for name in DISTORTIONS}


def _facts(name: str) -> list[dict[str, str]]:
    source = resources.files(__package__) / 'facts' / name
    return list(csv.DictReader(source.read_text(encoding='utf-8').splitlines()))
