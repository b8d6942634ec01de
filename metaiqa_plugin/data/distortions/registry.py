"""The table of distortions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any

import numpy as np

from metaiqa_plugin.errors import UserError

from . import blur, brightness, color, compression, noise, sharpness, spatial

LEVELS = (1, 2, 3, 4, 5)
"""The levels that the databases have; `distort` takes what lies between, too."""

DistortionFunction = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


@dataclass(frozen=True, slots=True)
class Distortion:
    """One type of distortion at five levels.

    Attributes:
        number: of the type in KADID-10k, 1 to 25, or 100 more than in TID2013; other
            types take others.
        name: in lower case, by which :func:`distort` knows it.
        abbreviation: short name as in the paper of KADID-10k or of TID2013, but MSK
            for masked noise, whose MN is also that of multiplicative noise.
        family: ``'blur'``, ``'color'``, ``'compression'``, ``'noise'``,
            ``'brightness'``, ``'spatial'`` or ``'sharpness'``.
        parameter: what a parameter value means, with its unit.
        levels: the parameter values of levels 1 to 5.
        function: takes (image, parameter value, generator) and returns the distorted
            image. Images are uint8 RGB of shape (H, W, 3) with any H, W >= 1. The
            image it is given is its own to change; all randomness comes from the
            generator.
        whole: the function needs a whole number; between levels it gets the nearest.
    """

    number: int
    name: str
    abbreviation: str
    family: str
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
        """Parameter value at a level from 1 to 5.

        It is that of the table at a whole level and linear between two of them,
        rounded where the type is `whole`.

        Raises:
            TypeError: the level is not a number.
            UserError: it is outside 1 to 5.
        """
        value = between_levels(self.levels, level)
        return round(value) if self.whole else value


def between_levels(values: Sequence[float], level: float) -> float:
    """The value at `level` of a line through those at levels 1 to 5.

    At a whole level that is the value itself, of its own type.

    Raises:
        TypeError: the level is not a number.
        UserError: it is outside 1 to 5.
    """
    level = checked_level(level)
    below = math.floor(level)
    first = values[below - 1]
    if level == below:
        return first
    return first + (level - below) * (values[below] - first)


def checked_level(level: float) -> float:
    """The level, if it is a number from 1 to 5 and not a bool.

    Raises:
        TypeError: the level is not a number.
        UserError: it is outside 1 to 5.
    """
    if isinstance(level, (bool, np.bool_)) or not isinstance(level, Real):
        raise TypeError(
            f'level must be a number from 1 to 5, got {level!r} of type '
            f'{type(level).__name__}'
        )
    if not LEVELS[0] <= level <= LEVELS[-1]:
        raise UserError(f'level must be a number from 1 to 5, got {level!r}')
    return level


# TID2013 ships the PSNR of each of its images, over R, G and B (metrics_values/
# PSNRc.txt). Type by type they keep to the targets below within a few tenths of a dB.
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
        whole=True,
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
        whole=True,
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
        whole=True,
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
        whole=True,
    ),
    Distortion(
        number=23,
        name='color_block',
        abbreviation='CB',
        family='spatial',
        parameter='number of blocks',
        levels=(2, 4, 6, 8, 10),
        function=spatial.color_block,
        whole=True,
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
    Distortion(
        number=103,
        name='spatially_correlated_noise',
        abbreviation='SCN',
        family='noise',
        parameter='PSNR in dB',
        levels=(33, 30, 27, 24, 21),
        function=noise.spatially_correlated_noise,
    ),
    Distortion(
        number=104,
        name='masked_noise',
        abbreviation='MSK',
        family='noise',
        parameter='PSNR in dB',
        levels=(33, 30, 27, 24, 21),
        function=noise.masked_noise,
    ),
    Distortion(
        number=105,
        name='high_frequency_noise',
        abbreviation='HFN',
        family='noise',
        parameter='PSNR in dB',
        levels=(33, 30, 25, 20, 15),
        function=noise.high_frequency_noise,
    ),
    Distortion(
        number=121,
        name='noisy_compression',
        abbreviation='LCNI',
        family='compression',
        parameter='PSNR in dB',
        levels=(33, 30, 27, 24, 21),
        function=compression.noisy_compression,
    ),
    Distortion(
        number=123,
        name='chromatic_aberration',
        abbreviation='CHA',
        family='color',
        parameter='PSNR in dB',
        levels=(33, 28, 25, 23, 21),
        function=color.chromatic_aberration,
    ),
    Distortion(
        number=124,
        name='sparse_sampling',
        abbreviation='SSR',
        family='compression',
        parameter='PSNR in dB',
        levels=(33, 30, 27, 24, 21),
        function=compression.sparse_sampling,
    ),
)

DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {distortion.name: distortion for distortion in _TABLE}
)
"""Read-only mapping from name to `Distortion`: KADID-10k's 25, then TID2013's six."""

KADID10K = tuple(name for name, kind in DISTORTIONS.items() if kind.number <= 25)
"""Names of the 25 types of KADID-10k, in its order."""
