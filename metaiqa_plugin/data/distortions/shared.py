"""What the families share: conversions of pixels, and strengths found by PSNR.

The levels of TID2013 are distances in PSNR, not settings of a filter, so its types
solve for the strength here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray

BORDER = cv2.BORDER_REFLECT
TOLERANCE = 0.02
HALVINGS = 14


def to_unit(image: ndarray) -> ndarray:
    """Return uint8 pixels as a new float32 array on [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def to_uint8(image: ndarray) -> ndarray:
    """Return float pixels on [0, 1] as uint8, clipped and rounded to nearest."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def to_lab(image: ndarray) -> ndarray:
    """Return uint8 sRGB pixels as float32 CIELAB: L on [0, 100], a and b signed."""
    return cv2.cvtColor(to_unit(image), cv2.COLOR_RGB2Lab)


def from_lab(lab: ndarray) -> ndarray:
    """Return float32 CIELAB as uint8 sRGB; colours outside sRGB are clipped."""
    return to_uint8(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))


def apply_tone_curve(image: ndarray, curve: Callable[[ndarray], ndarray]) -> ndarray:
    """Map every uint8 sample through `curve`, a function of values on [0, 1]."""
    table = to_uint8(curve(np.linspace(0, 1, 256)))
    return table[image]


def psnr(image: ndarray, other: ndarray) -> float:
    """Return the PSNR in dB over all samples of two uint8 images; inf where equal."""
    error = np.mean(np.square(image.astype(np.float32) - other), dtype=np.float64)
    return 10 * math.log10(255**2 / error) if error else math.inf


def at_psnr(
    image: ndarray,
    target: float,
    distorted: Callable[[float], ndarray],
    first: float,
    last: float,
) -> ndarray:
    """Distort `image` as strongly as brings it down to a PSNR of `target` dB.

    The strength doubles from `first` until the PSNR falls to the target, then the
    last step is halved 14 times or until the PSNR is within 0.02 dB. So the
    smallest strength is taken where several would do, and the same image gives the
    same strength.

    Args:
        image: uint8 (H, W, 3).
        target: in dB, over all samples of R, G and B.
        distorted: takes a strength and returns the distorted image.
        first: the weakest strength to try, above 0.
        last: the strongest one allowed.

    Returns:
        of all images tried, with the undistorted one, the closest to the target.
        Where no strength up to `last` reaches it, as in an image too flat or too
        small for the type, that is about the strongest.
    """
    best, best_miss = image, math.inf
    low, high, step = 0.0, None, first
    for _ in range(100):
        candidate = distorted(step)
        reached = psnr(image, candidate)
        miss = abs(reached - target)
        if miss < best_miss:
            best, best_miss = candidate, miss
        if miss <= TOLERANCE:
            break
        if reached <= target:
            high = step
        else:
            low = step
        if high is None:
            if step >= last:
                break
            step = min(2 * step, last)
            continue
        if (high - low) * 2**HALVINGS <= high:
            break
        step = (low + high) / 2
    return best


def add_at_psnr(image: ndarray, noise: ndarray, target: float) -> ndarray:
    """Add `noise`, scaled so that the PSNR of the result is `target` dB.

    `noise` is float32 of the image's shape. What leaves [0, 255] is clipped and
    rounded as in any image, and the scale makes up for it. Noise of zeros, as a
    filter leaves in an image too small for it, adds nothing.
    """
    power = math.sqrt(np.mean(np.square(noise), dtype=np.float64))
    if not power:
        return image
    unit = to_unit(image)
    unclipped = 10 ** (-target / 20) / power

    def noisy(scale: float) -> ndarray:
        return to_uint8(unit + np.float32(scale) * noise)

    return at_psnr(image, target, noisy, unclipped, 64 * unclipped)
