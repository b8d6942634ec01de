"""How well scores agree with MOS, as the field reports it; computed by pyiqa."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyiqa.metrics.correlation_coefficient import (
    calculate_krcc,
    calculate_plcc,
    calculate_rmse,
    calculate_srcc,
    fit_curve,
)
from scipy.optimize import curve_fit
from scipy.special import expit

from metaiqa_plugin.errors import UserError

__all__ = ['Correlation', 'agreement', 'correlate']

MEASURES = ('srocc', 'plcc', 'plcc_logistic', 'krocc', 'rmse')


@dataclass(frozen=True)
class Correlation:
    """Correlations of scores with MOS; NaN where one of them is constant.

    Attributes:
        srocc: Spearman's rank-order correlation.
        plcc: Pearson's, without a logistic fit.
        images: how many.
    """

    srocc: float
    plcc: float
    images: int


def correlate(scores: Sequence[float], mos: Sequence[float]) -> Correlation:
    """SROCC and PLCC of the scores as they are.

    Raises:
        UserError: different lengths, or fewer than two images.
    """
    scores, mos = _arrays(scores, mos)
    return Correlation(
        float(calculate_srcc(scores, mos)), float(calculate_plcc(scores, mos)), len(mos)
    )


def agreement(scores: Sequence[float], mos: Sequence[float]) -> dict[str, float]:
    """Correlations of one test set.

    Args:
        scores: (N,) of a method, higher better.
        mos: (N,) higher better.

    Returns:
        ``srocc``, ``plcc``, ``krocc`` of the scores as they are; ``plcc_logistic`` and
        ``rmse`` after the monotonic logistic function of four parameters that VQEG
        recommends, fitted on these very images. All are NaN where a score is not
        finite or scores or MOS are constant: nothing is left out.

    Raises:
        UserError: different lengths, or fewer than two images.
    """
    scores, mos = _arrays(scores, mos)
    if not np.isfinite(scores).all() or not np.ptp(scores) or not np.ptp(mos):
        return dict.fromkeys(MEASURES, math.nan)
    fitted = _fitted(scores, mos)
    return {
        'srocc': float(calculate_srcc(scores, mos)),
        'plcc': float(calculate_plcc(scores, mos)),
        'plcc_logistic': float(calculate_plcc(fitted, mos)),
        'krocc': float(calculate_krcc(scores, mos)),
        'rmse': float(calculate_rmse(fitted, mos, eps=0.0)),
    }


def _arrays(
    scores: Sequence[float], mos: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    scores, mos = np.asarray(scores, float), np.asarray(mos, float)
    if scores.shape != mos.shape or scores.ndim != 1 or len(mos) < 2:
        raise UserError(
            f'scores of shape {scores.shape} for MOS of shape {mos.shape}; expected '
            'as many of both and at least two'
        )
    return scores, mos


def _fitted(scores: np.ndarray, mos: np.ndarray) -> np.ndarray:
    """MOS that the logistic function says, by pyiqa or within bounds.

    pyiqa 0.1.16 gives up where the best asymptote lies far beyond the MOS given,
    which is common for a weak method; the asymptotes here end at ten times their range.
    """
    with warnings.catch_warnings(), np.errstate(all='ignore'):
        warnings.simplefilter('ignore')
        with contextlib.suppress(RuntimeError, TypeError, ValueError):
            fitted = fit_curve(scores, mos, 'logistic_4params')
            if np.isfinite(fitted).all() and np.ptp(fitted):
                return fitted
    return _fitted_within_bounds(scores, mos)


def _fitted_within_bounds(scores: np.ndarray, mos: np.ndarray) -> np.ndarray:
    wide, high = 10 * np.ptp(scores), 10 * np.ptp(mos)
    start = [mos.max(), mos.min(), scores.mean(), scores.std() / 4]
    low = [mos.mean(), mos.min() - high, scores.min() - wide, np.ptp(scores) / 1000]
    top = [mos.max() + high, mos.mean(), scores.max() + wide, wide]

    def logistic(x, upper, lower, middle, scale):
        return (upper - lower) * expit((x - middle) / scale) + lower

    if calculate_srcc(scores, mos) < 0:
        return -_fitted_within_bounds(scores, -mos)
    with np.errstate(all='ignore'):
        found, _ = curve_fit(
            logistic, scores, mos, start, bounds=(low, top), max_nfev=10_000
        )
    return logistic(scores, *found)
