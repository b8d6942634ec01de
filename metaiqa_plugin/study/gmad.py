"""gMAD competition: the image pairs on which two quality metrics disagree the most.

Group MAximum Differentiation: Ma, Wu, Wang, Duanmu, Yong, Li, Zhang, "Group MAD
Competition - A New Methodology to Compare Objective Image Quality Models", CVPR 2016;
extended in TPAMI 42(4), 2020. Used by Su et al. (HyperIQA), CVPR 2020.

A defender says that the images of a level are of about equal quality; an attacker
looks among them for the pair that it finds most different. One glance at the pair
tells who is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaiqa_plugin.errors import UserError, real_number, whole_number

__all__ = [
    'TOLERANCE',
    'Level',
    'Pair',
    'Role',
    'Side',
    'both_roles',
    'competition',
]

TOLERANCE = 0.25
"""How far from its centre a level reaches, in standard deviations of the defender."""


@dataclass(frozen=True)
class Pair:
    """Two images that the defender finds alike and the attacker does not.

    Attributes:
        better, worse: positions of the images; better and worse by the attacker.
        difference: of the attacker's scores, better minus worse, in standard
            deviations of its scores of all images; above 0.
    """

    better: int
    worse: int
    difference: float


@dataclass(frozen=True)
class Level:
    """Images of about equal quality by the defender.

    Attributes:
        number: from 1, the worst by the defender.
        images: positions of all images of the level, ascending.
        pairs: the largest difference first; an image is in one of them at most. None
            where the level has fewer than two images.
    """

    number: int
    images: tuple[int, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Side:
    """A metric and what it says of the images.

    Attributes:
        name: of the metric.
        scores: (N,) finite, as the metric gives them.
        lower_better: lower scores are better.
    """

    name: str
    scores: Sequence[float]
    lower_better: bool = False

    @property
    def quality(self) -> np.ndarray:
        """(N,) float64: the scores, turned round where lower is better."""
        scores = np.asarray(self.scores, np.float64)
        return -scores if self.lower_better else scores


@dataclass(frozen=True)
class Role:
    """One half of the competition.

    Attributes:
        defender, attacker: the metrics.
        levels: of the defender, the worst first.
    """

    defender: Side
    attacker: Side
    levels: list[Level]

    @property
    def mean_difference(self) -> float:
        """Mean of the first pairs of all levels that have one; NaN without any."""
        first = [level.pairs[0].difference for level in self.levels if level.pairs]
        return float(np.mean(first)) if first else float('nan')


def both_roles(
    one: Side,
    other: Side,
    levels: int = 5,
    pairs: int = 2,
    tolerance: float = TOLERANCE,
) -> tuple[Role, Role]:
    """``one`` defends against ``other``, then ``other`` against ``one``.

    Arguments and exceptions are those of :func:`competition`.
    """
    settings = (levels, pairs, tolerance)
    return (
        Role(one, other, competition(one.quality, other.quality, *settings)),
        Role(other, one, competition(other.quality, one.quality, *settings)),
    )


def competition(
    defender: Sequence[float],
    attacker: Sequence[float],
    levels: int = 5,
    pairs: int = 2,
    tolerance: float = TOLERANCE,
) -> list[Level]:
    """The pairs with which ``attacker`` attacks each level of ``defender``.

    A level is a window: the images, sorted by the defender's score, are cut into
    ``levels`` groups of equal counts (to one), and of each group those are kept whose
    score is within ``tolerance`` standard deviations of the group's median. Groups
    alone would do where images are many, but the outer ones span a wide range of
    scores, and a pair from both ends would be no fault of the defender. Windows alone
    could overlap. So no image is in two levels and no level is wider than twice the
    tolerance; the standard deviation is that of all images (divided by their count).

    Within a level the first pair is the attacker's highest score against its lowest,
    the second that of the images that remain, and so on; no other choice of as many
    pairs without a common image has a larger sum of differences. Images of equal
    score are taken by position.

    Args:
        defender: (N,) finite scores, higher is better.
        attacker: (N,) finite scores of the same images, higher is better.
        levels: at least 1, at most N / 2.
        pairs: most pairs of a level, at least 1; a level with fewer images, or to
            whose images the attacker gives one score, has fewer.
        tolerance: at least 0.

    Returns:
        ``levels`` levels, the worst by the defender first.

    Raises:
        UserError: an argument is out of its range, or a metric gives all images the
            same score.
    """
    whole_number('levels', levels)
    whole_number('pairs', pairs)
    real_number('tolerance', tolerance, 0)
    defender = _checked('defender', defender)
    attacker = _checked('attacker', attacker)
    if len(defender) != len(attacker):
        raise UserError(
            f'{len(defender)} scores of the defender for {len(attacker)} of the '
            'attacker; expected as many of both'
        )
    if len(defender) < 2 * levels:
        raise UserError(
            f'levels={levels}: needs at least {2 * levels} images, got '
            f'{len(defender)}; give more images or ask for fewer levels'
        )
    spread = attacker.std()
    reach = tolerance * defender.std()
    found = []
    for number, group in enumerate(_groups(defender, levels), 1):
        distance = np.abs(defender[group] - np.median(defender[group]))
        images = np.sort(group[distance <= reach])
        chosen = _pairs(images, attacker, spread, pairs)
        found.append(Level(number, tuple(images.tolist()), chosen))
    return found


def _checked(name: str, scores: Sequence[float]) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise UserError(
            f'{name}: expected one finite score an image, got an array of shape '
            f'{scores.shape}, {np.count_nonzero(~np.isfinite(scores))} not finite'
        )
    if len(scores) and np.ptp(scores) == 0:
        raise UserError(
            f'{name}: gives all {len(scores)} images the score {scores[0]:g}; images '
            'of differing quality or another metric are needed'
        )
    return scores


def _groups(scores: np.ndarray, count: int) -> list[np.ndarray]:
    """Positions in ``count`` groups of equal size (to one), the lowest scores first."""
    return np.array_split(np.argsort(scores, kind='stable'), count)


def _pairs(
    images: np.ndarray, attacker: np.ndarray, spread: float, most: int
) -> tuple[Pair, ...]:
    scores = attacker[images]
    best = images[np.argsort(-scores, kind='stable')]
    worst = images[np.argsort(scores, kind='stable')]
    matched = zip(best[:most].tolist(), worst[:most].tolist(), strict=True)
    return tuple(
        Pair(better, worse, float((attacker[better] - attacker[worse]) / spread))
        for better, worse in matched
        if attacker[better] > attacker[worse]
    )
