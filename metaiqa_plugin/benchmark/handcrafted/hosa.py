"""HOSA: what patches do to the mean, variance and skewness of codebook clusters.

Xu, Ye, Li, Du, Liu, Doermann, "Blind Image Quality Assessment Based on High Order
Statistics Aggregation", IEEE TIP 25(9), 2016. From its abstract: a regular grid of
normalised patches, 100 codewords of k-means, soft assignment to several nearest
clusters, differences of mean, variance and skewness. The patch size of 7 and the power
of 0.2 are of the demo that the authors released. From memory: the 5 nearest, the
Gaussian weights and their 0.05, a grid without overlap, and the normalisation to unit
length.

Departures: the codebook is of the training images of the protocol, not of CSIQ; patches
are normalised and whitened as CORNIA's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances

from metaiqa_plugin.benchmark.handcrafted.codebooks import PATCH, Codebook
from metaiqa_plugin.errors import UserError, real_number, whole_number

__all__ = ['Hosa', 'aggregated', 'cluster_statistics', 'signed_power']

VARIANCE_FLOOR = 1e-6


@dataclass
class Hosa(Codebook):
    """HOSA's features: 3 x 49 x ``codewords`` numbers, of unit length as a vector.

    Args:
        nearest: to how many of the codewords a patch is assigned.
        beta: of the weights, see :func:`aggregated`.
        power: of the signed power normalisation, in (0, 1].
        stride: pixels from one patch of the grid to the next.

    Attributes:
        statistics: of the clusters, see :func:`cluster_statistics`, after :meth:`fit`.

    Raises:
        UserError: see :class:`Codebook`; one of them is out of range, or ``nearest``
            is above ``codewords``.
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
        """(3 x codewords x 49,) float64 of (H, W, 3) uint8 RGB.

        The output of :func:`aggregated`, flattened, after :func:`signed_power` and a
        division by its length.

        Raises:
            UserError: the sides are not at least 14, the shape or type is another, or
                :meth:`fit` was not called.
        """
        patches = self.whitened(pixels, stride=self.stride)
        differences = aggregated(patches, self.statistics, self.nearest, self.beta)
        features = signed_power(differences.ravel(), self.power)
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
            statistics[:, codeword] = _moments(
                members.mean(axis=0),
                (members**2).mean(axis=0),
                (members**3).mean(axis=0),
            )
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
    differences = np.zeros_like(statistics)
    differences[:, counted] = (
        _moments(
            weights.T @ patches,
            weights.T @ patches**2,
            weights.T @ patches**3,
        )
        - statistics[:, counted]
    )
    return differences


def _moments(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Mean, variance and skewness from the moments about 0."""
    variance = np.maximum(second - first**2, 0)
    about_mean = third - 3 * first * second + 2 * first**3
    return np.stack([first, variance, about_mean / (variance + VARIANCE_FLOOR) ** 1.5])


def signed_power(values: np.ndarray, power: float) -> np.ndarray:
    """``sign(x) |x|^power``."""
    return np.sign(values) * np.abs(values) ** power
