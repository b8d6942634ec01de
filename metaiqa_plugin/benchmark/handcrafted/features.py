"""The hand-crafted features by name, and what the benchmark may ask of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from metaiqa_plugin.benchmark.handcrafted.bliinds import Bliinds2
from metaiqa_plugin.benchmark.handcrafted.brisque import Brisque
from metaiqa_plugin.benchmark.handcrafted.cornia import Cornia
from metaiqa_plugin.benchmark.handcrafted.hosa import Hosa

__all__ = ['FEATURES', 'FeatureExtractor']


class FeatureExtractor(Protocol):
    """Maps an image to a vector of fixed length that a regression learns from.

    Both methods are deterministic: the same arguments give the same numbers, whatever
    was computed before; on another machine or number of threads, up to rounding.

    Attributes:
        learned: whether the features depend on :meth:`fit`. Where they do not, they
            may be kept for an image whatever the training set.
    """

    learned: ClassVar[bool]

    def fit(self, images: Sequence[Path], seed: int) -> None:
        """Learn the codebook from training images, without their opinion scores.

        Does nothing where ``learned`` is false.

        Args:
            images: the files of the training images.
            seed: chooses patches and the start of the clustering.

        Raises:
            UserError: there is no image, one can not be read or is too small, or they
                have too few patches for the codebook.
        """

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The features, float64 of shape (features,), all finite.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Raises:
            UserError: ``pixels`` is of another shape or type or too small, the image
                has no features (BRISQUE of a flat image), or :meth:`fit` was not
                called and ``learned`` is true.
        """


FEATURES: dict[str, Callable[..., FeatureExtractor]] = {
    'brisque': Brisque,
    'bliinds2': Bliinds2,
    'cornia': Cornia,
    'hosa': Hosa,
}
