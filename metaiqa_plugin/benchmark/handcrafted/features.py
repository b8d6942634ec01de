"""Features that are the same whatever was learned from: BRISQUE and BLIINDS-II.

BRISQUE: Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial
domain", IEEE TIP 21(12), 2012; computed by pyiqa's own functions.

BLIINDS-II, statistics of the coefficients of a block DCT: Saad, Bovik, Charrier, "Blind
Image Quality Assessment: A Natural Scene Statistics Approach in the DCT Domain", IEEE
TIP 21(8), 2012. The bands, the small constants and which tenth counts as the worst are
those of the code that the authors released; the formulas of the paper are given from
memory, without its equation numbers. Departures from that code:

- luminance, where it takes the first channel of what it is given;
- only whole blocks inside the image, where it pads the image with zeros: at the third
  scale of a 512x384 image a tenth of its blocks have padding in them, which is as many
  as the worst tenth takes;
- images are filtered with their edge repeated, not with zeros around them;
- the second energy ratio is over the bands it compares, ``E1 + E2``, as in the paper;
  the code has ``E1 + E3``;
- shapes outside its table of [0.03, 10] are the table's end, where it gives 11;
- support vector regression, as all baselines here, for the paper's Bayesian model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from pyiqa.archs.brisque_arch import imresize, natural_scene_statistics, to_y_channel
from scipy.fft import dct
from scipy.ndimage import correlate1d
from scipy.special import gammaln

from metaiqa_plugin.errors import UserError

__all__ = ['Bliinds2', 'Brisque', 'FeatureExtractor', 'block_features', 'check_pixels']
__all__ += ['generalised_gaussian_shape', 'luminance']

LUMA = (0.299, 0.587, 0.114)
BLOCK = 5
STEP = 3
TINY = 1e-7
# rows are vertical frequencies, columns horizontal ones; 0 is not in the feature
BANDS = np.array([*map(int, ''.join('01122 11222 12223 22233 22333'.split()))])
ORIENTATIONS = np.array([*map(int, ''.join('01111 32111 33221 33222 33322'.split()))])

_DCT = dct(np.eye(BLOCK), axis=0, norm='ortho')
_DCT_OF_BLOCK = np.kron(_DCT, _DCT)
_SHAPES = np.arange(30, 10001) / 1000
_MOMENT_RATIOS = np.exp(
    gammaln(1 / _SHAPES) + gammaln(3 / _SHAPES) - 2 * gammaln(2 / _SHAPES)
)
_SIDE_TAP = np.exp(-1 / (2 * 0.5**2))
_LOW_PASS = np.array([_SIDE_TAP, 1, _SIDE_TAP]) / (1 + 2 * _SIDE_TAP)


class FeatureExtractor:
    """Maps an image to a vector of fixed length that a regression learns from.

    Both methods are deterministic: the same arguments give the same numbers, whatever
    was computed before; on another machine or number of threads, up to rounding.
    Features that are not ``learned`` by :meth:`fit` may be kept for an image whatever
    the training set.
    """

    learned: ClassVar[bool] = False

    def fit(self, images: Sequence[Path], seed: int) -> None:
        """Learn a codebook from training images, without their opinion scores.

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
    """Raises UserError unless ``pixels`` is (H, W, 3) uint8 with sides of so much."""
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


class Brisque(FeatureExtractor):
    """The 36 features of BRISQUE, 18 at each of two scales; sides of at least 16.

    A scale's features are the shape and variance of the generalised Gaussian fitted to
    the mean-subtracted contrast-normalised luminance (2), and shape, mean, left and
    right variance of the asymmetric one fitted to the products of neighbours in four
    directions (16). They are what pyiqa's ``brisque`` in the version 'original' hands
    to its regression, in float32 as there, before the scaling by the ranges of the
    authors' training set. The weights of that regression are not used.
    """

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        check_pixels(pixels, 'brisque', 16)
        image = torch.tensor(pixels).permute(2, 0, 1)
        scale = to_y_channel(image[None].float() / 255, 255.0)
        with torch.no_grad():
            half = imresize(scale, scale=0.5, antialiasing=True)
            features = [_statistics(scale), _statistics(half)]
        return torch.cat(features, dim=-1)[0].double().numpy()


def _statistics(luma: torch.Tensor) -> torch.Tensor:
    if luma.min() < luma.max():
        features = natural_scene_statistics(luma)
        if torch.isfinite(features).all():
            return features
    raise UserError(
        'brisque: the features of this image are not defined, it is flat; leave it out'
    )


class Bliinds2(FeatureExtractor):
    """The 24 features of BLIINDS-II, at three scales; sides of at least 20.

    In this order at each scale, the full one first: coefficient of frequency variation,
    generalised Gaussian shape, energy sub-band ratio, orientation variance (see
    :func:`block_features`), each as its mean over all blocks and then over the worst
    tenth of them: the lowest shapes, the highest of the others. The next scale is
    filtered by a 3x3 Gaussian of sigma 0.5 and has every second pixel.
    """

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        check_pixels(pixels, 'bliinds2', 20)
        image = luminance(pixels)
        pooled = []
        for _ in range(3):
            windows = sliding_window_view(image, (BLOCK, BLOCK))[::STEP, ::STEP]
            features = block_features(windows.reshape(-1, BLOCK * BLOCK))
            tenth = -(-len(features) // 10)
            lowest = slice(tenth)
            highest = slice(-tenth, None)
            worst = (highest, lowest, highest, highest)
            for ordered, part in zip(np.sort(features, axis=0).T, worst, strict=True):
                pooled += [ordered.mean(), ordered[part].mean()]
            for axis in (0, 1):
                image = correlate1d(image, _LOW_PASS, axis, mode='nearest')
            image = image[1::2, 1::2]
        return np.array(pooled)


def block_features(blocks: np.ndarray) -> np.ndarray:
    """The four features of each block, from its 5x5 DCT without the constant term.

    - Coefficient of frequency variation: ``std(|X|) / mean(|X|)``, X the 24
      coefficients.
    - Shape of the generalised Gaussian of X.
    - Energy sub-band ratio: the mean over n = 2, 3 of ``|E_n - P_n| / (E_n + P_n)``,
      E_n the variance of band n of three from low to high frequency, P_n the mean of
      the energies of the bands below.
    - Orientation variance: the variance of the first feature over the coefficients
      nearest to each of three orientations.

    Standard deviations and variances have n - 1 below; denominators have 1e-7 added.

    Args:
        blocks: (N, 25) float64, rows of a block one after the other.

    Returns:
        (N, 4) float64.
    """
    coefficients = blocks @ _DCT_OF_BLOCK.T
    oriented = [
        _variation(coefficients[:, which == ORIENTATIONS]) for which in (1, 2, 3)
    ]
    energy = [coefficients[:, band == BANDS].var(axis=1, ddof=1) for band in (1, 2, 3)]
    ratios = [
        _contrast(energy[1], energy[0]),
        _contrast(energy[2], (energy[0] + energy[1]) / 2),
    ]
    return np.stack(
        [
            _variation(coefficients[:, 1:]),
            generalised_gaussian_shape(coefficients[:, 1:]),
            np.mean(ratios, axis=0),
            np.var(oriented, axis=0, ddof=1),
        ],
        axis=1,
    )


def generalised_gaussian_shape(values: np.ndarray) -> np.ndarray:
    """The shape of the generalised Gaussian of each row, by matching two moments.

    The shape g solves ``G(1/g) G(3/g) / G(2/g)^2 = var(x) / mean(|x - mean(x)|)^2``, G
    the gamma function (Sharifi, Leon-Garcia, IEEE Trans. Circuits and Systems for Video
    Technology 5(1), 1995): 2 for a Gaussian, 1 for a Laplacian. It is interpolated in a
    table of steps of 0.001.

    Args:
        values: (N, samples) float64.

    Returns:
        (N,) float64 in [0.03, 10]; 10 for a row of equal values.
    """
    centred = values - values.mean(axis=1, keepdims=True)
    variance = centred.var(axis=1, ddof=1)
    ratio = variance / (np.abs(centred).mean(axis=1) ** 2 + TINY)
    return np.interp(ratio, _MOMENT_RATIOS[::-1], _SHAPES[::-1])


def _variation(coefficients: np.ndarray) -> np.ndarray:
    sizes = np.abs(coefficients)
    return sizes.std(axis=1, ddof=1) / (sizes.mean(axis=1) + TINY)


def _contrast(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.abs(upper - lower) / (upper + lower + TINY)
