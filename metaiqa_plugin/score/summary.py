"""What rows add up to: how many, how good, and the best and worst."""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from metaiqa_plugin.score.pipeline import ScoreRow

__all__ = ['Chosen', 'Summary', 'drawn']

BINS = 20
BAR = 40
EIGHTHS = ' ▏▎▍▌▋▊▉█'
SLACK = 10_000


class Summary:
    """Of rows as they come; holds four bytes for each score.

    Attributes:
        images, failed: how many, and how many of them lack a score.
        first_failed: path and error of the first of these.

    Args:
        metrics: names of the scores.
        expected: which of them images should have; None: all.
    """

    def __init__(
        self, metrics: Sequence[str], expected: Sequence[bool] | None = None
    ) -> None:
        self._expected = [True] * len(metrics) if expected is None else expected
        self.images = self.failed = 0
        self.first_failed = ''
        self._scores = {metric: array('f') for metric in metrics}

    def add(self, row: ScoreRow) -> None:
        self.images += 1
        if self.lacks(row):
            self.failed += 1
            self.first_failed = self.first_failed or f'{row.path!r}: {row.error}'
        for scores, score in zip(self._scores.values(), row.scores, strict=True):
            if score is not None:
                scores.append(score)

    def lacks(self, row: ScoreRow) -> bool:
        """Whether a score that was expected is not there."""
        return None in itertools.compress(row.scores, self._expected)

    def distributions(self) -> dict[str, dict[str, Any]]:
        """By metric: ``images`` that have a score, and if there are any: ``mean``;
        ``sd`` of a sample; ``minimum``, ``median``, ``maximum``; ``counts`` of ``BINS``
        equal bins from the minimum to the maximum; and the ``edges`` of these bins.
        """
        return {
            metric: _distribution(np.frombuffer(scores, np.float32))
            for metric, scores in self._scores.items()
        }


def _distribution(scores: np.ndarray) -> dict[str, Any]:
    if not len(scores):
        return {'images': 0}
    counts, edges = np.histogram(scores, BINS)
    sd = scores.std(dtype=np.float64, ddof=1) if len(scores) > 1 else 0.0
    return {
        'images': len(scores),
        'mean': float(scores.mean(dtype=np.float64)),
        'sd': float(sd),
        'minimum': float(scores.min()),
        'median': float(np.median(scores)),
        'maximum': float(scores.max()),
        'counts': counts.tolist(),
        'edges': edges.tolist(),
    }


class Chosen:
    """The rows that someone who culls photos wants to see.

    Args:
        which: ``'top'``: the best, first the very best; ``'bottom'``: the worst, first
            the very worst; ``'below'``: those with a score below, as they come.
        limit: how many, or the score.
        place: of the score that decides.
        lower_better: its direction; a score is below where the number is.
    """

    def __init__(
        self, which: str, limit: float, place: int, lower_better: bool
    ) -> None:
        self._below, self._limit, self._place = which == 'below', limit, place
        self._sign = 1 if lower_better == (which == 'top') else -1
        self._kept: list[ScoreRow] = []

    def add(self, row: ScoreRow) -> None:
        score = row.scores[self._place]
        if score is None or (self._below and score >= self._limit):
            return
        self._kept.append(row)
        if not self._below and len(self._kept) > self._limit + SLACK:
            self._kept = self.rows()

    def rows(self) -> list[ScoreRow]:
        """Of equal scores the first path comes first."""
        if self._below:
            return self._kept
        return heapq.nsmallest(self._limit, self._kept, self._order)

    def _order(self, row: ScoreRow) -> tuple[float, str]:
        return self._sign * row.scores[self._place], row.path


def drawn(distribution: dict[str, Any]) -> str:
    """A histogram in text, one line per bin."""
    counts, edges = distribution.get('counts', []), distribution.get('edges', [])
    lines = []
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        eighths = round(8 * BAR * count / max(counts))
        bar = EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        lines.append(f'{low:10.4g} to {high:<10.4g} {bar} {count}')
    return '\n'.join(lines)
