"""CORNIA: a codebook of raw patches, soft assignment and max-pooling.

Ye, Kumar, Kang, Doermann, "Unsupervised Feature Learning Framework for No-reference
Image Quality Assessment", CVPR 2012. Patch size, number of codewords and encoding are
the paper's, from memory; the normalisation of patches and codewords and the 10,000
patches per image are from the code that the authors released.

Departures:

- the codebook is of the training images of the protocol, not of CSIQ;
- mini-batch k-means from randomly drawn patches, not k-means: 10,000 codewords of
  k-means take hours;
- which patches of an image are taken is the same for all images of one size; the
  released code draws them again for each image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from metaiqa_plugin.benchmark.handcrafted.codebooks import Codebook
from metaiqa_plugin.errors import whole_number

__all__ = ['Cornia', 'encoded']

ROWS_AT_ONCE = 1000


@dataclass
class Cornia(Codebook):
    """CORNIA's features: 2 x ``codewords`` numbers of at least 0.

    Args:
        patches: how many patches of an image are encoded at most.

    Attributes:
        codebook: (codewords, 49) float32 of unit length, after :meth:`fit`.

    Raises:
        UserError: see :class:`Codebook`; ``patches`` is less than 1.
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
        """(2 x codewords,) float64 of (H, W, 3) uint8 RGB, see :func:`encoded`.

        Raises:
            UserError: the sides are not at least 14, the shape or type is another, or
                :meth:`fit` was not called.
        """
        generator = np.random.default_rng(np.shape(pixels)[:2])
        patches = self.whitened(pixels, drawn=self.patches, generator=generator)
        return encoded(patches, self.codebook)


def encoded(patches: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Soft assignment and max-pooling of whitened patches.

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
    highest = np.zeros(len(codebook), np.float32)
    lowest = np.zeros(len(codebook), np.float32)
    for start in range(0, len(patches), ROWS_AT_ONCE):
        similarity = patches[start : start + ROWS_AT_ONCE] @ codewords
        np.maximum(highest, similarity.max(axis=0), out=highest)
        np.minimum(lowest, similarity.min(axis=0), out=lowest)
    return np.concatenate([highest, -lowest]).astype(np.float64)
