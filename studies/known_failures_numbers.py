"""What scores of photos say about known failures: pure functions of scores.

Scores are as a metric gives them; ``lower_better`` turns them round where a correlation
is asked for. A score that is missing is NaN, and its photo is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from metaiqa_plugin.score import correlate

__all__ = [
    'Agreement',
    'Change',
    'Spread',
    'agreement',
    'change',
    'darkest',
    'spread',
]

RESAMPLES = 1000


@dataclass(frozen=True)
class Agreement:
    """Scores of photos against their MOS; NaN where it is not defined.

    Attributes:
        count: photos with a score.
        srocc: Spearman's correlation; above 0 where the metric agrees.
        srocc_error: its standard error, by 1,000 bootstrap samples of the photos.
        plcc: Pearson's, without a logistic fit.
        rmse: root of the mean squared error; NaN unless the scores are on MOS' scale.
        mean_error: mean of score - MOS; likewise.
        mean, sd: of the scores.
    """

    count: int
    srocc: float
    srocc_error: float
    plcc: float
    rmse: float
    mean_error: float
    mean: float
    sd: float


@dataclass(frozen=True)
class Change:
    """Scores of versions of photos against the scores of the photos.

    Attributes:
        count: photos that have both scores.
        mean, sd, largest: of score of the version - score of the photo; the largest is
            that of the largest absolute value, with its sign.
        srocc_to_originals: Spearman's correlation of both scores.
        srocc_to_mos: of the versions' scores to the photos' MOS, above 0 where they
            agree.
    """

    count: int
    mean: float
    sd: float
    largest: float
    srocc_to_originals: float
    srocc_to_mos: float


@dataclass(frozen=True)
class Spread:
    """Five-number summary, the quartiles linear between scores."""

    count: int
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float


def darkest(luma: Sequence[float], share: float) -> tuple[np.ndarray, float]:
    """Which photos are the darkest ``share``, and the largest luma among them.

    Args:
        luma: (N,) mean luma of photos.
        share: in (0, 1]; rounded to whole photos, at least one. Photos as dark as the
            last of them belong to them, too.

    Returns:
        (N,) bool and the threshold.
    """
    luma = np.asarray(luma, np.float64)
    threshold = np.sort(luma)[max(1, round(share * len(luma))) - 1]
    return luma <= threshold, float(threshold)


def agreement(
    scores: Sequence[float],
    mos: Sequence[float],
    lower_better: bool,
    same_scale: bool,
) -> Agreement:
    """Scores (N,) against MOS (N,) in [0, 1], higher better.

    Args:
        scores: as the metric gives them.
        mos: of the same photos.
        lower_better: direction of the scores.
        same_scale: whether the scores predict the MOS itself.
    """
    (scores, mos), count = _finite(scores, mos)
    srocc, plcc = _correlated(_quality(scores, lower_better), mos)
    error = scores - mos
    told = same_scale and count > 0
    location = (scores.mean(), scores.std()) if count else (math.nan, math.nan)
    return Agreement(
        count,
        srocc,
        _srocc_error(scores, mos),
        plcc,
        float(np.sqrt((error**2).mean())) if told else math.nan,
        float(error.mean()) if told else math.nan,
        *(float(number) for number in location),
    )


def change(
    originals: Sequence[float],
    versions: Sequence[float],
    mos: Sequence[float],
    lower_better: bool,
) -> Change:
    """Scores (N,) of photos, those of their versions, and the MOS of the photos."""
    (originals, versions, mos), count = _finite(originals, versions, mos)
    apart = versions - originals
    return Change(
        count,
        float(apart.mean()) if count else math.nan,
        float(apart.std()) if count else math.nan,
        float(apart[np.abs(apart).argmax()]) if count else math.nan,
        _correlated(versions, originals)[0],
        _correlated(_quality(versions, lower_better), mos)[0],
    )


def spread(scores: Sequence[float]) -> Spread:
    """Of scores (N,); NaN where there is none."""
    (scores,), count = _finite(scores)
    numbers = np.quantile(scores, (0, 0.25, 0.5, 0.75, 1)) if count else [math.nan] * 5
    return Spread(count, *(float(number) for number in numbers))


def _quality(scores: np.ndarray, lower_better: bool) -> np.ndarray:
    return -scores if lower_better else scores


def _finite(*columns: Sequence[float]) -> tuple[list[np.ndarray], int]:
    """The rows in which all are finite, and how many there are."""
    arrays = [np.asarray(column, np.float64) for column in columns]
    kept = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    return [array[kept] for array in arrays], int(kept.sum())


def _correlated(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """SROCC and PLCC; NaN for fewer than two images, or constant ones."""
    if len(one) < 2 or not np.ptp(one) or not np.ptp(two):
        return math.nan, math.nan
    found = correlate(one, two)
    return found.srocc, found.plcc


def _srocc_error(scores: np.ndarray, mos: np.ndarray) -> float:
    """Standard error by bootstrap; samples in which one is constant are left out."""
    if len(scores) < 3:
        return math.nan
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(scores), size=(RESAMPLES, len(scores)))
    one, two = (rankdata(values[drawn], axis=1) for values in (scores, mos))
    one, two = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, two))
    scale = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    kept = scale > 0
    found = (one * two).sum(axis=1)[kept] / scale[kept]
    return float(found.std()) if len(found) else math.nan
