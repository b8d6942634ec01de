"""The head alone, before all else is trained with it.

A head that knows nothing sends large gradients into the backbone, which forgets what
ImageNet taught it (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", ICLR 2022). Features of the images are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError, real_number, whole_number
from metaiqa_plugin.train.block_settings import BlockSettings

__all__ = ['HeadFirst', 'features_of', 'train_head']


@dataclass(frozen=True)
class HeadFirst(BlockSettings):
    """The ``train: head_first:`` block of an option file.

    Attributes:
        steps: of AdamW, the rate falling as a half cosine.
        batch_size: features a step, drawn with replacement.
        lr: rate of the first step.
        weight_decay: of AdamW.
    """

    BLOCK: ClassVar = 'head_first'

    steps: int = 700
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        whole_number('train.head_first.steps', self.steps)
        whole_number('train.head_first.batch_size', self.batch_size)
        real_number('train.head_first.lr', self.lr, 0)
        real_number('train.head_first.weight_decay', self.weight_decay, 0)


def features_of(network: MetaIQA, views: Iterable[Sequence[np.ndarray]]) -> Tensor:
    """(images x views, features) float32: those of an image one after the other.

    Args:
        network: with frozen stages; is in evaluation mode afterwards.
        views: of each image the maps (h, w, C) of the image and of it mirrored.
    """
    network.eval()
    device = next(network.parameters()).device
    rows = []
    with torch.no_grad():
        for both in views:
            for maps in both:
                batch = torch.from_numpy(np.array(maps)).permute(2, 0, 1)[None]
                rows.append(network.backbone(batch.float().to(device)))
    return torch.cat(rows)


def train_head(
    network: MetaIQA, features: Tensor, mos: Tensor, settings: HeadFirst, seed: int
) -> None:
    """Train the head, in place, by the squared error (Eq. 9).

    A head that standardises does so by these features from then on; what it predicts
    does not change by that.

    Args:
        network: whose head it is.
        features: (N, C), at least two rows.
        mos: (N, 1) in [0, 1].
        settings: how.
        seed: of batches and dropout.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    head = network.head
    if network.config.standardised:
        head.restandardise(features)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    head.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(1, settings.steps + 1):
            chosen = torch.randint(len(features), (settings.batch_size,))
            chosen = chosen.to(features.device)
            loss = functional.mse_loss(head(features[chosen]), mos[chosen])
            if not math.isfinite(loss.item()):
                raise UserError(
                    f'train.head_first diverged at step {step}: the loss is '
                    f'{loss.item()}; lower train.head_first.lr'
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    optimizer.zero_grad()
