"""The table of distortions and the function that applies one of them."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from metaiqa_plugin.errors import UserError

from . import blur, brightness, color, compression, noise, sharpness, spatial

LEVELS = (1, 2, 3, 4, 5)
"""The levels that `distort` takes."""

Picture = TypeVar('Picture', np.ndarray, Image.Image)

DistortionFunction = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


@dataclass(frozen=True, slots=True)
class Distortion:
    """One type of distortion at five levels.

    Attributes:
        number: of the type in KADID-10k, 1 to 25; other types take others.
        name: in lower case, by which :func:`distort` knows it.
        abbreviation: short name as in the paper of KADID-10k.
        family: ``'blur'``, ``'color'``, ``'compression'``, ``'noise'``,
            ``'brightness'``, ``'spatial'`` or ``'sharpness'``.
        parameter: what a parameter value means, with its unit.
        levels: the parameter values of levels 1 to 5.
        function: takes (image, parameter value, generator) and returns the distorted
            image. Images are uint8 RGB of shape (H, W, 3) with any H, W >= 1. The
            image it is given is its own to change; all randomness comes from the
            generator.
    """

    number: int
    name: str
    abbreviation: str
    family: str
    parameter: str
    levels: tuple[float, ...]
    function: DistortionFunction

    def __post_init__(self) -> None:
        if len(self.levels) != len(LEVELS):
            raise UserError(
                f'levels of distortion {self.name!r} must hold {len(LEVELS)} '
                f'parameter values, one for each level, got {self.levels!r}'
            )


_TABLE = (
    Distortion(
        number=1,
        name='gaussian_blur',
        abbreviation='GB',
        family='blur',
        parameter='sigma in pixels',
        levels=(0.1, 0.5, 1, 2, 5),
        function=blur.gaussian_blur,
    ),
    Distortion(
        number=2,
        name='lens_blur',
        abbreviation='LB',
        family='blur',
        parameter='radius of the disk in pixels',
        levels=(1, 2, 4, 6, 8),
        function=blur.lens_blur,
    ),
    Distortion(
        number=3,
        name='motion_blur',
        abbreviation='MB',
        family='blur',
        parameter='length in pixels',
        levels=(1, 2, 4, 6, 10),
        function=blur.motion_blur,
    ),
    Distortion(
        number=4,
        name='color_diffusion',
        abbreviation='CD',
        family='color',
        parameter='amount: gain of blurred a and b in CIELAB',
        levels=(1, 3, 6, 8, 12),
        function=color.color_diffusion,
    ),
    Distortion(
        number=5,
        name='color_shift',
        abbreviation='CS',
        family='color',
        parameter='shift of the green channel in pixels',
        levels=(1, 3, 6, 8, 12),
        function=color.color_shift,
    ),
    Distortion(
        number=6,
        name='color_quantization',
        abbreviation='CQ',
        family='color',
        parameter='number of colours',
        levels=(64, 48, 32, 16, 8),
        function=color.color_quantization,
    ),
    Distortion(
        number=7,
        name='color_saturation_1',
        abbreviation='CSA1',
        family='color',
        parameter='factor on the saturation in HSV',
        levels=(0.4, 0.2, 0.1, 0, -0.4),
        function=color.color_saturation_1,
    ),
    Distortion(
        number=8,
        name='color_saturation_2',
        abbreviation='CSA2',
        family='color',
        parameter='factor on a and b in CIELAB',
        levels=(1, 2, 3, 6, 9),
        function=color.color_saturation_2,
    ),
    Distortion(
        number=9,
        name='jpeg2000',
        abbreviation='JP2K',
        family='compression',
        parameter='compression ratio',
        levels=(16, 32, 45, 120, 170),
        function=compression.jpeg2000,
    ),
    Distortion(
        number=10,
        name='jpeg',
        abbreviation='JPEG',
        family='compression',
        parameter='quality',
        levels=(43, 36, 24, 7, 4),
        function=compression.jpeg,
    ),
    Distortion(
        number=11,
        name='white_noise',
        abbreviation='WN',
        family='noise',
        parameter='variance in RGB on [0, 1]',
        levels=(0.001, 0.002, 0.003, 0.005, 0.01),
        function=noise.white_noise,
    ),
    Distortion(
        number=12,
        name='white_noise_color_component',
        abbreviation='WNCC',
        family='noise',
        parameter='variance in YCbCr on [0, 1]',
        levels=(0.0001, 0.0005, 0.001, 0.002, 0.003),
        function=noise.white_noise_color_component,
    ),
    Distortion(
        number=13,
        name='impulse_noise',
        abbreviation='IN',
        family='noise',
        parameter='density of salt and pepper on [0, 1]',
        levels=(0.001, 0.005, 0.01, 0.02, 0.03),
        function=noise.impulse_noise,
    ),
    Distortion(
        number=14,
        name='multiplicative_noise',
        abbreviation='MN',
        family='noise',
        parameter='variance of the speckle',
        levels=(0.001, 0.005, 0.01, 0.02, 0.05),
        function=noise.multiplicative_noise,
    ),
    Distortion(
        number=15,
        name='denoise',
        abbreviation='Denoise',
        family='noise',
        parameter='variance on [0, 1] of the noise that is then removed',
        levels=(0.001, 0.002, 0.003, 0.005, 0.01),
        function=noise.denoise,
    ),
    Distortion(
        number=16,
        name='brighten',
        abbreviation='Brighten',
        family='brightness',
        parameter='strength of the curve',
        levels=(0.1, 0.2, 0.4, 0.7, 1.1),
        function=brightness.brighten,
    ),
    Distortion(
        number=17,
        name='darken',
        abbreviation='Darken',
        family='brightness',
        parameter='strength of the curve',
        levels=(0.05, 0.1, 0.2, 0.4, 0.8),
        function=brightness.darken,
    ),
    Distortion(
        number=18,
        name='mean_shift',
        abbreviation='MS',
        family='brightness',
        parameter='offset on [0, 1]; the third level keeps the image',
        levels=(0.15, 0.08, 0, -0.08, -0.15),
        function=brightness.mean_shift,
    ),
    Distortion(
        number=19,
        name='jitter',
        abbreviation='Jitter',
        family='spatial',
        parameter='standard deviation of the displacement in pixels',
        levels=(0.05, 0.1, 0.2, 0.5, 1),
        function=spatial.jitter,
    ),
    Distortion(
        number=20,
        name='non_eccentricity_patch',
        abbreviation='NEP',
        family='spatial',
        parameter='number of displaced patches',
        levels=(20, 40, 60, 80, 100),
        function=spatial.non_eccentricity_patch,
    ),
    Distortion(
        number=21,
        name='pixelate',
        abbreviation='Pixelate',
        family='spatial',
        parameter='strength: the relative size is 0.95 - strength ** 0.6',
        levels=(0.01, 0.05, 0.1, 0.2, 0.5),
        function=spatial.pixelate,
    ),
    Distortion(
        number=22,
        name='quantization',
        abbreviation='Quantization',
        family='spatial',
        parameter='number of grey levels of each channel',
        levels=(20, 16, 13, 10, 7),
        function=spatial.quantization,
    ),
    Distortion(
        number=23,
        name='color_block',
        abbreviation='CB',
        family='spatial',
        parameter='number of blocks',
        levels=(2, 4, 6, 8, 10),
        function=spatial.color_block,
    ),
    Distortion(
        number=24,
        name='high_sharpen',
        abbreviation='HS',
        family='sharpness',
        parameter='amount of unsharp masking',
        levels=(1, 2, 3, 6, 12),
        function=sharpness.high_sharpen,
    ),
    Distortion(
        number=25,
        name='contrast_change',
        abbreviation='CC',
        family='sharpness',
        parameter='strength of the curve; positive raises the contrast',
        levels=(0.3, 0.15, 0, -0.4, -0.6),
        function=sharpness.contrast_change,
    ),
)

DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {distortion.name: distortion for distortion in _TABLE}
)
"""Read-only mapping from name to `Distortion`, in the order of KADID-10k."""


def distort(
    image: Picture,
    distortion: str | Distortion,
    level: int,
    rng: int | np.random.Generator = 0,
) -> Picture:
    """A distorted copy of an image.

    Args:
        image: uint8 array of shape (H, W, 3), sRGB with R first, or PIL image of mode
            ``'RGB'``; at least 1x1. It is never modified.
        distortion: name of one of the 25 types in :data:`DISTORTIONS`, or a
            :class:`Distortion` of your own.
        level: 1 (mildest, but see ``levels`` of mean_shift and contrast_change) to 5.
        rng: seed, or generator to draw from, which is advanced. Types without
            randomness ignore it. Global random state is neither read nor changed.

    Returns:
        same kind and size as ``image``. The same image, type, level and seed give the
        same pixels.

    Raises:
        TypeError: an argument is of a kind that is not listed above, such as float
            pixels.
        UserError: an unknown name, a level outside 1 to 5, a negative seed, an empty
            image, an array that is not (H, W, 3), a PIL image that is not ``'RGB'``.
    """
    pixels = _rgb_pixels(image)
    kind = _distortion(distortion)
    parameter = kind.levels[_level_index(level)]
    distorted = kind.function(pixels.copy(), parameter, _generator(rng))
    if distorted.shape != pixels.shape or distorted.dtype != np.uint8:
        raise RuntimeError(
            f'function of distortion {kind.name!r} must return uint8 of shape '
            f'{pixels.shape}, returned {distorted.dtype} of shape {distorted.shape}'
        )
    if isinstance(image, Image.Image):
        return Image.fromarray(distorted)
    return distorted if distorted.flags.writeable else distorted.copy()


def _rgb_pixels(image: np.ndarray | Image.Image) -> np.ndarray:
    if isinstance(image, Image.Image):
        if image.mode != 'RGB':
            raise UserError(
                f"image must be of mode 'RGB', got a PIL image of mode "
                f"{image.mode!r}; call image.convert('RGB') first"
            )
        pixels = np.asarray(image)
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise TypeError(
            'image must be a uint8 numpy array (H, W, 3) or a PIL image, got '
            f'{type(image).__name__}; np.asarray or Image.open may make one of it'
        )
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


def _distortion(distortion: str | Distortion) -> Distortion:
    if isinstance(distortion, Distortion):
        return distortion
    if not isinstance(distortion, str):
        raise TypeError(
            'distortion must be a name from DISTORTIONS or a Distortion, got '
            f'{distortion!r} of type {type(distortion).__name__}'
        )
    if distortion not in DISTORTIONS:
        close = difflib.get_close_matches(distortion.lower(), DISTORTIONS)
        names = f'close matches: {close}' if close else f'known: {list(DISTORTIONS)}'
        raise UserError(
            f'distortion must be a name from DISTORTIONS, got {distortion!r}; {names}'
        )
    return DISTORTIONS[distortion]


def _level_index(level: int) -> int:
    if isinstance(level, (bool, np.bool_)):
        raise TypeError(f'level must be an int from 1 to 5, got the bool {level!r}')
    try:
        number = operator.index(level)
    except TypeError:
        raise TypeError(
            f'level must be an int from 1 to 5, got {level!r} of type '
            f'{type(level).__name__}'
        ) from None
    if number not in LEVELS:
        raise UserError(f'level must be an int from 1 to 5, got {level!r}')
    return number - 1


def _generator(rng: int | np.random.Generator) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(
            'rng must be an int seed or a numpy.random.Generator, got '
            f'{rng!r} of type {type(rng).__name__}'
        )
    if rng < 0:
        raise UserError(f'rng must be a seed of at least 0, got {rng!r}')
    return np.random.default_rng(rng)
