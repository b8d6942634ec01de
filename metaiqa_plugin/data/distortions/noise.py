"""Noises: white, coloured, impulse, multiplicative, masked, and denoised."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy import fft

from .shared import BORDER, add_at_psnr, to_uint8, to_unit

_YCBCR_EXCURSIONS = np.float32((219 / 255, 224 / 255, 224 / 255))
_DENOISE_TEMPLATE = 3
_DENOISE_SEARCH = 7
_DENOISE_STRENGTH = 3.0
_GRAIN = (3, 3)
_HIGH_FREQUENCIES = 0.25
_BLOCK = 8
_MASKING_FLOOR = 1.0
_JPEG_LUMINANCE = np.float32(
    (
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    )
)


def white_noise(image: ndarray, variance: float, rng: Generator) -> ndarray:
    """Add Gaussian noise, independent in every sample of R, G and B.

    `variance` is on the [0, 1] scale.
    """
    return to_uint8(to_unit(image) + _gaussian(image.shape, variance, rng))


def white_noise_color_component(
    image: ndarray, variance: float, rng: Generator
) -> ndarray:
    """Add Gaussian noise, independent in every sample of Y, Cb and Cr.

    `variance` is on the [0, 1] scale of the studio-range YCbCr of ITU-R BT.601
    (Y on 16 to 235, Cb and Cr on 16 to 240 of 255). The conversion here is of full
    range, so the noise is widened by as much.
    """
    ycbcr = cv2.cvtColor(to_unit(image), cv2.COLOR_RGB2YCrCb)
    ycbcr += _gaussian(image.shape, variance, rng) / _YCBCR_EXCURSIONS
    return to_uint8(cv2.cvtColor(ycbcr, cv2.COLOR_YCrCb2RGB))


def impulse_noise(image: ndarray, density: float, rng: Generator) -> ndarray:
    """Set samples of R, G and B to 0 or 255, each as likely: salt and pepper.

    `density` is the expected share of samples that are hit, on [0, 1]; channels
    are hit independently, so most specks are coloured.
    """
    draw = rng.random(image.shape, dtype=np.float32)
    noisy = image.copy()
    noisy[draw < density / 2] = 0
    noisy[draw > 1 - density / 2] = 255
    return noisy


def multiplicative_noise(image: ndarray, variance: float, rng: Generator) -> ndarray:
    """Add Gaussian noise that is proportional to the sample: speckle.

    Each sample becomes sample * (1 + n) with n of zero mean and the given
    `variance`, independent in R, G and B.
    """
    return to_uint8(to_unit(image) * (1 + _gaussian(image.shape, variance, rng)))


def denoise(image: ndarray, variance: float, rng: Generator) -> ndarray:
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


def spatially_correlated_noise(
    image: ndarray, target: float, rng: Generator
) -> ndarray:
    """Add noise in grains wider than a pixel, independent in R, G and B.

    White Gaussian noise is averaged over 3 x 3 pixels, which gives neighbours a
    correlation of 2/3, and scaled to a PSNR of `target` dB.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    smooth = cv2.blur(noise, _GRAIN, borderType=BORDER)
    return add_at_psnr(image, smooth, target)


def high_frequency_noise(image: ndarray, target: float, rng: Generator) -> ndarray:
    """Add noise of high spatial frequencies alone, independent in R, G and B.

    White Gaussian noise keeps what is above 0.25 cycles per pixel, whatever the
    direction, and is scaled to a PSNR of `target` dB. An image of one pixel has no
    such frequency and stays as it is.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    spectrum = fft.rfft2(noise, axes=(0, 1))
    down = fft.fftfreq(image.shape[0])[:, None]
    across = fft.rfftfreq(image.shape[1])[None, :]
    spectrum[np.hypot(down, across) <= _HIGH_FREQUENCIES] = 0
    noise = fft.irfft2(spectrum, s=image.shape[:2], axes=(0, 1))
    return add_at_psnr(image, noise.astype(np.float32), target)


def masked_noise(image: ndarray, target: float, rng: Generator) -> ndarray:
    """Add noise where and at the frequencies at which the eye sees it least.

    In the DCT of blocks of 8 x 8 pixels each coefficient except the mean takes
    Gaussian noise, in R, G and B independently. Its standard deviation is the
    product of the step q of JPEG's luminance table at that frequency and of
    sqrt(1 + M), where M is the sum of (coefficient / q) ** 2 over the block, the
    masking energy of PSNR-HVS-M (Ponomarenko et al., VPQM 2007) up to a factor.
    Then the noise is scaled to a PSNR of `target` dB. Sides that are not multiples
    of 8 are completed by mirroring.
    """
    blocks = fft.dctn(_blocks(image), axes=(1, 3), norm='ortho')
    steps = _JPEG_LUMINANCE[:, None, :, None]
    energy = np.square(blocks / steps)
    energy[:, 0, :, 0] = 0
    masking = np.sqrt(_MASKING_FLOOR + energy.sum(axis=(1, 3), keepdims=True))
    noise = rng.standard_normal(blocks.shape, dtype=np.float32) * steps * masking
    noise[:, 0, :, 0] = 0
    noise = fft.idctn(noise, axes=(1, 3), norm='ortho')
    rows, columns = (noise.shape[axis] * _BLOCK for axis in (0, 2))
    noise = noise.reshape(rows, columns, 3)[: image.shape[0], : image.shape[1]]
    return add_at_psnr(image, noise, target)


def _blocks(image: ndarray) -> ndarray:
    """Return float32 samples as (rows, 8, columns, 8, 3), mirrored to whole blocks."""
    missing = [(0, -length % _BLOCK) for length in image.shape[:2]]
    padded = np.pad(image.astype(np.float32), [*missing, (0, 0)], mode='symmetric')
    rows, columns = (length // _BLOCK for length in padded.shape[:2])
    return padded.reshape(rows, _BLOCK, columns, _BLOCK, 3)


def _gaussian(shape: tuple[int, ...], variance: float, rng: Generator) -> ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(
        math.sqrt(variance)
    )
