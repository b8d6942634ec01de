"""The table of distortions, sets and chains of them, and how they are applied."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from metaiqa_plugin.errors import UserError

from . import color, compression, noise, spatial

LEVELS = (1, 2, 3, 4, 5)
"""The levels that the databases have; `distort` takes what lies between, too."""

DistortionFunction = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
Picture = TypeVar('Picture', np.ndarray, Image.Image)
JOINT = '+'
_LONGEST_CHAIN = 3


@dataclass(frozen=True, slots=True)
class Distortion:
    """One type of distortion at five levels.

    Attributes:
        number: of the type in KADID-10k, 1 to 25, or 100 more than in TID2013; other
            types take others.
        name: in lower case, by which :func:`distort` knows it.
        abbreviation: short name as in the paper of KADID-10k or of TID2013, but MSK
            for masked noise, whose MN is also that of multiplicative noise.
        parameter: what a parameter value means, with its unit.
        levels: the parameter values of levels 1 to 5.
        function: takes (image, parameter value, generator) and returns the distorted
            image. Images are uint8 RGB of shape (H, W, 3) with any H, W >= 1. The
            image it is given is its own to change; all randomness comes from the
            generator, which types without any ignore.
        whole: the function needs a whole number; between levels it gets the nearest.
    """

    number: int
    name: str
    abbreviation: str
    parameter: str
    levels: tuple[float, ...]
    function: DistortionFunction
    whole: bool = False

    def __post_init__(self) -> None:
        if len(self.levels) != len(LEVELS):
            raise UserError(
                f'levels of distortion {self.name!r} must hold {len(LEVELS)} '
                f'parameter values, one for each level, got {self.levels!r}'
            )

    def value_at(self, level: float) -> float:
        """Parameter at a level, see :func:`between_levels`; rounded if `whole`."""
        value = between_levels(self.levels, level)
        return round(value) if self.whole else value


def between_levels(values: Sequence[float], level: float) -> float:
    """The value at `level` of a line through those at levels 1 to 5.

    At a whole level that is the value itself, of its own type.

    Raises:
        UserError: the level is not a number from 1 to 5.
    """
    below = math.floor(_checked_level(level))
    first = values[below - 1]
    if level == below:
        return first
    return first + (level - below) * (values[below] - first)


def _checked_level(level: float) -> float:
    number = isinstance(level, Real) and not isinstance(level, (bool, np.bool_))
    if not number or not LEVELS[0] <= level <= LEVELS[-1]:
        raise UserError(f'level={level!r}: expected a number from 1 to 5')
    return level


# Number, abbreviation, function, whose name is that of the type, what its parameter is,
# the parameter at the five levels, and whether it is a whole number.
# TID2013 ships the PSNR of each of its images, over R, G and B (metrics_values/
# PSNRc.txt). Type by type they keep to the targets below within a few tenths of a dB.
# fmt: off
_ROWS = (
    (1, 'GB', spatial.gaussian_blur, 'sigma in pixels', (0.1, 0.5, 1, 2, 5)),
    (2, 'LB', spatial.lens_blur, 'radius of the disk in pixels', (1, 2, 4, 6, 8)),
    (3, 'MB', spatial.motion_blur, 'length in pixels', (1, 2, 4, 6, 10)),
    (4, 'CD', color.color_diffusion, 'amount: gain of blurred a and b in CIELAB',
     (1, 3, 6, 8, 12)),
    (5, 'CS', color.color_shift, 'shift of the green channel in pixels',
     (1, 3, 6, 8, 12)),
    (6, 'CQ', color.color_quantization, 'number of colours', (64, 48, 32, 16, 8), True),
    (7, 'CSA1', color.color_saturation_1, 'factor on the saturation in HSV',
     (0.4, 0.2, 0.1, 0, -0.4)),
    (8, 'CSA2', color.color_saturation_2, 'factor on a and b in CIELAB',
     (1, 2, 3, 6, 9)),
    (9, 'JP2K', compression.jpeg2000, 'compression ratio', (16, 32, 45, 120, 170)),
    (10, 'JPEG', compression.jpeg, 'quality', (43, 36, 24, 7, 4), True),
    (11, 'WN', noise.white_noise, 'variance in RGB on [0, 1]',
     (0.001, 0.002, 0.003, 0.005, 0.01)),
    (12, 'WNCC', noise.white_noise_color_component, 'variance in YCbCr on [0, 1]',
     (0.0001, 0.0005, 0.001, 0.002, 0.003)),
    (13, 'IN', noise.impulse_noise, 'density of salt and pepper on [0, 1]',
     (0.001, 0.005, 0.01, 0.02, 0.03)),
    (14, 'MN', noise.multiplicative_noise, 'variance of the speckle',
     (0.001, 0.005, 0.01, 0.02, 0.05)),
    (15, 'Denoise', noise.denoise,
     'variance on [0, 1] of the noise that is then removed',
     (0.001, 0.002, 0.003, 0.005, 0.01)),
    (16, 'Brighten', color.brighten, 'strength of the curve',
     (0.1, 0.2, 0.4, 0.7, 1.1)),
    (17, 'Darken', color.darken, 'strength of the curve', (0.05, 0.1, 0.2, 0.4, 0.8)),
    (18, 'MS', color.mean_shift, 'offset on [0, 1]; the third level keeps the image',
     (0.15, 0.08, 0, -0.08, -0.15)),
    (19, 'Jitter', spatial.jitter, 'standard deviation of the displacement in pixels',
     (0.05, 0.1, 0.2, 0.5, 1)),
    (20, 'NEP', spatial.non_eccentricity_patch, 'number of displaced patches',
     (20, 40, 60, 80, 100), True),
    (21, 'Pixelate', spatial.pixelate,
     'strength: the relative size is 0.95 - strength ** 0.6',
     (0.01, 0.05, 0.1, 0.2, 0.5)),
    (22, 'Quantization', spatial.quantization, 'number of grey levels of each channel',
     (20, 16, 13, 10, 7), True),
    (23, 'CB', spatial.color_block, 'number of blocks', (2, 4, 6, 8, 10), True),
    (24, 'HS', color.high_sharpen, 'amount of unsharp masking', (1, 2, 3, 6, 12)),
    (25, 'CC', color.contrast_change,
     'strength of the curve; positive raises the contrast', (0.3, 0.15, 0, -0.4, -0.6)),
    (103, 'SCN', noise.spatially_correlated_noise, 'PSNR in dB', (33, 30, 27, 24, 21)),
    (104, 'MSK', noise.masked_noise, 'PSNR in dB', (33, 30, 27, 24, 21)),
    (105, 'HFN', noise.high_frequency_noise, 'PSNR in dB', (33, 30, 25, 20, 15)),
    (121, 'LCNI', compression.noisy_compression, 'PSNR in dB', (33, 30, 27, 24, 21)),
    (123, 'CHA', color.chromatic_aberration, 'PSNR in dB', (33, 28, 25, 23, 21)),
    (124, 'SSR', compression.sparse_sampling, 'PSNR in dB', (33, 30, 27, 24, 21)),
)
# fmt: on


def _of_row(
    number: int,
    abbreviation: str,
    function: DistortionFunction,
    parameter: str,
    levels: tuple[float, ...],
    whole: bool = False,
) -> Distortion:
    name = function.__name__
    return Distortion(number, name, abbreviation, parameter, levels, function, whole)


DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {row[2].__name__: _of_row(*row) for row in _ROWS}
)
"""Read-only, from name to :class:`Distortion`: KADID-10k's 25, then TID2013's six."""

KADID10K = tuple(name for name, kind in DISTORTIONS.items() if kind.number <= 25)
"""Names of the 25 types of KADID-10k, in its order."""


def _numbered(names: str) -> Mapping[int, str]:
    """Names from 1 on; ``-`` is none."""
    every = enumerate(names.split(), start=1)
    return MappingProxyType({number: name for number, name in every if name != '-'})


TID2013_ABBREVIATIONS = _numbered(
    'AGN ANC SCN MN HFN IN QN GB DEN JPEG JP2K JGTE J2TE NEPN Block MS CTC CCS MGN CN '
    'LCNI ICQD CHA SSR'
)
"""TID2013's 24 types: number to abbreviation (Ponomarenko et al., 2015)."""

TID2013_TYPES = _numbered(
    'white_noise white_noise_color_component spatially_correlated_noise masked_noise '
    'high_frequency_noise impulse_noise quantization gaussian_blur denoise jpeg '
    'jpeg2000 - - non_eccentricity_patch color_block mean_shift contrast_change '
    'color_saturation_1 multiplicative_noise - noisy_compression color_quantization '
    'chromatic_aberration sparse_sampling'
)
"""TID2013's number to the name of the type here that does the same.

3, 4, 5, 21, 23 and 24 are at TID2013's levels. The others are KADID-10k's types, at its
levels. 18 is the first of KADID-10k's two, as it takes colour away, down to opposite
hues, where the second adds it. Transmission errors of JPEG (12) and JPEG 2000 (13) and
comfort noise (20) are left out: their parameters are not public.
"""

LIVE_TYPES: Mapping[str, str] = MappingProxyType(
    {'GB': 'gaussian_blur', 'GN': 'white_noise', 'JPEG': 'jpeg', 'JP2K': 'jpeg2000'}
)
"""Four of the five types of LIVE (Sheikh et al., 2006) to the names here.

Its fast fading, transmission errors of JPEG 2000, has none.
"""

COMPOSITES = (
    # a photo at night: too dark, amplified noise, stored by the phone
    'darken+white_noise+jpeg',
    # the same after the noise reduction of the phone, which removes texture, too
    'darken+denoise+jpeg',
    # a hand that shook
    'motion_blur+jpeg',
    # an autofocus that missed, indoors
    'lens_blur+white_noise+jpeg',
    # enlarged, then sharpened to make up for it
    'gaussian_blur+high_sharpen',
    # a thumbnail of the web, enlarged and stored again
    'pixelate+jpeg',
    # a vivid filter of a photo application
    'brighten+color_saturation_2+high_sharpen',
)
"""Chains as cameras and the web make them; `distort` takes any other, too."""


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
        UserError: an argument that is none of these.
    """
    pixels = distorted = _rgb_pixels(image)
    own = isinstance(distortion, Distortion)
    kinds = (distortion,) if own else chain_parts(distortion)
    for kind, generator in zip(kinds, _generators(rng, len(kinds)), strict=True):
        distorted = kind.function(distorted, kind.value_at(level), generator)
        if distorted.shape != pixels.shape or distorted.dtype != np.uint8:
            raise RuntimeError(
                f'function of distortion {kind.name!r} must return uint8 of shape '
                f'{pixels.shape}, returned {distorted.dtype} of shape {distorted.shape}'
            )
        if not distorted.flags.writeable:
            distorted = distorted.copy()
    return Image.fromarray(distorted) if isinstance(image, Image.Image) else distorted


def chain_parts(name: str) -> tuple[Distortion, ...]:
    """The types that a name stands for: one, or the parts of a chain in order.

    Raises:
        UserError: no known name; a chain of less than two or more than three parts, or
            with one part twice.
    """
    if not isinstance(name, str):
        raise UserError(
            f'distortion={name!r}: expected a name or a Distortion, not '
            f'{type(name).__name__}'
        )
    names = name.split(JOINT)
    if JOINT in name and not all(names):
        raise UserError(
            f'distortion={name!r}: a chain needs a name on both sides of each '
            f"{JOINT!r}, as in 'motion_blur{JOINT}jpeg'"
        )
    if len(names) > _LONGEST_CHAIN:
        raise UserError(
            f'distortion={name!r}: a chain has two or three parts, got {len(names)}'
        )
    for part in names:
        if part not in DISTORTIONS:
            close = difflib.get_close_matches(part.lower(), DISTORTIONS)
            known = f'close matches: {close}' if close else f'known: {[*DISTORTIONS]}'
            raise UserError(f'distortion={part!r}: no such type; {known}')
    if len(set(names)) < len(names):
        raise UserError(
            f'distortion={name!r}: the parts of a chain must differ; for more of one '
            'type take a higher level'
        )
    return tuple(DISTORTIONS[part] for part in names)


def seed_key(distortion: str, level: float) -> tuple[int, ...]:
    """Whole numbers that tell this type or chain at this level from any other.

    To seed a generator with: ``np.random.default_rng((seed, *seed_key(name, level)))``.
    They are the numbers of the parts and then the level, or a thousand times the
    level, rounded, where it is not whole, so levels closer than that share a key.

    Raises:
        UserError: a wrong name, see :func:`chain_parts`, or level.
    """
    whole = _checked_level(level) == int(level)
    step = int(level) if whole else round(1000 * level)
    return (*(kind.number for kind in chain_parts(distortion)), step)


def _rgb_pixels(image: np.ndarray | Image.Image) -> np.ndarray:
    """A copy of the pixels."""
    pixels = np.array(image, order='C')
    kind, right = type(image).__name__, pixels.dtype == np.uint8 and pixels.size
    if isinstance(image, Image.Image):
        kind, right = f'image of mode {image.mode!r}', image.mode == 'RGB' and right
    elif not isinstance(image, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3:
        right = False
    if not right:
        raise UserError(
            "image must be uint8 of shape (H, W, 3) or a PIL image of mode 'RGB', and "
            f'not empty; got {kind}, {pixels.dtype} of shape {pixels.shape}; '
            "image.convert('RGB') may make one of it"
        )
    return pixels


def _generators(
    rng: int | np.random.Generator, count: int
) -> list[np.random.Generator]:
    """The generator itself for one part; for more, one each, seeded from it."""
    if not isinstance(rng, np.random.Generator):
        whole = isinstance(rng, (int, np.integer)) and not isinstance(rng, bool)
        if not whole or rng < 0:
            raise UserError(
                f'rng must be a seed of at least 0 or a generator, got {rng!r}'
            )
        rng = np.random.default_rng(rng)
    if count == 1:
        return [rng]
    return [np.random.default_rng(seed) for seed in rng.integers(2**63, size=count)]
