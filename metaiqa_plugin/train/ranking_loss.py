"""Learning from ranked pairs: Liu et al., "RankIQA", ICCV 2017, Section 3.2 and 3.3.

The loss of a pair, x1 ranked above x2, is its hinge loss::

    L(x1, x2) = max(0, f(x2) - f(x1) + margin)

whose gradient is zero where the order holds by the margin. Three ways to a step from
the ranked pairs of a mini-batch: :func:`two_branches` forwards both images of each
pair, :func:`efficient` forwards each image once and takes the gradients of all pairs
from it, :func:`hardest` forwards all pairs and learns from those of the highest loss.
The first two have the same loss and gradients for the same pairs.

The loss of a mini-batch is the mean over its pairs; the authors' code divides their sum
by the number of images, which for groups of five is twice that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    'Pairs',
    'efficient',
    'hardest',
    'pairwise_hinge',
    'ranked_pairs',
    'two_branches',
]

Score = Callable[[Tensor], Tensor]
"""(N, 3, H, W) images to (N, 1) scores, higher is better."""


class Pairs(NamedTuple):
    """Ranked pairs of a mini-batch, as indices into its images.

    Attributes:
        better, worse: (P,) int64; the first of a pair is ranked above the second.
    """

    better: Tensor
    worse: Tensor

    def some(self, which: Tensor) -> Pairs:
        """Those at the indices ``which``."""
        return Pairs(self.better[which], self.worse[which])


def ranked_pairs(ranks: Tensor) -> Pairs:
    """All pairs of images of one group that are ranked differently.

    Args:
        ranks: (G, V), a row a group; a higher number ranks above a lower one of the
            same row, equal ones make no pair.

    Returns:
        indices into the (G * V) images, row by row.
    """
    above = ranks.unsqueeze(2) > ranks.unsqueeze(1)
    group, better, worse = above.nonzero(as_tuple=True)
    first = group * ranks.shape[1]
    return Pairs(first + better, first + worse)


def pairwise_hinge(better: Tensor, worse: Tensor, margin: float) -> Tensor:
    """Losses (P,) of pairs with the scores ``better`` (P,) and ``worse`` (P,)."""
    return (worse - better + margin).clamp(min=0)


def efficient(score: Score, images: Tensor, pairs: Pairs, margin: float) -> Tensor:
    """Losses (P,) from one forward pass of the mini-batch."""
    scores = score(images).squeeze(1)
    return pairwise_hinge(scores[pairs.better], scores[pairs.worse], margin)


def two_branches(score: Score, images: Tensor, pairs: Pairs, margin: float) -> Tensor:
    """Losses (P,) from a forward pass of each branch, an image once for each pair."""
    better = score(images[pairs.better]).squeeze(1)
    worse = score(images[pairs.worse]).squeeze(1)
    return pairwise_hinge(better, worse, margin)


def hardest(
    score: Score, images: Tensor, pairs: Pairs, margin: float, part: float
) -> Tensor:
    """Losses of the hardest pairs alone, at least one.

    Args:
        score, images, pairs, margin: as for :func:`two_branches`.
        part: of the pairs that are kept, above 0 to 1. All are forwarded without
            gradients to find them.
    """
    with torch.no_grad():
        losses = two_branches(score, images, pairs, margin)
    kept = losses.topk(max(1, math.ceil(part * len(losses)))).indices
    return two_branches(score, images, pairs.some(kept), margin)
