"""Noises: white, in colour components, impulse, multiplicative, and denoised."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ._arrays import to_uint8, to_unit

_YCBCR_EXCURSIONS = np.float32((219 / 255, 224 / 255, 224 / 255))
_DENOISE_TEMPLATE = 3
_DENOISE_SEARCH = 7
_DENOISE_STRENGTH = 3.0


def white_noise(
    image: np.ndarray, variance: float, rng: np.random.Generator
) -> np.ndarray:
    """Add Gaussian noise, independent in every sample of R, G and B.

    `variance` is on the [0, 1] scale.
    """
    return to_uint8(to_unit(image) + _gaussian(image.shape, variance, rng))


def white_noise_color_component(
    image: np.ndarray, variance: float, rng: np.random.Generator
) -> np.ndarray:
    """Add Gaussian noise, independent in every sample of Y, Cb and Cr.

    `variance` is on the [0, 1] scale of the studio-range YCbCr of ITU-R BT.601
    (Y on 16 to 235, Cb and Cr on 16 to 240 of 255). The conversion here is of full
    range, so the noise is widened by as much.
    """
    ycbcr = cv2.cvtColor(to_unit(image), cv2.COLOR_RGB2YCrCb)
    ycbcr += _gaussian(image.shape, variance, rng) / _YCBCR_EXCURSIONS
    return to_uint8(cv2.cvtColor(ycbcr, cv2.COLOR_YCrCb2RGB))


def impulse_noise(
    image: np.ndarray, density: float, rng: np.random.Generator
) -> np.ndarray:
    """Set samples of R, G and B to 0 or 255, each as likely: salt and pepper.

    `density` is the expected share of samples that are hit, on [0, 1]; channels
    are hit independently, so most specks are coloured.
    """
    draw = rng.random(image.shape, dtype=np.float32)
    noisy = image.copy()
    noisy[draw < density / 2] = 0
    noisy[draw > 1 - density / 2] = 255
    return noisy


def multiplicative_noise(
    image: np.ndarray, variance: float, rng: np.random.Generator
) -> np.ndarray:
    """Add Gaussian noise that is proportional to the sample: speckle.

    Each sample becomes sample * (1 + n) with n of zero mean and the given
    `variance`, independent in R, G and B.
    """
    return to_uint8(to_unit(image) * (1 + _gaussian(image.shape, variance, rng)))


def denoise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise, then remove it together with fine texture.

    `variance` is that of the added Gaussian noise on the [0, 1] scale. KADID-10k
    removed it by a learned denoiser, whose results its viewers rated low for being
    over-smooth. This is OpenCV's non-local means in CIELAB with a filter strength
    of three standard deviations of the noise, which smooths about as much: texture
    goes, strong edges stay.
    """
    noisy = white_noise(image, variance, rng)
    strength = _DENOISE_STRENGTH * 255 * math.sqrt(variance)
    return cv2.fastNlMeansDenoisingColored(
        noisy, None, strength, strength, _DENOISE_TEMPLATE, _DENOISE_SEARCH
    )


def _gaussian(
    shape: tuple[int, ...], variance: float, rng: np.random.Generator
) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(
        math.sqrt(variance)
    )
