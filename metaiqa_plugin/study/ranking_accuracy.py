"""How often a metric puts the levels of a distortion in the order people would.

After Liu, van de Weijer, Bagdanov, "RankIQA: Learning from Rankings for No-reference
Image Quality Assessment", ICCV 2017: distorting a photo more and more gives a ranking
that needs no opinions. The measures here are counts over such rankings. What is milder
is told by ``data.versions.severity``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyiqa.metrics.correlation_coefficient import calculate_srcc

from metaiqa_plugin.errors import UserError

__all__ = [
    'RankedVersions',
    'RankingAccuracy',
    'count_pairs',
    'order_agreement',
    'ranking_accuracy',
]


@dataclass(frozen=True)
class RankedVersions:
    """The levels of one distortion type of one photo.

    Attributes:
        photo: name; versions of one photo are not independent of each other.
        severity: (L,) of the levels, higher worse, see ``data.versions.severity``.
        quality: (L,) scores, higher better, finite.

    Raises:
        UserError: the two are not one-dimensional and of one length, or a quality is
            not finite.
    """

    photo: str
    severity: Sequence[float]
    quality: Sequence[float]

    def __post_init__(self) -> None:
        shapes = np.shape(self.severity), np.shape(self.quality)
        if shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise UserError(
                f'severity of shape {shapes[0]} for quality of shape {shapes[1]}; '
                'expected one of each for each level'
            )
        if not np.isfinite(self.quality).all():
            raise UserError(
                f'quality={list(self.quality)!r}: leave out what is not finite'
            )


@dataclass(frozen=True)
class RankingAccuracy:
    """Agreement of scores with the severity of distortions.

    Attributes:
        photos: with at least one pair.
        pairs: two levels of different severity of one photo and type.
        accuracy: share of the pairs in which the milder one has the strictly better
            score; 0.5 is chance, 1 perfect. Equal scores count as wrong.
        standard_error: of the accuracy, over photos: standard deviation (n - 1) of
            the accuracy of each photo, over the root of their number; NaN for one
            photo.
        srocc: mean of `order_agreement` over photos and types, 1 perfect.

    Accuracy and SROCC are NaN where there is no pair.
    """

    photos: int
    pairs: int
    accuracy: float
    standard_error: float
    srocc: float


def ranking_accuracy(ranked: Sequence[RankedVersions]) -> RankingAccuracy:
    """The accuracy of one type, or of several together.

    Args:
        ranked: an entry for each photo and type. Pairs are formed within an entry
            only; entries of one photo are one photo of the standard error. Entries
            without a pair are left out.
    """
    right, pairs = defaultdict(int), defaultdict(int)
    agreements = []
    for versions in ranked:
        counted = count_pairs(versions.severity, versions.quality)
        if counted[1]:
            right[versions.photo] += counted[0]
            pairs[versions.photo] += counted[1]
            agreements.append(order_agreement(versions.severity, versions.quality))
    if not pairs:
        return RankingAccuracy(0, 0, math.nan, math.nan, math.nan)
    total = sum(pairs.values())
    return RankingAccuracy(
        photos=len(pairs),
        pairs=total,
        accuracy=sum(right.values()) / total,
        standard_error=_standard_error([right[name] / pairs[name] for name in pairs]),
        srocc=float(np.mean(agreements)),
    )


def count_pairs(severity: Sequence[float], quality: Sequence[float]) -> tuple[int, int]:
    """Pairs (in the right order, all) of levels that differ in severity.

    Args:
        severity: (L,) higher worse.
        quality: (L,) higher better.
    """
    severity, quality = np.asarray(severity, float), np.asarray(quality, float)
    milder = severity[:, None] < severity[None, :]
    better = quality[:, None] > quality[None, :]
    return int((milder & better).sum()), int(milder.sum())


def order_agreement(severity: Sequence[float], quality: Sequence[float]) -> float:
    """SROCC of mildness and quality: 1 if the order is the same, -1 if opposite.

    0 where one of them is constant, for then it tells no order.

    Args:
        severity: (L,) higher worse.
        quality: (L,) higher better.
    """
    severity, quality = np.asarray(severity, float), np.asarray(quality, float)
    if not np.ptp(severity) or not np.ptp(quality):
        return 0.0
    return float(calculate_srcc(-severity, quality))


def _standard_error(shares: list[float]) -> float:
    if len(shares) < 2:
        return math.nan
    return float(np.std(shares, ddof=1) / math.sqrt(len(shares)))
