"""What scores say about known failures: pure functions of tables of scores.

Scores are as a metric gives them; ``lower_better`` turns them round where an order or a
correlation is asked for. A score that is missing is NaN, and its image is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise

import numpy as np

from metaiqa_plugin.data.distortions import LEVELS
from metaiqa_plugin.data.pseudo_mos import PRISTINE_MOS, pseudo_mos
from metaiqa_plugin.scoring import correlate

__all__ = [
    'Agreement',
    'Change',
    'Order',
    'Spread',
    'agreement',
    'change',
    'darkest',
    'opinions',
    'order',
    'pooled',
    'spread',
]

RESAMPLES = 1000
LEAST_DIFFERENCE = 0.1
"""Of two mean MOS, 1 to 5, that are called different; they are of 81 photos."""


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
    """

    count: int
    srocc: float
    srocc_error: float
    plcc: float
    rmse: float
    mean_error: float


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


@dataclass(frozen=True)
class Order:
    """How often the score falls with the level; equal scores have not fallen.

    Attributes:
        adjacent: of the pairs of neighbouring levels, 0 to 5, where 0 is the photo.
        every: of all pairs of levels.
        photos: of the photos, those whose six scores fall all the way.
        people: of the pairs whose mean MOS differ (:data:`LEAST_DIFFERENCE`), those in
            the order of people.

    Each is the number that is right, and of how many.
    """

    adjacent: tuple[int, int]
    every: tuple[int, int]
    photos: tuple[int, int]
    people: tuple[int, int]


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
    return Agreement(
        count,
        srocc,
        _srocc_error(scores, mos),
        plcc,
        float(np.sqrt((error**2).mean())) if told else math.nan,
        float(error.mean()) if told else math.nan,
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


def opinions(distortion: str) -> list[float]:
    """Mean MOS (6,), 1 to 5, of the pristine photo and of levels 1 to 5 of a type."""
    return [PRISTINE_MOS, *(pseudo_mos(distortion, level) for level in LEVELS)]


def order(
    scores: Sequence[Sequence[float]], people: Sequence[float], lower_better: bool
) -> Order:
    """The order of levels of one type.

    Args:
        scores: (photos, 6) of each photo and its levels 1 to 5.
        people: (6,) mean MOS of the same.
        lower_better: direction of the scores.
    """
    quality = _quality(np.asarray(scores, np.float64).reshape(-1, 6), lower_better)
    quality = quality[np.isfinite(quality).all(axis=1)]
    levels = range(6)
    adjacent, every = list(pairwise(levels)), list(combinations(levels, 2))
    judged = [
        (one, two) if people[one] > people[two] else (two, one)
        for one, two in every
        if abs(people[one] - people[two]) >= LEAST_DIFFERENCE
    ]
    falling = (np.diff(quality, axis=1) < 0).all(axis=1)
    return Order(
        _right(quality, adjacent),
        _right(quality, every),
        (int(falling.sum()), len(quality)),
        _right(quality, judged),
    )


def pooled(orders: Sequence[Order]) -> Order:
    """All pairs of several types together."""
    counts: Iterator[Mapping] = (asdict(each) for each in orders)
    columns = zip(*(each.values() for each in counts), strict=True)
    return Order(*(tuple(np.sum(column, axis=0).tolist()) for column in columns))


def _right(quality: np.ndarray, pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    right = sum(int((quality[:, one] > quality[:, two]).sum()) for one, two in pairs)
    return right, len(pairs) * len(quality)


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
    found = [_correlated(scores[own], mos[own])[0] for own in drawn]
    found = [srocc for srocc in found if math.isfinite(srocc)]
    return float(np.std(found)) if found else math.nan
