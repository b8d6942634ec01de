"""Colour distortions: diffusion, shifts, palette quantization and saturation."""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

from ._arrays import BORDER, from_lab, to_lab, to_uint8, to_unit
from ._target import at_psnr

_LEAST_SHIFT = 1 / 16
_GREATEST_SHIFT = 64.0
_EDGE_SMOOTHING = 4.0
_EDGE_PERCENTILES = (1.0, 99.0)
_PALETTE_SAMPLE_SIDE = 64
_PALETTE_KMEANS_THRESHOLD = 2


def color_diffusion(
    image: np.ndarray, amount: float, rng: np.random.Generator
) -> np.ndarray:
    """Let the colours run: blur and strengthen a and b of CIELAB, keep L.

    The Gaussian has a sigma of 1.5 * `amount` + 2 pixels and the blurred a and b
    are multiplied by `amount`. Takes nothing from `rng`.
    """
    lab = to_lab(image)
    sigma = 1.5 * amount + 2
    side = 2 * math.ceil(3 * sigma) + 1
    blurred = cv2.GaussianBlur(lab, (side, side), sigma, borderType=BORDER)
    blurred *= amount
    blurred[..., 0] = lab[..., 0]
    return from_lab(blurred)


def color_shift(
    image: np.ndarray, amount: float, rng: np.random.Generator
) -> np.ndarray:
    """Move the green channel where the image has edges, for coloured fringes.

    `amount` is the length of the shift in pixels, rounded to whole pixels along
    each axis. The moved channel is blended in by a mask on [0, 1]: the gradient
    magnitude of the luma, smoothed (sigma 4 pixels) and stretched between its 1st
    and 99th percentiles. The direction is drawn from `rng` over the full circle.
    """
    angle = rng.uniform(0, 2 * math.pi)
    down, right = round(amount * math.sin(angle)), round(amount * math.cos(angle))
    unit = to_unit(image)
    green = unit[..., 1]
    mask = edge_mask(unit)
    unit[..., 1] = green + mask * (_translated(green, down, right) - green)
    return to_uint8(unit)


def edge_mask(unit: np.ndarray) -> np.ndarray:
    """Return how close each pixel is to edges: (H, W) float32 on [0, 1]."""
    luma = cv2.cvtColor(unit, cv2.COLOR_RGB2GRAY)
    horizontal = cv2.Sobel(luma, cv2.CV_32F, 1, 0, borderType=BORDER)
    vertical = cv2.Sobel(luma, cv2.CV_32F, 0, 1, borderType=BORDER)
    edges = cv2.magnitude(horizontal, vertical)
    edges = cv2.GaussianBlur(edges, (0, 0), _EDGE_SMOOTHING, borderType=BORDER)
    low, high = np.percentile(edges, _EDGE_PERCENTILES)
    if high <= low:
        return np.zeros_like(edges)
    return np.clip((edges - low) / (high - low), 0, 1).astype(np.float32)


def color_quantization(
    image: np.ndarray, colors: int, rng: np.random.Generator
) -> np.ndarray:
    """Keep a palette of `colors` colours (2 to 256), made for the image.

    The palette is Pillow's median cut refined by k-means, found on a regular sample
    of the pixels for speed; the pixels are dithered by Floyd and Steinberg.
    KADID-10k made its palettes by minimum-variance cuts, which come close to
    k-means. Takes nothing from `rng`.
    """
    step = max(1, min(image.shape[:2]) // _PALETTE_SAMPLE_SIDE)
    sample = Image.fromarray(np.ascontiguousarray(image[::step, ::step]))
    palette = sample.quantize(
        colors, method=Image.Quantize.MEDIANCUT, kmeans=_PALETTE_KMEANS_THRESHOLD
    )
    dithered = Image.fromarray(image).quantize(
        palette=palette, dither=Image.Dither.FLOYDSTEINBERG
    )
    return np.asarray(dithered.convert('RGB'))


def color_saturation_1(
    image: np.ndarray, factor: float, rng: np.random.Generator
) -> np.ndarray:
    """Multiply the saturation S of HSV by `factor`, with H and V kept.

    1 keeps the image, 0 makes it gray. A negative factor, as at the fifth level,
    turns the hues into their opposites, and what then exceeds white is clipped.
    With H and V fixed every channel is linear in S, so the distance of each
    channel to the largest one is multiplied. Takes nothing from `rng`.
    """
    unit = to_unit(image)
    value = unit.max(axis=2, keepdims=True)
    return to_uint8(value - factor * (value - unit))


def color_saturation_2(
    image: np.ndarray, factor: float, rng: np.random.Generator
) -> np.ndarray:
    """Multiply a and b of CIELAB by `factor`; 1 keeps the image.

    Colours that leave sRGB are clipped. Takes nothing from `rng`.
    """
    lab = to_lab(image)
    lab[..., 1:] *= factor
    return from_lab(lab)


def chromatic_aberration(
    image: np.ndarray, target: float, rng: np.random.Generator
) -> np.ndarray:
    """Move red and blue off green, as a lens does away from its centre.

    Both move by the same length, up to 64 pixels, blue at a right angle to red; the
    direction is drawn from `rng` over the full circle. The length is the least that
    brings the PSNR down to `target` dB. Between pixels the sampling is bilinear,
    which blurs the moved channels a little; the border is mirrored. A colour that
    fills the image stays as it is.
    """
    angle = rng.uniform(0, 2 * math.pi)
    down, right = math.sin(angle), math.cos(angle)

    def shifted(length: float) -> np.ndarray:
        moved = image.copy()
        moved[..., 0] = _moved(image[..., 0], length * down, length * right)
        moved[..., 2] = _moved(image[..., 2], length * right, -length * down)
        return moved

    return at_psnr(image, target, shifted, _LEAST_SHIFT, _GREATEST_SHIFT)


def _moved(channel: np.ndarray, down: float, right: float) -> np.ndarray:
    height, width = channel.shape
    matrix = np.float32(((1, 0, right), (0, 1, down)))
    return cv2.warpAffine(
        channel, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=BORDER
    )


def _translated(channel: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = channel.shape
    margin = max(abs(down), abs(right))
    padded = np.pad(channel, margin, mode='symmetric')
    top, left = margin - down, margin - right
    return padded[top : top + height, left : left + width]
