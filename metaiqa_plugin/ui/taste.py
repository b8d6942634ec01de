"""A metric that learns a person's ratings, and what can be said of it honestly.

Scores of photos whose ratings the network was trained on say nothing about its quality:
it has seen the answers. So each rated photo is also scored by a copy that saw the other
ratings only (cross-validation: Stone, "Cross-Validatory Choice and Assessment of
Statistical Predictions", J. R. Stat. Soc. B, 1974).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import correlate, score_network
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt

__all__ = [
    'LEAST_RATINGS',
    'OnStep',
    'Taste',
    'TastePlan',
    'chance_limit',
    'folds_of',
    'learn_taste',
    'mos_of_stars',
]

LEAST_RATINGS = 8
FOLDS = 4
MOST_STARS = 5

OnStep = Callable[[int, int], None]
"""Called with the steps done and those planned after each; may raise to stop."""


@dataclass(frozen=True)
class TastePlan:
    """Ratings to learn.

    Attributes:
        paths: of the rated photos; their order changes the result.
        stars: 1 to 5, five is best.
        leave_out: whether to measure on photos left out, too.
        settings: of the adaptation.

    Raises:
        UserError: fewer than ``LEAST_RATINGS``, or all alike.
    """

    paths: Sequence[str]
    stars: Sequence[int]
    leave_out: bool
    settings: AdaptSettings

    def __post_init__(self) -> None:
        if len(self.stars) < LEAST_RATINGS:
            raise UserError(
                f'{len(self.stars)} photos are rated; at least {LEAST_RATINGS} are '
                'needed'
            )
        if len(set(self.stars)) == 1:
            raise UserError(
                f'all ratings are {self.stars[0]}; rate some photos higher or lower'
            )


@dataclass(frozen=True)
class Taste:
    """What was learned.

    Attributes:
        network: the adapted one.
        before: scores of the rated photos by the network as it was.
        after: by the adapted network, which was trained on these ratings.
        left_out: each by a copy that did not see its rating; None: not measured.
        stars: the ratings.
    """

    network: MetaIQA
    before: Sequence[float]
    after: Sequence[float]
    left_out: Sequence[float] | None
    stars: Sequence[int]

    def srocc(self, which: str) -> float:
        """Spearman's correlation of ``before``, ``after`` or ``left_out`` with stars.

        NaN where all scores are alike.
        """
        return correlate(getattr(self, which), self.stars).srocc


def mos_of_stars(stars: Sequence[int]) -> list[float]:
    """1 to 5 stars as MOS in [0, 1]: (stars - 1) / 4."""
    return [(one - 1) / (MOST_STARS - 1) for one in stars]


def chance_limit(images: int) -> float:
    """What 95% of SROCC between unrelated orders of so many images stay below.

    In size: 1.96 / sqrt(images - 1), from the variance 1 / (images - 1) of Spearman's
    coefficient under independence (Kendall, "Rank Correlation Methods", 1948).
    """
    return min(1.0, 1.96 / math.sqrt(images - 1))


def folds_of(images: int, folds: int, seed: int) -> list[list[int]]:
    """``folds`` sorted lists of places, of about one size; each place is in one."""
    order = np.random.default_rng(seed).permutation(images).tolist()
    return [sorted(order[start::folds]) for start in range(folds)]


def learn_taste(network: MetaIQA, plan: TastePlan, on_step: OnStep) -> Taste:
    """Adapt a copy of ``network`` to ratings; the same plan gives the same weights.

    Args:
        network: the prior; not changed.
        plan: what to learn.
        on_step: see ``OnStep``.

    Raises:
        UserError: a photo can not be read, or the adaptation diverges.
    """
    count = len(plan.paths)
    folds = folds_of(count, FOLDS, plan.settings.seed) if plan.leave_out else []
    rounds = [list(range(count))]
    rounds += [sorted({*range(count)} - {*fold}) for fold in folds]
    steps = [plan.settings.total_steps(len(places)) for places in rounds]

    def adapted(index: int) -> MetaIQA:
        before = sum(steps[:index])
        learner = copy.deepcopy(network)
        mos = mos_of_stars([plan.stars[place] for place in rounds[index]])
        adapt(
            learner,
            LabelledImages([plan.paths[place] for place in rounds[index]], mos),
            plan.settings,
            progress=False,
            on_step=lambda step, _total, _loss: on_step(before + step, sum(steps)),
        )
        return learner

    before = score_network(network, plan.paths)
    learner = adapted(0)
    left_out = np.empty(count) if folds else None
    for index, fold in enumerate(folds, 1):
        paths = [plan.paths[place] for place in fold]
        left_out[fold] = score_network(adapted(index), paths)
    return Taste(
        learner,
        before.tolist(),
        score_network(learner, plan.paths).tolist(),
        None if left_out is None else left_out.tolist(),
        plan.stars,
    )
