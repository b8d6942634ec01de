"""Patches of images and the codebooks learned from them, for CORNIA and HOSA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from metaiqa_plugin.benchmark.handcrafted.pixels import check_pixels, luminance
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, whole_number

__all__ = [
    'LEAST_SIDE',
    'PATCH',
    'Whitening',
    'clustered',
    'contrast_normalised',
    'image_patches',
    'random_positions',
    'training_patches',
]

PATCH = 7
LEAST_SIDE = 2 * PATCH
CONTRAST_FLOOR = 10.0
EIGENVALUE_FLOOR = 0.1


def image_patches(
    pixels: np.ndarray,
    method: str,
    stride: int = 1,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Contrast-normalised 7x7 patches of the luminance, on a grid from the corner.

    Args:
        pixels: (H, W, 3) uint8 RGB with sides of at least 14.
        method: named in error messages.
        stride: pixels from one patch to the next, in both directions.
        positions: which patches of the grid, counted along its rows; all if None.

    Returns:
        (patches, 49) float64, see :func:`contrast_normalised`.

    Raises:
        UserError: ``pixels`` is of another shape or type, or too small.
    """
    check_pixels(pixels, method, LEAST_SIDE)
    windows = sliding_window_view(luminance(pixels), (PATCH, PATCH))[::stride, ::stride]
    if positions is not None:
        windows = windows[np.unravel_index(positions, windows.shape[:2])]
    return contrast_normalised(windows.reshape(-1, PATCH * PATCH))


def contrast_normalised(patches: np.ndarray) -> np.ndarray:
    """``(x - mean(x)) / sqrt(var(x) + 10)`` of each row, the variance with n - 1 below.

    Of the code that CORNIA's authors released; pixels are in [0, 255].
    """
    centred = patches - patches.mean(axis=1, keepdims=True)
    return centred / np.sqrt(
        patches.var(axis=1, ddof=1, keepdims=True) + CONTRAST_FLOOR
    )


@dataclass(frozen=True)
class Whitening:
    """ZCA whitening: ``(x - mean) @ matrix`` has almost the identity as covariance.

    ``matrix = V diag(1 / sqrt(d + 0.1)) V'`` of the eigenvectors V and eigenvalues d of
    the covariance. The 0.1 is that of Coates, Ng, Lee, "An analysis of single-layer
    networks in unsupervised feature learning", AISTATS 2011, whose patches are
    normalised alike; from memory. The released codes of CORNIA and HOSA carry
    matrices, not how they were made.

    Attributes:
        mean: (49,) float64.
        matrix: (49, 49) float64, symmetric.
    """

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, patches: np.ndarray) -> Whitening:
        """That of ``patches``, (N, 49) with N of at least 2."""
        values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
        values = np.maximum(values, 0)
        matrix = vectors / np.sqrt(values + EIGENVALUE_FLOOR) @ vectors.T
        return cls(patches.mean(axis=0), matrix)

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """``patches`` whitened; both (N, 49) float64."""
        return (patches - self.mean) @ self.matrix


def training_patches(
    images: Sequence[Path],
    method: str,
    patches: int,
    codewords: int,
    most_images: int,
    seed: int,
) -> tuple[np.ndarray, np.random.Generator]:
    """Contrast-normalised patches at random places of training images.

    Every image gives the same number of them, or all it has if that is less. If there
    are more than ``most_images``, as many are drawn, so that a large training set is
    not read whole.

    Args:
        images: the files, in an order that matters as the seed does.
        method: named in error messages.
        patches: how many in all, about.
        codewords: how many codewords will be learned from them.
        most_images: how many images are read at most.
        seed: a whole number of at least 0.

    Returns:
        (patches, 49) float64, and the generator for what follows.

    Raises:
        UserError: no image, one that can not be read or is too small, or fewer patches
            than codewords.
    """
    whole_number('seed', seed, least=0)
    if not len(images):
        raise UserError(f'{method}: no training image to learn the codebook from')
    generator = np.random.default_rng(seed)
    if len(images) > most_images:
        chosen = generator.choice(len(images), most_images, replace=False)
        images = [images[number] for number in np.sort(chosen)]
    each = -(-patches // len(images))
    found = np.concatenate([_drawn(path, method, each, generator) for path in images])
    if len(found) < codewords:
        raise UserError(
            f'{method}: codewords={codewords}, but the training images have only '
            f'{len(found)} patches; give more images or fewer codewords'
        )
    return found, generator


def _drawn(
    path: Path, method: str, count: int, generator: np.random.Generator
) -> np.ndarray:
    pixels = np.asarray(read_rgb(path))
    try:
        positions = random_positions(pixels, method, count, generator)
        return image_patches(pixels, method, positions=positions)
    except UserError as error:
        raise UserError(f'image {str(path)!r}: {error}') from error


def random_positions(
    pixels: np.ndarray, method: str, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Which of all overlapping patches of an image to take, without repetition.

    Args:
        pixels: (H, W, 3) uint8 RGB with sides of at least 14.
        method: named in error messages.
        count: how many; all, if the image has no more.
        generator: draws them.

    Returns:
        (positions,) whole numbers, ascending, for :func:`image_patches`.

    Raises:
        UserError: ``pixels`` is of another shape or type, or too small.
    """
    check_pixels(pixels, method, LEAST_SIDE)
    places = (pixels.shape[0] - PATCH + 1) * (pixels.shape[1] - PATCH + 1)
    if places <= count:
        return np.arange(places)
    return np.sort(generator.choice(places, count, replace=False))


def clustered(clustering, patches: np.ndarray):
    """``clustering`` fitted to ``patches`` by one thread.

    Several threads would add up in another order each time, and clusters drift apart
    on rounding: the same seed is to give the same codebook on any number of cores.
    """
    with threadpool_limits(limits=1):
        return clustering.fit(patches)
