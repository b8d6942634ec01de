"""Colour, brightness and contrast: diffusion, shifts, palettes, curves, sharpening."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image
from scipy.interpolate import PchipInterpolator

from .shared import (
    BORDER,
    apply_tone_curve,
    at_psnr,
    from_lab,
    to_lab,
    to_uint8,
    to_unit,
)

_MIN_SHIFT = 1 / 16
_MAX_SHIFT = 64.0
_EDGE_SMOOTHING = 4.0
_EDGE_PERCENTILES = (1.0, 99.0)
_PALETTE_SAMPLE_SIDE = 64
_PALETTE_KMEANS_THRESHOLD = 2
_SHARPEN_SIGMA = 1.0


def color_diffusion(image: ndarray, amount: float, rng: Generator) -> ndarray:
    """Let the colours run: blur and strengthen a and b of CIELAB, keep L.

    The Gaussian has a sigma of 1.5 * `amount` + 2 pixels and the blurred a and b
    are multiplied by `amount`.
    """
    lab = to_lab(image)
    sigma = 1.5 * amount + 2
    side = 2 * math.ceil(3 * sigma) + 1
    blurred = cv2.GaussianBlur(lab, (side, side), sigma, borderType=BORDER)
    blurred *= amount
    blurred[..., 0] = lab[..., 0]
    return from_lab(blurred)


def color_shift(image: ndarray, amount: float, rng: Generator) -> ndarray:
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


def edge_mask(unit: ndarray) -> ndarray:
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


def color_quantization(image: ndarray, colors: int, rng: Generator) -> ndarray:
    """Keep a palette of `colors` colours (2 to 256), made for the image.

    The palette is Pillow's median cut refined by k-means, found on a regular sample
    of the pixels for speed; the pixels are dithered by Floyd and Steinberg.
    KADID-10k made its palettes by minimum-variance cuts, which come close to
    k-means.
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


def color_saturation_1(image: ndarray, factor: float, rng: Generator) -> ndarray:
    """Multiply the saturation S of HSV by `factor`, with H and V kept.

    1 keeps the image, 0 makes it gray. A negative factor, as at the fifth level,
    turns the hues into their opposites, and what then exceeds white is clipped.
    With H and V fixed every channel is linear in S, so the distance of each
    channel to the largest one is multiplied.
    """
    unit = to_unit(image)
    value = unit.max(axis=2, keepdims=True)
    return to_uint8(value - factor * (value - unit))


def color_saturation_2(image: ndarray, factor: float, rng: Generator) -> ndarray:
    """Multiply a and b of CIELAB by `factor`; 1 keeps the image.

    Colours that leave sRGB are clipped.
    """
    lab = to_lab(image)
    lab[..., 1:] *= factor
    return from_lab(lab)


def chromatic_aberration(image: ndarray, target: float, rng: Generator) -> ndarray:
    """Move red and blue off green, as a lens does away from its centre.

    Both move by the same length, up to 64 pixels, blue at a right angle to red; the
    direction is drawn from `rng` over the full circle. The length is the smallest that
    brings the PSNR down to `target` dB. Between pixels the sampling is bilinear,
    which blurs the moved channels a little; the border is mirrored. A colour that
    fills the image stays as it is.
    """
    angle = rng.uniform(0, 2 * math.pi)
    down, right = math.sin(angle), math.cos(angle)

    def shifted(length: float) -> ndarray:
        moved = image.copy()
        moved[..., 0] = _moved(image[..., 0], length * down, length * right)
        moved[..., 2] = _moved(image[..., 2], length * right, -length * down)
        return moved

    return at_psnr(image, target, shifted, _MIN_SHIFT, _MAX_SHIFT)


def _moved(channel: ndarray, down: float, right: float) -> ndarray:
    height, width = channel.shape
    matrix = np.float32(((1, 0, right), (0, 1, down)))
    return cv2.warpAffine(
        channel, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=BORDER
    )


def _translated(channel: ndarray, down: int, right: int) -> ndarray:
    height, width = channel.shape
    margin = max(abs(down), abs(right))
    padded = np.pad(channel, margin, mode='symmetric')
    top, left = margin - down, margin - right
    return padded[top : top + height, left : left + width]


def brighten(image: ndarray, strength: float, rng: Generator) -> ndarray:
    """Raise the middle tones by a parabola that keeps black and white.

    The parabola lifts 0.5 to 0.5 + `strength` / 2 on the [0, 1] scale and is
    clipped at white. Two thirds of the result have the curve on R, G and B, one
    third on L of CIELAB, which saves some of the colour.
    """
    in_rgb = apply_tone_curve(image, lambda tone: parabola(tone, strength))
    lab = to_lab(image)
    lab[..., 0] = 100 * np.clip(parabola(lab[..., 0] / 100, strength), 0, 1)
    return to_uint8((2 * to_unit(in_rgb) + to_unit(from_lab(lab))) / 3)


def darken(image: ndarray, strength: float, rng: Generator) -> ndarray:
    """Lower the middle tones by a parabola that keeps black and white.

    The parabola lowers 0.5 to 0.5 - `strength` / 2 on the [0, 1] scale of R, G and
    B and is clipped at black.
    """
    return apply_tone_curve(image, lambda tone: parabola(tone, -strength))


def mean_shift(image: ndarray, offset: float, rng: Generator) -> ndarray:
    """Add `offset`, on the [0, 1] scale and of either sign, to R, G and B.

    0 keeps the image.
    """
    return apply_tone_curve(image, lambda tone: tone + offset)


def parabola(tone: ndarray, strength: float) -> ndarray:
    """Return the parabola through (0, 0), (0.5, 0.5 + strength / 2) and (1, 1)."""
    return tone + 2 * strength * tone * (1 - tone)


def high_sharpen(image: ndarray, amount: float, rng: Generator) -> ndarray:
    """Exaggerate edges by unsharp masking of L of CIELAB.

    `amount` multiplies what a Gaussian of sigma 1 pixel takes away from L before it
    is added back; L is clipped to [0, 100]. The paper gives no sigma; with this one
    the visible effect agrees with the mean opinion scores of the five levels, and
    with wider ones it is too strong.
    """
    lab = to_lab(image)
    lightness = np.ascontiguousarray(lab[..., 0])
    blurred = cv2.GaussianBlur(lightness, (0, 0), _SHARPEN_SIGMA, borderType=BORDER)
    lab[..., 0] = np.clip(lightness + amount * (lightness - blurred), 0, 100)
    return from_lab(lab)


def contrast_change(image: ndarray, strength: float, rng: Generator) -> ndarray:
    """Bend R, G and B by a curve around middle gray that keeps black and white.

    On the [0, 1] scale the curve takes 0.3 to 0.25 - `strength` / 4 and 0.7 to
    0.75 + `strength` / 4, with 0, 0.5 and 1 fixed and monotone cubic (PCHIP) pieces
    between. A positive strength raises the contrast, a negative one lowers it; 0
    still raises it a little, as in KADID-10k, whose third level is not the
    original either.
    """
    curve = PchipInterpolator(
        (0, 0.3, 0.5, 0.7, 1),
        (0, 0.25 - strength / 4, 0.5, 0.75 + strength / 4, 1),
    )
    return apply_tone_curve(image, curve)
