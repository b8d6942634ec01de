"""A metric that learns a person's ratings, and what can be said of it honestly.

Scores of photos whose ratings the network was trained on say nothing about its quality:
it has seen the answers. So each rated photo is also scored by a copy that saw the other
ratings only (cross-validation: Stone, "Cross-Validatory Choice and Assessment of
Statistical Predictions", J. R. Stat. Soc. B, 1974).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError, one_line
from metaiqa_plugin.score import correlate, score_network
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt

__all__ = [
    'CHECKPOINT_NAME',
    'MIN_RATINGS',
    'Taste',
    'TasteJob',
    'TastePlan',
    'chance_limit',
    'folds_of',
    'learn_taste',
    'mos_of_stars',
]

CHECKPOINT_NAME = 'my-taste.safetensors'
MIN_RATINGS = 8
FOLDS = 4
MAX_STARS = 5
PATIENCE = 0.2
_LEARNING = threading.Lock()
"""One at a time: adaptations seed torch's generator, which all threads share."""

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
        UserError: fewer than ``MIN_RATINGS``, or all alike.
    """

    paths: Sequence[str]
    stars: Sequence[int]
    leave_out: bool
    settings: AdaptSettings

    def __post_init__(self) -> None:
        if len(self.stars) < MIN_RATINGS:
            raise UserError(
                f'{len(self.stars)} photos are rated; at least {MIN_RATINGS} are needed'
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
    return [(one - 1) / (MAX_STARS - 1) for one in stars]


def chance_limit(images: int) -> float:
    """What 95% of SROCC between unrelated orders of this many images stay below.

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
        UserError: a photo cannot be read, or the adaptation diverges.
    """
    count = len(plan.paths)
    folds = folds_of(count, FOLDS, plan.settings.seed) if plan.leave_out else []
    rounds = [list(range(count))]
    rounds += [sorted({*range(count)} - {*fold}) for fold in folds]
    steps = [plan.settings.total_steps(len(places)) for places in rounds]

    def adapted(index: int) -> MetaIQA:
        before = sum(steps[:index])
        learner = network.trainable()
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


class _Cancelled(Exception):
    pass


class TasteJob:
    """An adaptation in a thread of its own.

    Args:
        network: the prior; not changed.
        plan: what to learn.
        name_of: the user's name of a path, for messages.
        keep: is given what was learned, before it counts as done.

    Attributes:
        state: ``'waiting'`` for that of another page, ``'running'``, ``'done'``,
            ``'cancelled'`` or ``'failed'``.
        step, total: steps done and planned; 0 before the first.
        names: the user's names of the photos that it learns from.
        taste: the result, once it is done.
        error: why it failed.
    """

    def __init__(
        self,
        network: MetaIQA,
        plan: TastePlan,
        name_of: Callable[[str], str],
        keep: Callable[[Taste], None] = lambda taste: None,
    ) -> None:
        self.state = 'waiting'
        self.step = self.total = 0
        self.taste: Taste | None = None
        self.error = ''
        self._plan, self._network = plan, network
        self._name_of, self._keep = name_of, keep
        self.names = [name_of(path) for path in plan.paths]
        self._cancelled = threading.Event()
        self._started = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the step that runs."""
        self._cancelled.set()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state in ('waiting', 'running')

    def wait(self, seconds: float) -> None:
        """Return when it has ended, or after so long."""
        self._thread.join(seconds)

    def seconds_left(self) -> float | None:
        """By the mean of the steps done; None before the first."""
        if not self.step:
            return None
        each = (time.monotonic() - self._started) / self.step
        return each * (self.total - self.step)

    def _work(self) -> None:
        try:
            while not _LEARNING.acquire(timeout=PATIENCE):
                self._stop_if_cancelled()
            try:
                self._stop_if_cancelled()
                self.state, self._started = 'running', time.monotonic()
                taste = learn_taste(self._network, self._plan, self._note)
            finally:
                _LEARNING.release()
            self._stop_if_cancelled()  # a fit in closed form has no steps to stop at
            self.taste = taste
            self._keep(taste)
            self.state = 'done'
        except _Cancelled:
            self.state = 'cancelled'
        except Exception as error:  # the page must not wait for a thread that died
            self._fail(one_line(error))

    def _fail(self, error: str) -> None:
        if self._cancelled.is_set():  # the page was closed and took its photos with it
            self.state = 'cancelled'
            return
        for path in self._plan.paths:
            error = error.replace(repr(str(path)), repr(self._name_of(path)))
        self.error = error
        self.state = 'failed'

    def _note(self, step: int, total: int) -> None:
        self._stop_if_cancelled()
        self.step, self.total = step, total

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled
