"""Versions of a pristine photo: alike wherever they are made, and which is milder."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from PIL import Image

from metaiqa_plugin.data.distortions import chain_parts, distort, seed_key
from metaiqa_plugin.data.pseudo_mos import PRISTINE_MOS, pseudo_mos

__all__ = ['PRISTINE_SEVERITY', 'at_working_size', 'severity', 'version_of']

PRISTINE_SEVERITY = 0.0
BOTH_WAYS = frozenset({'mean_shift', 'contrast_change'})


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
    key = (seed, crc32(photo.encode()), *seed_key(distortion, level))
    return distort(pixels, distortion, level, np.random.default_rng(key))


def severity(distortion: str, level: float) -> float:
    """How severe a level is among the levels of its type; higher is worse.

    It is the level. Only where levels go from one direction through no change to the
    other (``BOTH_WAYS``) is a level no severity: there it is what people
    liked the version less by, by its pseudo-MOS, and 0 where nothing is changed. Of
    different types it can not be compared.

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
