"""How well predictions agree with MOS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyiqa.metrics import calculate_plcc, calculate_srcc

from metaiqa_plugin.errors import UserError

__all__ = ['Correlation', 'correlate']


@dataclass(frozen=True)
class Correlation:
    """Agreement of predictions with MOS; NaN where one of them is constant.

    Attributes:
        srocc: Spearman's rank-order correlation.
        plcc: Pearson's, without a logistic fit.
        images: how many.
    """

    srocc: float
    plcc: float
    images: int


def correlate(predicted: Sequence[float], mos: Sequence[float]) -> Correlation:
    """SROCC and PLCC, computed by pyiqa's metrics.

    Raises:
        UserError: different lengths, or fewer than two images.
    """
    predicted, mos = np.asarray(predicted, float), np.asarray(mos, float)
    if len(predicted) != len(mos) or len(mos) < 2:
        raise UserError(
            f'{len(predicted)} predictions for {len(mos)} MOS; expected as many of '
            'both and at least two'
        )
    return Correlation(
        float(calculate_srcc(predicted, mos)),
        float(calculate_plcc(predicted, mos)),
        len(mos),
    )
