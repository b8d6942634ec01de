"""The mean score of many images as a metric of torchmetrics (extra ``torchmetrics``).

::

    from metaiqa_plugin.torchmetrics import MetaIQA

    quality = MetaIQA().to(device)
    for images in batches:
        quality.update(images)
    print(quality.compute())
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.score.scorers import open_metric

with needing('torchmetrics'):
    from torchmetrics import Metric

__all__ = ['MetaIQA']


class MetaIQA(Metric):
    """Mean over all images, and all processes, of the scores of a metric.

    ``compute`` gives a float64 scalar, NaN before any image.

    Args:
        metric: name of a no-reference metric of pyiqa, or path of a checkpoint of ours.
        arguments: of ``torchmetrics.Metric``.

    Raises:
        UserError: no such metric.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, metric: str | os.PathLike = 'metaiqa', **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scorer = open_metric(os.fspath(metric), device='cpu')
        for name in ('total', 'images'):
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state(name, zero, dist_reduce_fx='sum')

    @property
    def higher_is_better(self) -> bool:
        return not self.scorer.lower_better

    def update(self, images: Tensor) -> None:
        """Add the scores of images (N, 3, H, W) in [0, 1].

        Raises:
            UserError: they are something else, or the metric does not score them.
        """
        self.scorer.eval()  # a module around it may train
        try:
            scores = self.scorer(images)
        except (AssertionError, ValueError) as error:
            raise UserError(f'images: {error}') from error
        self.total += scores.double().sum()
        self.images += len(images)

    def compute(self) -> Tensor:
        """The mean, the same on every process."""
        return self.total / self.images
