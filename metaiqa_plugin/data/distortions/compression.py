"""Compression: JPEG 2000, JPEG, JPEG of noisy images, and sparse sampling."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image

from .shared import BORDER, at_psnr, to_uint8, to_unit

_MAX_RESOLUTIONS = 6
_MIN_NOISE = 1 / 255
_MAX_NOISE = 1.0
_STEP_OF_NOISE = 3.5
_FILLING_PASSES = 12


def jpeg2000(image: ndarray, ratio: float, rng: Generator) -> ndarray:
    """Encode as JPEG 2000 at a compression `ratio` and decode.

    `ratio` is the size of the raw pixels over that of the code stream; the
    irreversible 9/7 wavelet is used, on luma and chroma. Images below 32 pixels get
    fewer resolutions, as many as their shorter side allows, and the file's header
    then weighs more than the ratio allows for.
    """
    shorter = min(image.shape[:2])
    return _through_codec(
        image,
        format='JPEG2000',
        quality_mode='rates',
        quality_layers=[ratio],
        irreversible=True,
        mct=1,
        num_resolutions=min(_MAX_RESOLUTIONS, shorter.bit_length()),
    )


def jpeg(image: ndarray, quality: int, rng: Generator) -> ndarray:
    """Encode as baseline JPEG at a `quality` of 1 to 95 and decode.

    The scale of `quality` is that of the Independent JPEG Group; chroma is
    subsampled 4:2:0.
    """
    return _through_codec(image, format='JPEG', quality=quality)


def noisy_compression(image: ndarray, target: float, rng: Generator) -> ndarray:
    """Compress a noisy image, with steps that suit the noise.

    White Gaussian noise is added to R, G and B, then the image goes through JPEG
    with one quantization step for all frequencies and without chroma subsampling.
    The step is 3.5 standard deviations of the noise, so little of the noise is left
    where the image is smooth. The noise is as strong as brings the PSNR of the
    result down to `target` dB.
    """
    unit = to_unit(image)
    noise = rng.standard_normal(image.shape, dtype=np.float32)

    def compressed(sigma: float) -> ndarray:
        step = min(255, max(1, round(_STEP_OF_NOISE * 255 * sigma)))
        noisy = to_uint8(unit + np.float32(sigma) * noise)
        tables = [[step] * 64] * 2
        return _through_codec(noisy, format='JPEG', qtables=tables, subsampling=0)

    return at_psnr(image, target, compressed, _MIN_NOISE, _MAX_NOISE)


def sparse_sampling(image: ndarray, target: float, rng: Generator) -> ndarray:
    """Keep pixels at random places and fill in the others from them.

    The kept pixels stay; the others start as means of kept ones, pulled up and
    pushed down a pyramid (Gortler et al., SIGGRAPH 1996), and are smoothed 12
    times. As many pixels are kept as leave a PSNR of `target` dB, at least one; a
    lower target keeps a subset. A colour that fills the image stays as it is.
    """
    order = rng.random(image.shape[:2], dtype=np.float32)

    def reconstructed(dropped: float) -> ndarray:
        return _filled(image, order >= min(dropped, order.max()))

    return at_psnr(image, target, reconstructed, 1 / 16, 1.0)


def _filled(image: ndarray, kept: ndarray) -> ndarray:
    weight = kept.astype(np.float32)[..., None]
    filled = _pulled_and_pushed(np.concatenate((image * weight, weight), axis=2))
    for _ in range(_FILLING_PASSES):
        filled = cv2.GaussianBlur(filled, (3, 3), 0, borderType=BORDER)
        filled += weight * (image - filled)
    return to_uint8(filled / 255)


def _pulled_and_pushed(weighted: ndarray) -> ndarray:
    """Fill the gaps of (H, W, 4): three samples times weight, and weight on [0, 1]."""
    samples, weight = weighted[..., :3], weighted[..., 3:]
    height, width = weighted.shape[:2]
    if height == width == 1:
        return samples / weight
    halves = ((width + 1) // 2, (height + 1) // 2)
    coarse = cv2.resize(weighted, halves, interpolation=cv2.INTER_AREA)
    known = np.maximum(coarse[..., 3:], np.finfo(np.float32).tiny)
    coarse *= np.minimum(4 * known, 1) / known
    filled = cv2.resize(_pulled_and_pushed(coarse), (width, height))
    return samples + (1 - weight) * filled


def _through_codec(image: ndarray, **options: object) -> ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert('RGB'))
