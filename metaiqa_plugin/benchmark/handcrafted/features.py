"""The hand-crafted features by name.

BRISQUE's are pyiqa's own. Mittal, Moorthy, Bovik, "No-reference image quality
assessment in the spatial domain", IEEE TIP 21(12), 2012.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from pyiqa.archs.brisque_arch import (
    imresize,
    natural_scene_statistics,
    to_y_channel,
)

from metaiqa_plugin.benchmark.handcrafted import FeatureExtractor, check_pixels
from metaiqa_plugin.benchmark.handcrafted.bliinds import Bliinds2
from metaiqa_plugin.benchmark.handcrafted.cornia import Cornia
from metaiqa_plugin.benchmark.handcrafted.hosa import Hosa
from metaiqa_plugin.errors import UserError

__all__ = ['FEATURES', 'Brisque']

SCALES = 2
MIN_SIDE = 16


class Brisque(FeatureExtractor):
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

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(36,) float64 of (H, W, 3) uint8 RGB with sides of at least 16.

        Raises:
            UserError: ``pixels`` is something else, or so flat that the features are
                undefined.
        """
        check_pixels(pixels, 'brisque', MIN_SIDE)
        image = torch.tensor(pixels).permute(2, 0, 1)
        scale = to_y_channel(image[None].float() / 255, 255.0)
        features = []
        with torch.no_grad():
            for _ in range(SCALES):
                features.append(_statistics(scale))
                scale = imresize(scale, scale=0.5, antialiasing=True)
        return torch.cat(features, dim=-1)[0].double().numpy()


def _statistics(luma: torch.Tensor) -> torch.Tensor:
    if luma.min() < luma.max():
        features = natural_scene_statistics(luma)
        if torch.isfinite(features).all():
            return features
    raise UserError(
        'brisque: the features of this image are not defined, it is flat; leave it out'
    )


FEATURES: dict[str, Callable[..., FeatureExtractor]] = {
    'brisque': Brisque,
    'bliinds2': Bliinds2,
    'cornia': Cornia,
    'hosa': Hosa,
}
