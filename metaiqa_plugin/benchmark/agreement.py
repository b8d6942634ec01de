"""Agreement of scores with MOS, as the field reports it; computed by pyiqa."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from pyiqa.metrics.correlation_coefficient import (
    calculate_krcc,
    calculate_plcc,
    calculate_rmse,
    calculate_srcc,
)

from metaiqa_plugin.errors import UserError

__all__ = ['agreement']

LOGISTIC = 'logistic_4params'


def agreement(scores: np.ndarray, mos: np.ndarray) -> dict[str, float]:
    """Correlations of one test set.

    Args:
        scores: (N,) of a method, higher better.
        mos: (N,) higher better.

    Returns:
        ``srocc``, ``plcc``, ``krocc`` of the scores as they are; ``plcc_logistic`` and
        ``rmse`` after the monotonic logistic function of four parameters that VQEG
        recommends, fitted on these very images. All are NaN where a score is not
        finite, the first four where scores or MOS are constant, and those of the fit
        where it does not converge: nothing is left out.

    Raises:
        UserError: different lengths, or fewer than two images.
    """
    scores, mos = np.asarray(scores, float), np.asarray(mos, float)
    if scores.shape != mos.shape or scores.ndim != 1 or len(mos) < 2:
        raise UserError(
            f'scores of shape {scores.shape} for MOS of shape {mos.shape}; expected '
            'as many of both and at least two'
        )
    measures: dict[str, Callable[[], float]] = {
        'srocc': lambda: calculate_srcc(scores, mos),
        'plcc': lambda: calculate_plcc(scores, mos),
        'plcc_logistic': lambda: calculate_plcc(scores, mos, LOGISTIC),
        'krocc': lambda: calculate_krcc(scores, mos),
        'rmse': lambda: calculate_rmse(scores, mos, LOGISTIC, eps=0.0),
    }
    if not np.isfinite(scores).all():
        return dict.fromkeys(measures, math.nan)
    return {name: _quiet(measure) for name, measure in measures.items()}


def _quiet(measure: Callable[[], float]) -> float:
    with warnings.catch_warnings(), np.errstate(all='ignore'):
        warnings.simplefilter('ignore')
        try:
            return float(measure())
        except (RuntimeError, TypeError, ValueError):
            return math.nan
