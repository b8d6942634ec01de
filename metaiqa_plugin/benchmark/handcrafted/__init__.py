"""Hand-crafted baselines: features of an image and support vector regression.

Here is what the benchmark asks of features, and what they start from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from metaiqa_plugin.errors import UserError

__all__ = ['FeatureExtractor', 'check_pixels', 'luminance']

LUMA = (0.299, 0.587, 0.114)


class FeatureExtractor:
    """Maps an image to a vector of fixed length that a regression learns from.

    Both methods are deterministic: the same arguments give the same numbers, whatever
    was computed before; on another machine or number of threads, up to rounding.

    Attributes:
        learned: whether the features depend on :meth:`fit`. Where they do not, they
            may be kept for an image whatever the training set.
    """

    learned: ClassVar[bool] = False

    def fit(self, images: Sequence[Path], seed: int) -> None:
        """Learn the codebook from training images, without their opinion scores.

        Does nothing where ``learned`` is false.

        Args:
            images: the files of the training images.
            seed: chooses patches and the start of the clustering.

        Raises:
            UserError: there is no image, one cannot be read or is too small, or they
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
        raise NotImplementedError


def check_pixels(pixels: np.ndarray, method: str, min_side: int) -> None:
    """``pixels`` is (H, W, 3) uint8 with H and W of at least ``min_side``.

    Raises:
        UserError: it is not; names ``method``, what was given and what is expected.
    """
    shape, dtype = getattr(pixels, 'shape', None), getattr(pixels, 'dtype', None)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise UserError(
            f'{method}: pixels of shape {shape} and type {dtype}; expected '
            '(height, width, 3) of uint8 in RGB'
        )
    if min(shape[:2]) < min_side:
        raise UserError(
            f'{method}: an image of {shape[1]}x{shape[0]} pixels is too small; sides '
            f'must have at least {min_side}'
        )


def luminance(pixels: np.ndarray) -> np.ndarray:
    """The luma of ITU-R BT.601: (H, W, 3) uint8 RGB to (H, W) float64 in [0, 255].

    MATLAB's ``rgb2gray``, which the authors of the codebook methods call, has the same
    weights but rounds to whole numbers; this does not.
    """
    return pixels.astype(np.float64) @ np.array(LUMA)
