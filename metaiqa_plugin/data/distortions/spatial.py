"""Spatial distortions: jitter, patches, pixelation, quantization and blocks."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from PIL import Image

from ._arrays import BORDER

_JITTER_PASSES = 5
_PATCH_SIDE = 16
_PATCH_REACH = 8
_BLOCK_SIDE = 32


def jitter(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
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


def non_eccentricity_patch(
    image: np.ndarray, patches: int, rng: np.random.Generator
) -> np.ndarray:
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


def pixelate(
    image: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Reduce the image and enlarge it again, both by the nearest neighbour.

    The reduced image has a relative size of 0.95 - `strength` ** 0.6 along each
    axis, from 0.89 at a strength of 0.01 to 0.29 at 0.5, and at least one pixel.
    Takes nothing from `rng`.
    """
    scale = 0.95 - strength**0.6
    height, width = image.shape[:2]
    reduced = (max(1, int(scale * width)), max(1, int(scale * height)))
    picture = Image.fromarray(image)
    coarse = picture.resize(reduced, Image.Resampling.NEAREST)
    return np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))


def quantization(
    image: np.ndarray, levels: int, rng: np.random.Generator
) -> np.ndarray:
    """Keep `levels` grey levels in each of R, G and B.

    One set of thresholds serves the three channels: those of multi-level Otsu on
    the histogram of all samples, found exactly. Each class takes the mean of its
    samples, rounded, so the brightness stays. Takes nothing from `rng`.
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


def multi_otsu(histogram: np.ndarray, classes: int) -> list[int]:
    """Split a histogram into `classes` runs of least variance within the runs.

    This is Otsu's criterion for several thresholds, solved exactly by dynamic
    programming in O(classes * bins ** 2) instead of by trying all combinations.

    Args:
        histogram: counts, shape (bins,), bin i standing for the value i.
        classes: number of runs, at least 1. Runs may be empty when fewer values occur.

    Returns:
        the first bin of each run but the first: classes - 1 ascending indices.
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


def color_block(image: np.ndarray, blocks: int, rng: np.random.Generator) -> np.ndarray:
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
