"""Patches of images and the codebooks learned from them, for CORNIA and HOSA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from metaiqa_plugin.benchmark.handcrafted import (
    FeatureExtractor,
    check_pixels,
    luminance,
)
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, whole_number

__all__ = [
    'PATCH',
    'Codebook',
    'Whitening',
    'contrast_normalised',
    'image_patches',
]

PATCH = 7
MIN_SIDE = 2 * PATCH
CONTRAST_FLOOR = 10.0
EIGENVALUE_FLOOR = 0.1


def image_patches(
    pixels: np.ndarray,
    method: str,
    stride: int = 1,
    drawn: int | None = None,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Contrast-normalised 7x7 patches of the luminance, on a grid from the corner.

    Args:
        pixels: (H, W, 3) uint8 RGB with sides of at least 14.
        method: named in error messages.
        stride: pixels from one patch to the next, in both directions.
        drawn: how many patches, in the order of the grid; all if None or if there are
            no more.
        generator: draws them, without repetition.

    Returns:
        (patches, 49) float64, see :func:`contrast_normalised`.

    Raises:
        UserError: ``pixels`` is of another shape or type, or too small.
    """
    check_pixels(pixels, method, MIN_SIDE)
    windows = sliding_window_view(luminance(pixels), (PATCH, PATCH))[::stride, ::stride]
    grid = windows.shape[:2]
    if drawn is not None and drawn < math.prod(grid):
        places = np.sort(generator.choice(math.prod(grid), drawn, replace=False))
        windows = windows[np.unravel_index(places, grid)]
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


@dataclass
class Codebook(FeatureExtractor):
    """Features that codewords of patches make; the codewords are learned.

    Args:
        codewords: size of the codebook.
        codebook_patches: from how many patches it is learned, about.
        codebook_images: of how many of the training images they are, at most.

    Attributes:
        whitening: of patches; None before :meth:`fit`.

    Raises:
        UserError: one of them is not a whole number of at least 1 (2 of
            ``codewords``), or there are fewer ``codebook_patches`` than ``codewords``.
    """

    learned: ClassVar[bool] = True
    name: ClassVar[str]

    codewords: int
    codebook_patches: int = 200_000
    codebook_images: int = 500
    whitening: Whitening | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        whole_number('codewords', self.codewords, minimum=2)
        whole_number('codebook_patches', self.codebook_patches, minimum=self.codewords)
        whole_number('codebook_images', self.codebook_images)

    def fit(self, images: Sequence[Path], seed: int) -> None:
        """Learn whitening and codebook, see :class:`FeatureExtractor`."""
        patches, generator = self.training_patches(images, seed)
        self.whitening = Whitening.of(patches)
        patches = self.whitening(patches)
        # sums of several threads differ in rounding, and clusters drift apart on it
        with threadpool_limits(limits=1):
            self.learn(patches, int(generator.integers(2**31)))

    def learn(self, patches: np.ndarray, seed: int) -> None:
        """Learn the codebook from whitened patches, (N, 49) float64."""
        raise NotImplementedError

    def whitened(self, pixels: np.ndarray, **which: Any) -> np.ndarray:
        """Patches of an image, see :func:`image_patches`, whitened.

        Raises:
            UserError: :meth:`fit` was not called.
        """
        if self.whitening is None:
            raise UserError(f'{self.name}: there is no codebook; call fit first')
        return self.whitening(image_patches(pixels, self.name, **which))

    def training_patches(
        self, images: Sequence[Path], seed: int
    ) -> tuple[np.ndarray, np.random.Generator]:
        """Contrast-normalised patches at random places of training images.

        Every image gives the same number of them, or all it has if that is less. If
        there are more than ``codebook_images``, as many are drawn, so that a large
        training set is not read whole.

        Returns:
            (patches, 49) float64, and the generator for what follows.

        Raises:
            UserError: no image, one that cannot be read or is too small, or fewer
                patches than codewords.
        """
        whole_number('seed', seed, minimum=0)
        if not len(images):
            raise UserError(
                f'{self.name}: no training image to learn the codebook from'
            )
        generator = np.random.default_rng(seed)
        if len(images) > self.codebook_images:
            chosen = generator.choice(len(images), self.codebook_images, replace=False)
            images = [images[number] for number in np.sort(chosen)]
        each = -(-self.codebook_patches // len(images))
        found = np.concatenate([self._drawn(path, each, generator) for path in images])
        if len(found) < self.codewords:
            raise UserError(
                f'{self.name}: codewords={self.codewords}, but the training images '
                f'have only {len(found)} patches; give more images or fewer codewords'
            )
        return found, generator

    def _drawn(
        self, path: Path, count: int, generator: np.random.Generator
    ) -> np.ndarray:
        pixels = np.asarray(read_rgb(path))
        try:
            return image_patches(pixels, self.name, drawn=count, generator=generator)
        except UserError as error:
            raise UserError(f'image {str(path)!r}: {error}') from error
