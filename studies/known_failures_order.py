"""Do scores fall with the level of a distortion? Pure functions of scores.

Level 0 is the photo itself. The mean MOS of people are those of KADID-10k and TID2013,
see ``metaiqa_plugin.data.versions``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations, pairwise

import numpy as np

from metaiqa_plugin.data.distortions import LEVELS
from metaiqa_plugin.data.versions import PRISTINE_MOS, pseudo_mos

__all__ = ['Order', 'best_first', 'falls', 'opinions', 'order', 'pooled']

MIN_DIFFERENCE = 0.1
"""Of two mean MOS, 1 to 5, that are called different; they are of 81 photos."""


@dataclass(frozen=True)
class Order:
    """How often the score falls with the level; equal scores have not fallen.

    Attributes:
        adjacent: of the pairs of neighbouring levels, 0 to 5.
        every: of all pairs of levels, 0 to 5.
        photos: of the photos, those whose scores fall from each level, 1 to 5, to the
            next.
        people: of the pairs of levels, 0 to 5, whose mean MOS differ by
            :data:`MIN_DIFFERENCE`, those in the order of people.

    Each is the number that is right, and of how many.
    """

    adjacent: tuple[int, int]
    every: tuple[int, int]
    photos: tuple[int, int]
    people: tuple[int, int]


def opinions(distortion: str) -> list[float]:
    """Mean MOS (6,), 1 to 5, of the pristine photo and of levels 1 to 5 of a type."""
    return [PRISTINE_MOS, *(pseudo_mos(distortion, level) for level in LEVELS)]


def falls(people: Sequence[float]) -> bool:
    """Whether the mean MOS (6,) is lower from each level, 1 to 5, to the next."""
    return bool((np.diff(people[1:]) < 0).all())


def best_first(people: Sequence[float]) -> list[int]:
    """Levels 1 to 5 by mean MOS (6,), the highest first."""
    return sorted(LEVELS, key=lambda level: (-people[level], level))


def order(
    scores: Sequence[Sequence[float]],
    people: Sequence[float],
    lower_better: bool,
    unchanged: Collection[int] = (),
) -> Order:
    """The order of levels of one type.

    Args:
        scores: (photos, 6) of each photo and its levels 1 to 5, as the metric gives
            them. A photo without all six, NaN, is left out.
        people: (6,) mean MOS of the same.
        lower_better: direction of the scores.
        unchanged: levels that keep the photo: no pair with level 0.
    """
    quality = np.asarray(scores, np.float64).reshape(-1, 6)
    quality = quality[np.isfinite(quality).all(axis=1)]
    quality = -quality if lower_better else quality
    levels = range(6)
    every = [
        (one, two)
        for one, two in combinations(levels, 2)
        if one > 0 or two not in unchanged
    ]
    judged = [
        (one, two) if people[one] > people[two] else (two, one)
        for one, two in every
        if abs(people[one] - people[two]) >= MIN_DIFFERENCE
    ]
    falling = (np.diff(quality[:, 1:], axis=1) < 0).all(axis=1)
    return Order(
        _right(quality, [pair for pair in pairwise(levels) if pair in every]),
        _right(quality, every),
        (int(falling.sum()), len(quality)),
        _right(quality, judged),
    )


def pooled(orders: Sequence[Order]) -> Order:
    """All pairs of several types together."""
    counts = np.sum([astuple(each) for each in orders], axis=0)
    return Order(*(tuple(pair) for pair in counts.tolist()))


def _right(quality: np.ndarray, pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    right = sum(int((quality[:, one] > quality[:, two]).sum()) for one, two in pairs)
    return right, len(pairs) * len(quality)
