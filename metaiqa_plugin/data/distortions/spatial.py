"""Where pixels go: blurs, jitter, patches, pixelation, quantization and blocks."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image

from .shared import BORDER

_SUBPIXELS = 9
_JITTER_PASSES = 5
_PATCH_SIDE = 16
_PATCH_REACH = 8
_BLOCK_SIDE = 32


def gaussian_blur(image: ndarray, sigma: float, rng: Generator) -> ndarray:
    """Blur with an isotropic Gaussian.

    `sigma` is its standard deviation in pixels (0.1 leaves the image as it is). The
    kernel reaches 3 sigma to each side; the border is mirrored.
    """
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=BORDER)


def lens_blur(image: ndarray, radius: float, rng: Generator) -> ndarray:
    """Average over a disk, as a lens out of focus does.

    `radius` is that of the disk in pixels. The rim is anti-aliased: each weight is
    the share of the pixel that the disk covers. The border is mirrored.
    """
    return cv2.filter2D(image, -1, disk_kernel(radius), borderType=BORDER)


def motion_blur(image: ndarray, length: float, rng: Generator) -> ndarray:
    """Average along a straight line, as a camera that moves does.

    `length` is that of the line in pixels (1 leaves the image as it is); its angle
    is drawn from `rng`, uniform on [0, 180) degrees. The border is mirrored.
    """
    if length <= 1:
        return image
    kernel = line_kernel(length, rng.uniform(0, math.pi))
    return cv2.filter2D(image, -1, kernel, borderType=BORDER)


def disk_kernel(radius: float) -> ndarray:
    """Return an anti-aliased disk, float32 of odd side and sum 1."""
    reach = math.ceil(radius)
    side = 2 * reach + 1
    centres = (np.arange(side * _SUBPIXELS) + 0.5) / _SUBPIXELS - side / 2
    inside = np.hypot(centres[:, None], centres[None, :]) <= radius
    blocks = inside.reshape(side, _SUBPIXELS, side, _SUBPIXELS)
    return _normalized(blocks.sum(axis=(1, 3)))


def line_kernel(length: float, angle: float) -> ndarray:
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


def _normalized(kernel: ndarray) -> ndarray:
    return (kernel / kernel.sum()).astype(np.float32)


def jitter(image: ndarray, amount: float, rng: Generator) -> ndarray:
    """Displace every pixel at random, five times in a row.

    `amount` is the standard deviation in pixels of the Gaussian displacement, along
    each axis and in each pass, independent from pixel to pixel. Sampling is
    bicubic, with displacements on OpenCV's grid of 1/32 pixel; the border is
    mirrored.
    """
    height, width = image.shape[:2]
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    warped = image.astype(np.float32)
    for _ in range(_JITTER_PASSES):
        shifts = rng.standard_normal((2, height, width), dtype=np.float32)
        shifts *= np.float32(amount)
        warped = cv2.remap(
            warped,
            columns + shifts[0],
            rows + shifts[1],
            cv2.INTER_CUBIC,
            borderMode=BORDER,
        )
    return np.rint(np.clip(warped, 0, 255)).astype(np.uint8)


def non_eccentricity_patch(image: ndarray, patches: int, rng: Generator) -> ndarray:
    """Copy small squares of the image to a place nearby.

    `patches` is their number. Each is 16 x 16 pixels and lands up to 8 pixels away
    along each axis; patches are taken from the undistorted image and stay inside
    it. In an image that is smaller than a patch the patch shrinks. The
    same seed puts the first patches of every level at the same places.
    """
    side = min(_PATCH_SIDE, *image.shape[:2])
    room = np.array(image.shape[:2]) - side
    sources = rng.integers(0, room, size=(patches, 2), endpoint=True)
    moves = rng.integers(-_PATCH_REACH, _PATCH_REACH, size=(patches, 2), endpoint=True)
    targets = np.clip(sources + moves, 0, room)
    patched = image.copy()
    for (y, x), (to_y, to_x) in zip(sources, targets, strict=True):
        patch = image[y : y + side, x : x + side]
        patched[to_y : to_y + side, to_x : to_x + side] = patch
    return patched


def pixelate(image: ndarray, strength: float, rng: Generator) -> ndarray:
    """Reduce the image and enlarge it again, both by the nearest neighbour.

    The reduced image has a relative size of 0.95 - `strength` ** 0.6 along each
    axis, from 0.89 at a strength of 0.01 to 0.29 at 0.5, and at least one pixel.
    """
    scale = 0.95 - strength**0.6
    height, width = image.shape[:2]
    reduced = (max(1, int(scale * width)), max(1, int(scale * height)))
    picture = Image.fromarray(image)
    coarse = picture.resize(reduced, Image.Resampling.NEAREST)
    return np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))


def quantization(image: ndarray, levels: int, rng: Generator) -> ndarray:
    """Keep `levels` grey levels in each of R, G and B.

    One set of thresholds serves the three channels: those of multi-level Otsu on
    the histogram of all samples, found exactly. Each class takes the mean of its
    samples, rounded, so the brightness stays.
    """
    histogram = np.bincount(image.ravel(), minlength=256)
    table = np.zeros(256, dtype=np.uint8)
    edges = [0, *multi_otsu(histogram, levels), 256]
    for start, stop in itertools.pairwise(edges):
        count = histogram[start:stop].sum()
        if count:
            total = np.arange(start, stop) @ histogram[start:stop]
            table[start:stop] = round(total / count)
    return table[image]


def multi_otsu(histogram: ndarray, classes: int) -> list[int]:
    """Split a histogram into `classes` runs of minimum variance within the runs.

    This is Otsu's criterion for several thresholds, solved exactly by dynamic
    programming in O(classes * bins ** 2) instead of by trying all combinations.

    Args:
        histogram: counts, shape (bins,), bin i standing for the value i.
        classes: number of runs, at least 1. Runs may be empty when fewer values occur.

    Returns:
        the first bin of each run except the first: classes - 1 ascending indices.
    """
    bins = len(histogram)
    counts = np.concatenate(([0.0], np.cumsum(histogram, dtype=np.float64)))
    sums = np.concatenate(([0.0], np.cumsum(histogram * np.arange(bins, dtype=float))))
    weight = counts[None, :] - counts[:, None]
    total = sums[None, :] - sums[:, None]
    gain = np.divide(total**2, weight, out=np.zeros_like(total), where=weight > 0)
    gain[np.tril_indices(bins + 1, -1)] = -np.inf

    best = gain[0]
    starts = []
    for _ in range(classes - 1):
        candidates = best[:, None] + gain
        starts.append(candidates.argmax(axis=0))
        best = candidates.max(axis=0)

    thresholds = [bins]
    for start in reversed(starts):
        thresholds.append(int(start[thresholds[-1]]))
    return thresholds[:0:-1]


def color_block(image: ndarray, blocks: int, rng: Generator) -> ndarray:
    """Cover random places with squares of random solid colours.

    `blocks` is their number. Each is 32 x 32 pixels (less in a smaller image), lies
    inside the image and may overlap others; colours are uniform in RGB. The same
    seed puts the first blocks of every level at the same places.
    """
    side = min(_BLOCK_SIDE, *image.shape[:2])
    rows, columns = (length - side + 1 for length in image.shape[:2])
    covered = image.copy()
    for _ in range(blocks):
        y, x = rng.integers(rows), rng.integers(columns)
        covered[y : y + side, x : x + side] = rng.integers(256, size=3)
    return covered
