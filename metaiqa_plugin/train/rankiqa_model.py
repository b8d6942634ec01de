"""Learning to rank as a pyiqa model (RankIQA, ICCV 2017, Section 3).

A trainer calls :meth:`RankIQAModel.optimize_parameters` once per mini-batch of groups
of ranked images. Fine-tuning on MOS, the second stage, is ``IQAModel`` with the squared
error.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np
import torch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.batchnorm import training_mode
from metaiqa_plugin.train.iqa_model import IQAModel
from metaiqa_plugin.train.ranking_loss import (
    Pairs,
    efficient,
    hardest,
    ranked_pairs,
    two_branches,
)
from metaiqa_plugin.train.ranking_settings import RankingSettings

__all__ = ['RankIQAModel']


class RankIQAModel(IQAModel):
    """Trains any pyiqa network on ranked images.

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
        pairs = self._chosen(current_iter)
        if not len(pairs.better):
            raise UserError(
                f'iteration {current_iter}: no two images of a group are ranked '
                'differently; the groups need different levels or MOS'
            )
        self.optimizer.zero_grad()
        losses = self._losses(self.net, self.images, pairs, self.ranking.margin)
        loss = losses.mean()
        if not math.isfinite(loss.item()):
            raise UserError(
                f'training diverged at iteration {current_iter}: the ranking loss is '
                f'{loss.item()}; lower train.optim.lr'
            )
        loss.backward()
        self.optimizer.step()
        right = (losses < self.ranking.margin).float().mean()
        self.log_dict = OrderedDict(
            l_rank=loss.item(), pairs_in_order=right.item(), pairs=len(losses)
        )

    def _chosen(self, current_iter: int) -> Pairs:
        """All pairs, or as many as asked for, drawn by the seed and the iteration."""
        count, wanted = len(self.pairs.better), self.ranking.pairs
        if not wanted or wanted >= count:
            return self.pairs
        generator = np.random.default_rng([self.seed, current_iter])
        drawn = torch.from_numpy(generator.permutation(count)[:wanted])
        return self.pairs.some(drawn.to(self.device))
