"""Features of codebooks that are learned from patches of images: CORNIA and HOSA.

CORNIA, soft assignment and max-pooling: Ye, Kumar, Kang, Doermann, "Unsupervised
Feature Learning Framework for No-reference Image Quality Assessment", CVPR 2012. Patch
size, number of codewords and encoding are the paper's, from memory; the normalisation
of patches and codewords and the 10,000 patches per image are from the code that the
authors released. Departures:

- the codebook is of the training images of the protocol, not of CSIQ;
- mini-batch k-means from randomly drawn patches, not k-means: 10,000 codewords of
  k-means take hours;
- which patches of an image are taken is the same for all images of one size; the
  released code draws them again for each image.

HOSA, what patches do to the mean, variance and skewness of clusters: Xu, Ye, Li, Du,
Liu, Doermann, "Blind Image Quality Assessment Based on High Order Statistics
Aggregation", IEEE TIP 25(9), 2016. From its abstract: a regular grid of normalised
patches, 100 codewords of k-means, soft assignment to several nearest clusters,
differences of mean, variance and skewness. The patch size of 7 and the power of 0.2 are
of the demo that the authors released. From memory: the 5 nearest, the Gaussian weights
and their 0.05, a grid without overlap, and the normalisation to unit length.
Departures: the codebook is of the training images of the protocol, not of CSIQ; patches
are normalised and whitened as CORNIA's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics.pairwise import euclidean_distances
from threadpoolctl import threadpool_limits

from metaiqa_plugin.benchmark.handcrafted.features import (
    FeatureExtractor,
    check_pixels,
    luminance,
)
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, real_number, whole_number

__all__ = ['Codebook', 'Cornia', 'Hosa', 'Whitening', 'aggregated']
__all__ += ['cluster_statistics', 'contrast_normalised', 'encoded', 'image_patches']

PATCH = 7
CONTRAST_FLOOR = 10.0
EIGENVALUE_FLOOR = 0.1
VARIANCE_FLOOR = 1e-6
ROWS_AT_ONCE = 1000


def image_patches(
    pixels: np.ndarray,
    method: str,
    stride: int = 1,
    drawn: int | None = None,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Contrast-normalised 7x7 patches of the luminance, on a grid from the corner.

    Args:
        pixels: (H, W, 3) uint8 RGB with sides of at least 14; else UserError.
        method: named in error messages.
        stride: pixels from one patch to the next, in both directions.
        drawn: how many patches, in the order of the grid; all if None or if there are
            no more.
        generator: draws them, without repetition.

    Returns:
        (patches, 49) float64, see :func:`contrast_normalised`.
    """
    check_pixels(pixels, method, 2 * PATCH)
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
    variance = patches.var(axis=1, ddof=1, keepdims=True)
    return centred / np.sqrt(variance + CONTRAST_FLOOR)


class Whitening:
    """ZCA whitening: ``(x - mean) @ matrix`` has almost the identity as covariance.

    ``matrix = V diag(1 / sqrt(d + 0.1)) V'`` of the eigenvectors V and eigenvalues d of
    the covariance. The 0.1 is that of Coates, Ng, Lee, "An analysis of single-layer
    networks in unsupervised feature learning", AISTATS 2011, whose patches are
    normalised alike; from memory. The released codes of CORNIA and HOSA carry
    matrices, not how they were made.

    Args:
        patches: that it whitens, (N, 49) float64 with N of at least 2.
    """

    def __init__(self, patches: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
        scales = np.sqrt(np.maximum(values, 0) + EIGENVALUE_FLOOR)
        self.mean = patches.mean(axis=0)
        self.matrix = vectors / scales @ vectors.T

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """``patches`` whitened; both (N, 49) float64."""
        return (patches - self.mean) @ self.matrix


@dataclass
class Codebook(FeatureExtractor):
    """Features that codewords of patches make; the codewords are learned.

    Args:
        codewords: size of the codebook, at least 2.
        codebook_patches: from how many patches it is learned, about; no fewer.
        codebook_images: of how many of the training images they are, at most.

    Raises:
        UserError: an argument out of range, here and in the classes below.
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
        self.whitening = Whitening(patches)
        patches = self.whitening(patches)
        # sums of several threads differ in rounding, and clusters drift apart on it
        with threadpool_limits(limits=1):
            self.learn(patches, int(generator.integers(2**31)))

    def learn(self, patches: np.ndarray, seed: int) -> None:
        """Learn the codebook from whitened patches, (N, 49) float64."""
        raise NotImplementedError

    def whitened(self, pixels: np.ndarray, **which: Any) -> np.ndarray:
        """Patches of an image, see :func:`image_patches`, whitened."""
        if self.whitening is None:
            raise UserError(f'{self.name}: there is no codebook; call fit first')
        return self.whitening(image_patches(pixels, self.name, **which))

    def training_patches(
        self, images: Sequence[Path], seed: int
    ) -> tuple[np.ndarray, np.random.Generator]:
        """Contrast-normalised patches at random places of training images.

        Every image gives the same number of them, or all it has if that is less. If
        there are more than ``codebook_images``, as many are drawn, so that a large
        training set is not read whole. Raises as :meth:`fit`.

        Returns:
            (patches, 49) float64, and the generator for what follows.
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


@dataclass
class Cornia(Codebook):
    """CORNIA's 2 x ``codewords`` features of at least 0; sides of at least 14.

    Args:
        patches: how many patches of an image are encoded at most.

    Attributes:
        codebook: (codewords, 49) float32 of unit length, after :meth:`fit`.
    """

    name: ClassVar[str] = 'cornia'

    codewords: int = 10_000
    patches: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number('patches', self.patches)

    def learn(self, patches: np.ndarray, seed: int) -> None:
        clustering = MiniBatchKMeans(
            self.codewords,
            init='random',
            n_init=1,
            batch_size=max(1024, self.codewords),
            max_iter=10,
            random_state=seed,
        )
        centres = clustering.fit(patches.astype(np.float32)).cluster_centers_
        lengths = np.linalg.norm(centres, axis=1, keepdims=True)
        self.codebook = (centres / np.maximum(lengths, 1e-12)).astype(np.float32)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        generator = np.random.default_rng(np.shape(pixels)[:2])
        patches = self.whitened(pixels, drawn=self.patches, generator=generator)
        return encoded(patches, self.codebook)


def encoded(patches: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """CORNIA's soft assignment and max-pooling of whitened patches.

    With ``s = patches @ codebook.T``, the features of codeword k are the largest
    ``max(s, 0)`` and the largest ``max(-s, 0)`` over the patches. The products are in
    float32.

    Args:
        patches: (N, 49).
        codebook: (codewords, 49), of unit length.

    Returns:
        (2 x codewords,) float64: all positive parts, then all negative ones.
    """
    patches = patches.astype(np.float32)
    codewords = codebook.astype(np.float32).T
    highest, lowest = np.zeros((2, len(codebook)), np.float32)
    for start in range(0, len(patches), ROWS_AT_ONCE):
        similarity = patches[start : start + ROWS_AT_ONCE] @ codewords
        np.maximum(highest, similarity.max(axis=0), out=highest)
        np.minimum(lowest, similarity.min(axis=0), out=lowest)
    return np.concatenate([highest, -lowest]).astype(np.float64)


@dataclass
class Hosa(Codebook):
    """HOSA's 3 x 49 x ``codewords`` features; sides of at least 14.

    The output of :func:`aggregated`, each x as ``sign(x) |x|^power``, divided by the
    length of the whole vector.

    Args:
        nearest: to how many of the codewords a patch is assigned, not more than all.
        beta: of the weights, see :func:`aggregated`.
        power: in (0, 1].
        stride: pixels from one patch of the grid to the next.

    Attributes:
        statistics: of the clusters, see :func:`cluster_statistics`, after :meth:`fit`.
    """

    name: ClassVar[str] = 'hosa'

    codewords: int = 100
    nearest: int = 5
    beta: float = 0.05
    power: float = 0.2
    stride: int = PATCH

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number('nearest', self.nearest)
        if self.nearest > self.codewords:
            raise UserError(
                f'nearest={self.nearest!r}: expected at most codewords={self.codewords}'
            )
        real_number('beta', self.beta, above=0)
        real_number('power', self.power)
        if not 0 < self.power <= 1:
            raise UserError(f'power={self.power!r}: expected 0 < power <= 1')
        whole_number('stride', self.stride)

    def learn(self, patches: np.ndarray, seed: int) -> None:
        clustering = KMeans(self.codewords, n_init=1, max_iter=100, random_state=seed)
        labels = clustering.fit(patches).labels_
        self.statistics = cluster_statistics(patches, labels, self.codewords)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        patches = self.whitened(pixels, stride=self.stride)
        found = aggregated(patches, self.statistics, self.nearest, self.beta).ravel()
        features = np.sign(found) * np.abs(found) ** self.power
        length = np.linalg.norm(features)
        return features / length if length else features


def cluster_statistics(
    patches: np.ndarray, labels: np.ndarray, codewords: int
) -> np.ndarray:
    """Mean, variance and skewness of each cluster in each dimension.

    The paper's diagonal covariance and coskewness: ``mean((x - mean)^2)`` and
    ``mean((x - mean)^3) / (variance + 1e-6)^1.5``; the 1e-6 is ours. A cluster
    without patches has zeros.

    Args:
        patches: (N, D) float64.
        labels: (N,) whole numbers below ``codewords``.

    Returns:
        (3, codewords, D) float64.
    """
    statistics = np.zeros((3, codewords, patches.shape[1]))
    for codeword in range(codewords):
        members = patches[labels == codeword]
        if len(members):
            moments = ((members**power).mean(axis=0) for power in (1, 2, 3))
            statistics[:, codeword] = _about_mean(*moments)
    return statistics


def aggregated(
    patches: np.ndarray, statistics: np.ndarray, nearest: int, beta: float
) -> np.ndarray:
    """Statistics of the patches about each codeword, less those of its cluster.

    Patch x counts for the ``nearest`` codewords c that are closest to it, with the
    weight ``exp(-beta |x - c|^2)`` divided by the sum of the weights of all patches
    that count for c. The weighted mean, variance and skewness are as in
    :func:`cluster_statistics`. A codeword no patch counts for has differences of 0.

    Args:
        patches: (N, D) float64.
        statistics: (3, codewords, D), the first of the three being the codewords.
        nearest: at most the number of codewords.
        beta: at least 0.

    Returns:
        (3, codewords, D) float64.
    """
    distances = euclidean_distances(patches, statistics[0], squared=True)
    far = np.argpartition(distances, nearest - 1, axis=1)[:, nearest:]
    # the nearest patch of a codeword gets 1: far ones would all underflow to 0
    weights = np.exp(-beta * (distances - distances.min(axis=0)))
    np.put_along_axis(weights, far, 0, axis=1)
    sums = weights.sum(axis=0)
    counted = sums > 0
    weights = weights[:, counted] / sums[counted]
    moments = (weights.T @ patches**power for power in (1, 2, 3))
    differences = np.zeros_like(statistics)
    differences[:, counted] = _about_mean(*moments) - statistics[:, counted]
    return differences


def _about_mean(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Mean, variance and skewness from the moments about 0."""
    variance = np.maximum(second - first**2, 0)
    about_mean = third - 3 * first * second + 2 * first**3
    return np.stack([first, variance, about_mean / (variance + VARIANCE_FLOOR) ** 1.5])
