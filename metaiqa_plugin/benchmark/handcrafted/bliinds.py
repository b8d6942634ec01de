"""BLIINDS-II: statistics of the coefficients of a block DCT.

Saad, Bovik, Charrier, "Blind Image Quality Assessment: A Natural Scene Statistics
Approach in the DCT Domain", IEEE TIP 21(8), 2012. The bands, the small constants and
which tenth counts as the worst are those of the code that the authors released; the
formulas of the paper are given from memory, without its equation numbers.

Departures from that code:

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

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct
from scipy.ndimage import correlate1d
from scipy.special import gammaln

from metaiqa_plugin.benchmark.handcrafted import (
    FeatureExtractor,
    check_pixels,
    luminance,
)

__all__ = ['Bliinds2', 'block_features', 'generalised_gaussian_shape']

BLOCK = 5
STEP = 3
SCALES = 3
MIN_SIDE = 20
TINY = 1e-7

# rows are vertical frequencies, columns horizontal ones; 0 is not in the feature
BANDS = np.array(
    [
        [0, 1, 1, 2, 2],
        [1, 1, 2, 2, 2],
        [1, 2, 2, 2, 3],
        [2, 2, 2, 3, 3],
        [2, 2, 3, 3, 3],
    ]
).ravel()
ORIENTATIONS = np.array(
    [
        [0, 1, 1, 1, 1],
        [3, 2, 1, 1, 1],
        [3, 3, 2, 2, 1],
        [3, 3, 2, 2, 2],
        [3, 3, 3, 2, 2],
    ]
).ravel()

_DCT = dct(np.eye(BLOCK), axis=0, norm='ortho')
_DCT_OF_BLOCK = np.kron(_DCT, _DCT)

_SHAPES = np.arange(30, 10001) / 1000
_MOMENT_RATIOS = np.exp(
    gammaln(1 / _SHAPES) + gammaln(3 / _SHAPES) - 2 * gammaln(2 / _SHAPES)
)

_SIDE_TAP = np.exp(-1 / (2 * 0.5**2))
_LOW_PASS = np.array([_SIDE_TAP, 1, _SIDE_TAP]) / (1 + 2 * _SIDE_TAP)


class Bliinds2(FeatureExtractor):
    """The 24 features of BLIINDS-II: four, pooled in two ways, at three scales.

    In this order at each scale, the full one first: coefficient of frequency variation,
    generalised Gaussian shape, energy sub-band ratio, orientation variance (see
    :func:`block_features`), each as its mean over all blocks and then over the worst
    tenth of them: the lowest shapes, the highest of the others. The next scale is
    filtered by a 3x3 Gaussian of sigma 0.5 and has every second pixel.
    """

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(24,) float64 of (H, W, 3) uint8 RGB with sides of at least 20.

        Raises:
            UserError: ``pixels`` is something else.
        """
        check_pixels(pixels, 'bliinds2', MIN_SIDE)
        image = luminance(pixels)
        pooled = []
        for _ in range(SCALES):
            windows = sliding_window_view(image, (BLOCK, BLOCK))[::STEP, ::STEP]
            features = block_features(windows.reshape(-1, BLOCK * BLOCK))
            pooled.extend(_pooled(features))
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


def _pooled(features: np.ndarray) -> list[float]:
    variation, shape, energy, orientation = np.sort(features, axis=0).T
    tenth = -(-len(features) // 10)
    pooled = []
    for ordered, worst in (
        (variation, slice(-tenth, None)),
        (shape, slice(tenth)),
        (energy, slice(-tenth, None)),
        (orientation, slice(-tenth, None)),
    ):
        pooled.extend([ordered.mean(), ordered[worst].mean()])
    return pooled
