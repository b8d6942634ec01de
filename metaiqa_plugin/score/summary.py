"""What many rows have in common: how many, how good, and the best and worst."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaiqa_plugin.score.rows import ScoreRow

__all__ = ['Chosen', 'Distribution', 'Summary', 'drawn']

BINS = 20
BAR = 40
EIGHTHS = ' ▏▎▍▌▋▊▉█'


@dataclass(frozen=True)
class Distribution:
    """Scores of a metric.

    Attributes:
        images: that have one.
        mean, sd: NaN without any; the standard deviation is of a sample.
        least, median, most: NaN without any.
        counts: of ``BINS`` equal bins from the least to the most.
        edges: of the bins, one more.
    """

    images: int
    mean: float
    sd: float
    least: float
    median: float
    most: float
    counts: tuple[int, ...]
    edges: tuple[float, ...]


class Summary:
    """Of rows as they come; holds four bytes for each score.

    Args:
        metrics: names of the scores.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = tuple(metrics)
        self.images = self.failed = 0
        self._scores = [array('f') for _ in metrics]

    def add(self, row: ScoreRow) -> None:
        self.images += 1
        self.failed += bool(row.error)
        for scores, score in zip(self._scores, row.scores, strict=True):
            if score is not None:
                scores.append(score)

    def distribution(self, metric: str) -> Distribution:
        scores = np.frombuffer(self._scores[self.metrics.index(metric)], np.float32)
        if not len(scores):
            return Distribution(0, *[float('nan')] * 5, (), ())
        counts, edges = np.histogram(scores, BINS)
        return Distribution(
            len(scores),
            float(scores.mean(dtype=np.float64)),
            float(scores.std(dtype=np.float64, ddof=1)) if len(scores) > 1 else 0.0,
            float(scores.min()),
            float(np.median(scores)),
            float(scores.max()),
            tuple(counts.tolist()),
            tuple(edges.tolist()),
        )


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
        self._which, self._limit, self._place = which, limit, place
        self._sign = -1 if lower_better == (which == 'top') else 1
        self._kept: list[ScoreRow] = []
        self._heap: list[tuple[float, _Backwards, int, ScoreRow]] = []
        self._seen = 0

    def add(self, row: ScoreRow) -> None:
        score = row.scores[self._place]
        if score is None:
            return
        if self._which == 'below':
            if score < self._limit:
                self._kept.append(row)
            return
        self._seen += 1
        entry = (self._sign * score, _Backwards(row.path), self._seen, row)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def rows(self) -> list[ScoreRow]:
        if self._which == 'below':
            return self._kept
        return [entry[-1] for entry in sorted(self._heap, reverse=True)]


class _Backwards(str):
    """Text in the opposite order: of equal scores the first path is kept."""

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def drawn(distribution: Distribution) -> str:
    """A histogram in text, one line a bin."""
    highest = max(distribution.counts, default=0)
    lines = []
    edges = zip(distribution.edges, distribution.edges[1:], strict=False)
    for (low, high), count in zip(edges, distribution.counts, strict=True):
        eighths = round(8 * BAR * count / highest)
        bar = EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        lines.append(f'{low:10.4g} to {high:<10.4g} {bar} {count}')
    return '\n'.join(lines)
