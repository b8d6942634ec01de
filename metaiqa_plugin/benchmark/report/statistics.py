"""The mathematics of the report: means, differences, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = [
    'CONFIDENCE',
    'Difference',
    'Spread',
    'holm',
    'paired_difference',
    'rank_differences',
    'spearman',
    'spread_over_splits',
    'wilcoxon',
]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Repeated values of one quantity.

    Attributes:
        mean: over splits, of the means over seeds in each; NaN if any value is NaN.
        sd: of those means over splits, divisor J - 1; NaN for fewer than two.
        sd_seeds: root of the mean, over splits with two seeds or more, of the variance
            over seeds; NaN if there is no such split.
        splits: J, how many.
    """

    mean: float
    sd: float
    sd_seeds: float
    splits: int


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences; NaN where a number does not exist.

    Attributes:
        mean: of the differences.
        low, high: ends of the 95% confidence interval.
        p: two-sided p-value of a mean of zero.
        factor: what the variance of the differences was multiplied by.
        pairs: J, how many.
    """

    mean: float
    low: float
    high: float
    p: float
    factor: float
    pairs: int


def spread_over_splits(values: Sequence[Sequence[float]]) -> Spread:
    """Spread of ``values[split][seed]``; every split has a seed at least."""
    splits = [np.asarray(seeds, dtype=float) for seeds in values]
    means = np.array([seeds.mean() for seeds in splits])
    variances = [seeds.var(ddof=1) for seeds in splits if len(seeds) > 1]
    return Spread(
        mean=float(means.mean()) if len(means) else math.nan,
        sd=float(means.std(ddof=1)) if len(means) > 1 else math.nan,
        sd_seeds=math.sqrt(np.mean(variances)) if variances else math.nan,
        splits=len(splits),
    )


def paired_difference(
    differences: Sequence[float], test_over_train: float = 0.0
) -> Difference:
    """Corrected resampled t-test.

    Splits drawn at random from the same images share most of their training images, so
    that their results are correlated and the usual variance of a mean, S^2 / J, is too
    small. Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning
    52 (2003), section 3, estimate it by

        (1 / J + n_test / n_train) * S^2

    S^2 being the sample variance of the J differences; the mean over the root of it is
    compared with Student's t with J - 1 degrees of freedom.

    Args:
        differences: one a split.
        test_over_train: n_test / n_train; 0 gives the usual paired t-test.

    Returns:
        the difference; without interval and p-value for fewer than two splits. Where
        all differences are equal the interval is a point, p is 0, or 1 at zero.
    """
    values = np.asarray(differences, dtype=float)
    pairs = len(values)
    mean = float(values.mean()) if pairs else math.nan
    if pairs < 2 or not np.isfinite(values).all():
        return Difference(mean, math.nan, math.nan, math.nan, math.nan, pairs)
    factor = 1 / pairs + test_over_train
    if np.all(values == values[0]):
        return Difference(mean, mean, mean, float(values[0] == 0), factor, pairs)
    error = math.sqrt(factor * values.var(ddof=1))
    student = stats.t(pairs - 1)
    margin = float(student.ppf((1 + CONFIDENCE) / 2)) * error
    p = 2 * float(student.sf(abs(mean) / error))
    return Difference(mean, mean - margin, mean + margin, p, factor, pairs)


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p-value of the signed-rank test.

    Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1 (1945);
    exact for few differences, zeros left out, as ``scipy.stats.wilcoxon`` does. It
    takes the differences as independent.

    Returns:
        1 where all are zero; NaN for fewer than two or where one is NaN.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    if not values.any():
        return 1.0
    return float(stats.wilcoxon(values).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for m tests, in the order given.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian
    Journal of Statistics 6 (1979): with p_(1) <= ... <= p_(m), the adjusted p_(i) is
    the largest of min(1, (m - j + 1) * p_(j)) over j <= i. NaN stays, and is no test.
    """
    adjusted = [math.nan] * len(p_values)
    tests = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    largest = 0.0
    for place, index in enumerate(sorted(tests, key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(tests) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's of the ranks, ties at their mean rank.

    Returns:
        NaN for fewer than two values, a constant, or a value that is not finite.
    """
    values = np.array([first, second], dtype=float)
    if values.shape[1] < 2 or not np.isfinite(values).all():
        return math.nan
    if (values == values[:, :1]).all(axis=1).any():
        return math.nan
    return float(np.corrcoef(stats.rankdata(values, axis=1))[0, 1])


def rank_differences(mos: Sequence[float], scores: Sequence[float]) -> np.ndarray:
    """Rank among the scores minus rank among the MOS, as shares of the most possible.

    1 is the image of the worst MOS scored as the best; it needs no fit of one scale to
    the other. Images without a finite score get NaN and no rank.
    """
    mos, scores = np.asarray(mos, dtype=float), np.asarray(scores, dtype=float)
    finite = np.isfinite(scores)
    differences = np.full(len(mos), math.nan)
    if finite.sum() > 1:
        ranks = stats.rankdata(scores[finite]) - stats.rankdata(mos[finite])
        differences[finite] = ranks / (finite.sum() - 1)
    return differences
