"""Blurs: Gaussian, lens (out of focus) and motion."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ._arrays import BORDER

_SUBPIXELS = 9


def gaussian_blur(
    image: np.ndarray, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Blur with an isotropic Gaussian.

    `sigma` is its standard deviation in pixels (0.1 leaves the image as it is). The
    kernel reaches 3 sigma to each side; the border is mirrored. Takes nothing
    from `rng`.
    """
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=BORDER)


def lens_blur(image: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Average over a disk, as a lens out of focus does.

    `radius` is that of the disk in pixels. The rim is anti-aliased: each weight is
    the share of the pixel that the disk covers. The border is mirrored. Takes
    nothing from `rng`.
    """
    return cv2.filter2D(image, -1, disk_kernel(radius), borderType=BORDER)


def motion_blur(
    image: np.ndarray, length: float, rng: np.random.Generator
) -> np.ndarray:
    """Average along a straight line, as a camera that moves does.

    `length` is that of the line in pixels (1 leaves the image as it is); its angle
    is drawn from `rng`, uniform on [0, 180) degrees. The border is mirrored.
    """
    if length <= 1:
        return image
    kernel = line_kernel(length, rng.uniform(0, math.pi))
    return cv2.filter2D(image, -1, kernel, borderType=BORDER)


def disk_kernel(radius: float) -> np.ndarray:
    """Return an anti-aliased disk, float32 of odd side and sum 1."""
    reach = math.ceil(radius)
    side = 2 * reach + 1
    centres = (np.arange(side * _SUBPIXELS) + 0.5) / _SUBPIXELS - side / 2
    inside = np.hypot(centres[:, None], centres[None, :]) <= radius
    blocks = inside.reshape(side, _SUBPIXELS, side, _SUBPIXELS)
    return _normalized(blocks.sum(axis=(1, 3)))


def line_kernel(length: float, angle: float) -> np.ndarray:
    """Return a centred line one pixel thin, float32 of odd side and sum 1.

    `angle` is in radians. Points along the line share their weight among the four
    pixels around them, so that every angle gives the same total length.
    """
    reach = math.ceil(length / 2)
    side = 2 * reach + 1
    kernel = np.zeros((side + 1, side + 1))
    count = math.ceil(length * _SUBPIXELS)
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    x = reach + along * math.cos(angle)
    y = reach - along * math.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, bottom_share = x - left, y - top
    for row, row_weight in ((top, 1 - bottom_share), (top + 1, bottom_share)):
        for column, weight in ((left, 1 - right_share), (left + 1, right_share)):
            np.add.at(kernel, (row, column), row_weight * weight)
    return _normalized(kernel[:side, :side])


def _normalized(kernel: np.ndarray) -> np.ndarray:
    return (kernel / kernel.sum()).astype(np.float32)
