"""Learning to rank as a pyiqa model: Liu et al., "RankIQA", ICCV 2017, Section 3.

The loss of a pair, x1 ranked above x2, is its hinge loss::

    L(x1, x2) = max(0, f(x2) - f(x1) + margin)

whose gradient is zero where the order holds by the margin. Three ways to a step from
the ranked pairs of a mini-batch: :func:`two_branches` forwards both images of each
pair, :func:`efficient` forwards each image once and takes the gradients of all pairs
from it, :func:`hardest` forwards all pairs and learns from those of the highest loss.
The first two have the same loss and gradients for the same pairs.

The loss of a mini-batch is the mean over its pairs; the authors' code divides their sum
by the number of images, which for groups of five is twice that. Fine-tuning on MOS, the
second stage, is ``IQAModel`` with the squared error.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.iqa_model import IQAModel
from metaiqa_plugin.train.network import training_mode
from metaiqa_plugin.train.settings import RankingSettings

__all__ = [
    'Pairs',
    'RankIQAModel',
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

    def drawn(self, count: int, *seed: int) -> Pairs:
        """``count`` of them at random, as ``seed`` says; all, if there are no more."""
        if count >= len(self.better):
            return self
        order = np.random.default_rng(seed).permutation(len(self.better))
        return self.some(torch.from_numpy(order[:count]).to(self.better.device))


def ranked_pairs(ranks: Tensor) -> Pairs:
    """All pairs of images of one group that are ranked differently.

    Args:
        ranks: (G, V), one row per group; a higher number ranks above a lower one of the
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


class RankIQAModel(IQAModel):
    """Trains any pyiqa network on ranked images, one step per mini-batch of groups.

    Options beside those of pyiqa's ``GeneralIQAModel``: ``train.ranking``, see
    :class:`RankingSettings`. The training set is a ``RankedDataset``; a validation set
    has labelled images, as for ``IQAModel``.

    Raises:
        UserError: a bad option; training diverged; a mini-batch without a ranked pair.
        CheckpointError: ``path.pretrain_network`` does not fit the network.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        train = opt.get('train', {})
        self.ranking = RankingSettings.from_options(train.get('ranking') or {})
        self.seed = opt.get('manual_seed') or 0
        self._losses = {
            'efficient': efficient,
            'pairs': two_branches,
            'hardest': partial(hardest, part=self.ranking.hardest),
        }[self.ranking.form]
        super().__init__(opt)

    def feed_data(self, data: dict[str, Any]) -> None:
        """A mini-batch of groups, or in validation one of labelled images."""
        if 'rank' not in data:
            super().feed_data(data)
            return
        images = data['img'].to(self.device, non_blocking=True)
        self.images = images.flatten(0, 1).float().div_(255)
        self.images = self.images.contiguous(memory_format=torch.channels_last)
        self.pairs = ranked_pairs(data['rank'].to(self.device))

    def optimize_parameters(self, current_iter: int) -> None:
        """One step from the ranked pairs of the mini-batch."""
        self.set_rates(current_iter)
        training_mode(self.net, self.ranking.batchnorm)
        pairs = self.pairs
        if self.ranking.pairs:
            pairs = pairs.drawn(self.ranking.pairs, self.seed, current_iter)
        if not len(pairs.better):
            raise UserError(
                f'iteration {current_iter}: no two images of a group are ranked '
                'differently; the groups need different levels or MOS'
            )
        self.optimizer.zero_grad()
        losses = self._losses(self.net, self.images, pairs, self.ranking.margin)
        loss = losses.mean()
        self.log_dict = OrderedDict(l_rank=loss.item())
        self.refuse_divergence(current_iter)
        loss.backward()
        self.optimizer.step()
        right = (losses < self.ranking.margin).float().mean()
        self.log_dict.update(pairs_in_order=right.item(), pairs=len(losses))
