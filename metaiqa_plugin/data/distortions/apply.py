"""The function that applies a distortion, or a chain of them."""

from __future__ import annotations

import difflib
from typing import TypeVar

import numpy as np
from PIL import Image

from metaiqa_plugin.errors import UserError

from .registry import DISTORTIONS, Distortion, checked_level

Picture = TypeVar('Picture', np.ndarray, Image.Image)

JOINT = '+'
_LONGEST_CHAIN = 3


def distort(
    image: Picture,
    distortion: str | Distortion,
    level: float,
    rng: int | np.random.Generator = 0,
) -> Picture:
    """A distorted copy of an image.

    Args:
        image: uint8 array of shape (H, W, 3), sRGB with R first, or PIL image of mode
            ``'RGB'``; at least 1x1. It is never modified.
        distortion: name of a type in :data:`DISTORTIONS`; or two or three such names
            joined by ``'+'``, applied in that order, all at the same level; or a
            :class:`Distortion` of your own.
        level: number from 1 (mildest, but see ``levels`` of mean_shift and
            contrast_change) to 5. Between two whole levels the parameter is
            interpolated linearly, see :meth:`Distortion.value_at`.
        rng: seed, or generator to draw from, which is advanced. Types without
            randomness ignore it. Each part of a chain has a generator of its own,
            seeded by a draw from this one. Global random state is neither read nor
            changed.

    Returns:
        same kind and size as ``image``. The same image, type, level and seed give the
        same pixels.

    Raises:
        TypeError: an argument is of a kind that is not listed above, such as float
            pixels.
        UserError: an unknown name, a chain of less than two or more than three parts
            or with one part twice, a level outside 1 to 5, a negative seed, an empty
            image, an array that is not (H, W, 3), a PIL image that is not ``'RGB'``.
    """
    pixels = _rgb_pixels(image)
    own = isinstance(distortion, Distortion)
    kinds = (distortion,) if own else chain_parts(distortion)
    level = checked_level(level)
    distorted = pixels.copy()
    for kind, generator in zip(kinds, _generators(rng, len(kinds)), strict=True):
        distorted = _applied(kind, distorted, level, generator)
    return Image.fromarray(distorted) if isinstance(image, Image.Image) else distorted


def chain_parts(name: str) -> tuple[Distortion, ...]:
    """The types that a name stands for: one, or the parts of a chain in order.

    Raises:
        TypeError: the name is not a str.
        UserError: an unknown name; a chain of less than two or more than three
            parts, or with one part twice.
    """
    if not isinstance(name, str):
        raise TypeError(
            'distortion must be a name from DISTORTIONS or a Distortion, got '
            f'{name!r} of type {type(name).__name__}'
        )
    names = name.split(JOINT)
    if JOINT in name and not all(names):
        raise UserError(
            f'distortion={name!r}: a chain needs a name on both sides of each '
            f'{JOINT!r}, as in {JOINT.join(("motion_blur", "jpeg"))!r}'
        )
    if len(names) > _LONGEST_CHAIN:
        raise UserError(
            f'distortion={name!r}: a chain has two or three parts, got {len(names)}'
        )
    kinds = tuple(_known(part) for part in names)
    if len(set(names)) < len(names):
        raise UserError(
            f'distortion={name!r}: the parts of a chain must differ; for more of one '
            'type take a higher level'
        )
    return kinds


def seed_key(distortion: str, level: float) -> tuple[int, ...]:
    """Whole numbers that tell this type or chain at this level from any other.

    To seed a generator with: ``np.random.default_rng((seed, *seed_key(name, level)))``.
    They are the numbers of the parts and then the level, or a thousand times the
    level, rounded, where it is not whole, so levels closer than that share a key.

    Raises:
        TypeError: the distortion is not a name or the level not a number.
        UserError: a wrong name, see :func:`chain_parts`, or a level outside 1 to 5.
    """
    level = checked_level(level)
    step = int(level) if level == int(level) else round(1000 * level)
    return (*(kind.number for kind in chain_parts(distortion)), step)


def _applied(
    kind: Distortion, pixels: np.ndarray, level: float, rng: np.random.Generator
) -> np.ndarray:
    distorted = kind.function(pixels, kind.value_at(level), rng)
    if distorted.shape != pixels.shape or distorted.dtype != np.uint8:
        raise RuntimeError(
            f'function of distortion {kind.name!r} must return uint8 of shape '
            f'{pixels.shape}, returned {distorted.dtype} of shape {distorted.shape}'
        )
    return distorted if distorted.flags.writeable else distorted.copy()


def _rgb_pixels(image: np.ndarray | Image.Image) -> np.ndarray:
    if isinstance(image, Image.Image) and image.mode != 'RGB':
        raise UserError(
            f"image must be of mode 'RGB', got a PIL image of {image.mode!r}; call "
            "image.convert('RGB') first"
        )
    if not isinstance(image, (Image.Image, np.ndarray)):
        raise TypeError(
            'image must be a uint8 numpy array (H, W, 3) or a PIL image, got '
            f'{type(image).__name__}; np.asarray or Image.open may make one of it'
        )
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise TypeError(
            f'image must be of dtype uint8, got {pixels.dtype}; scale the values to '
            '[0, 255] and call image.round().astype(np.uint8)'
        )
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UserError(
            f'image must be of shape (H, W, 3), got {pixels.shape}; repeat a gray '
            'image over three channels, drop alpha, put channels last'
        )
    if pixels.size == 0:
        raise UserError(
            f'image must not be empty, got shape {pixels.shape}; pass at least one '
            'pixel'
        )
    return pixels


def _known(name: str) -> Distortion:
    if name not in DISTORTIONS:
        close = difflib.get_close_matches(name.lower(), DISTORTIONS)
        names = f'close matches: {close}' if close else f'known: {list(DISTORTIONS)}'
        raise UserError(
            f'distortion must be a name from DISTORTIONS, got {name!r}; {names}'
        )
    return DISTORTIONS[name]


def _generators(
    rng: int | np.random.Generator, count: int
) -> list[np.random.Generator]:
    """The generator itself for one part; for more, one each, seeded from it."""
    if not isinstance(rng, np.random.Generator):
        if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
            raise TypeError(
                'rng must be an int seed or a numpy.random.Generator, got '
                f'{rng!r} of type {type(rng).__name__}'
            )
        if rng < 0:
            raise UserError(f'rng must be a seed of at least 0, got {rng!r}')
        rng = np.random.default_rng(rng)
    if count == 1:
        return [rng]
    return [np.random.default_rng(seed) for seed in rng.integers(2**63, size=count)]
