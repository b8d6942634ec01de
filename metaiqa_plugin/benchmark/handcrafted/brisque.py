"""BRISQUE: natural scene statistics in the spatial domain, as pyiqa computes them.

Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain",
IEEE TIP 21(12), 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pyiqa.archs.brisque_arch import (
    imresize,
    natural_scene_statistics,
    to_y_channel,
)

from metaiqa_plugin.benchmark.handcrafted.pixels import check_pixels
from metaiqa_plugin.errors import UserError

__all__ = ['Brisque']

SCALES = 2
LEAST_SIDE = 16


class Brisque:
    """The 36 features of BRISQUE: 18 at each of two scales.

    A scale's features are the shape and variance of the generalised Gaussian fitted to
    the mean-subtracted contrast-normalised luminance (2), and shape, mean, left and
    right variance of the asymmetric one fitted to the products of neighbours in four
    directions (16).

    pyiqa's own functions compute them, with the parameters of its ``brisque`` in the
    version 'original', in float32 as it does; they are what that metric hands to its
    regression, before the scaling by the ranges of the authors' training set. The
    weights of that regression are not used.
    """

    learned: ClassVar[bool] = False

    def fit(self, images: Sequence[Path], seed: int) -> None:
        """Nothing is learned."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(36,) float64 of (H, W, 3) uint8 RGB with sides of at least 16.

        Raises:
            UserError: ``pixels`` is none of that, or so flat that the features are not
                defined.
        """
        check_pixels(pixels, 'brisque', LEAST_SIDE)
        image = torch.tensor(pixels).permute(2, 0, 1)
        scale = to_y_channel(image[None].float() / 255, 255.0)
        features = []
        with torch.no_grad():
            for _ in range(SCALES):
                features.append(_statistics(scale))
                scale = imresize(scale, scale=0.5, antialiasing=True)
        return torch.cat(features, dim=-1)[0].double().numpy()


def _statistics(luma: torch.Tensor) -> torch.Tensor:
    flat = UserError(
        'brisque: the features of this image are not defined, it is flat; leave it out'
    )
    if luma.min() == luma.max():
        raise flat
    features = natural_scene_statistics(luma)
    if not torch.isfinite(features).all():
        raise flat
    return features
