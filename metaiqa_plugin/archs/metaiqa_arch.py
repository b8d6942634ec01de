"""MetaIQA: a convolutional backbone, global average pooling, a regression head.

Paper: Zhu, Li, Wu, Dong, Shi, "MetaIQA: Deep Meta-learning for No-Reference Image
Quality Assessment", CVPR 2020, Section 3.1 and Eq. 1.
Authors' code: github.com/zhuhancheng/MetaIQA (weights in its layout load here).

Where we depart from the paper:

- The backbone is any timm network; the paper's is ResNet-18. The default,
  EfficientNet-Lite0, has ImageNet weights that install without a model hub.
- Between the two fully connected layers stand PReLU and dropout, and a sigmoid
  bounds the score, as in the authors' code; the paper names neither.
- At test time the whole image is used, resized with antialiasing to a shorter side
  of ``input_size`` with its aspect ratio kept (the longer side ends at
  ``MAX_ASPECT`` times that). The authors squash every image to 224x224 without
  antialiasing; networks with the authors' head do that here, too.
- The maps of several stages may be pooled instead of the last one's (``levels``), to
  their standard deviations as well as their means. At 500 pixels that predicts the
  opinions of LIVE Challenge's raters better, see docs/results/recipe-search.md.

Where the authors depart from the paper: their network keeps ResNet-18's 1000-way
classifier and puts 1000-1024-512-1 with BatchNorm behind it (``head='authors'``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.backbones import build_backbone
from metaiqa_plugin.archs.base import ConfiguredNetwork, not_ours
from metaiqa_plugin.archs.metaiqa_config import (
    AUTHORS_CONFIG,
    MetaIQAConfig,
    from_authors_layout,
    is_of_authors,
)
from metaiqa_plugin.archs.stages import PooledStages
from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.photos import carried_photos

__all__ = ['AuthorsHead', 'MetaIQA', 'RegressionHead', 'target_size']

MAX_ASPECT = 3.0
SMALLEST_DEVIATION = 1e-3


class Standardise(nn.Module):
    """Features (N, C) less a mean, divided by a deviation that training leaves alone.

    Until :meth:`fit` or a checkpoint sets them, the mean is 0 and the deviation 1.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(features))
        self.register_buffer('deviation', torch.ones(features))

    def fit(self, features: Tensor) -> None:
        """Take mean and deviation of features (N, C), at least two rows."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0).clamp_min(SMALLEST_DEVIATION))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


class RegressionHead(nn.Sequential):
    """Two fully connected layers: (N, features) to (N, 1) in [0, 1]."""

    def __init__(
        self, features: int, hidden: int, dropout: float, standardised: bool = False
    ) -> None:
        super().__init__(
            *([Standardise(features)] if standardised else []),
            nn.Linear(features, hidden),
            nn.PReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )

    def restandardise(self, features: Tensor) -> None:
        """Standardise by features (N, C) and predict the same as before.

        The first layer takes up the difference: with the old mean m and deviation d,
        the new M and D, W' = W D / d and b' = b + W (M - m) / d. Only of a head that
        standardises.
        """
        standardise, linear = self[0], self[1]
        mean, deviation = standardise.mean.clone(), standardise.deviation.clone()
        standardise.fit(features)
        with torch.no_grad():
            linear.bias += linear.weight @ ((standardise.mean - mean) / deviation)
            linear.weight *= standardise.deviation / deviation


class AuthorsHead(nn.Module):
    """The authors' head, 1000-1024-512-1: (N, 1000) to (N, 1) in [0, 1].

    Layer names are those of the authors' checkpoints.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1000, 1024)
        self.bn1 = nn.BatchNorm1d(1024)
        self.relu1 = nn.PReLU()
        self.fc2 = nn.Linear(1024, 512)
        self.bn2 = nn.BatchNorm1d(512)
        self.relu2 = nn.PReLU()
        self.fc3 = nn.Linear(512, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, logits: Tensor) -> Tensor:
        hidden = self.dropout(self.relu1(self.bn1(self.fc1(logits))))
        hidden = self.dropout(self.relu2(self.bn2(self.fc2(hidden))))
        return torch.sigmoid(self.fc3(hidden))


class MetaIQA(ConfiguredNetwork):
    """Quality score of an image, Eq. 1: y^ = f_theta(x).

    The network arguments default to what the weights say, and to
    :class:`MetaIQAConfig` where there are none to load.

    Args:
        backbone, levels, head, hidden, standardised, frozen, dropout, input_size,
            resize, interpolation, antialias: see :class:`MetaIQAConfig`. With weights
            to load, the first five must agree with them and the others replace what
            they carry.
        pretrained: ``True``: the metric that ships (trained on LIVE Challenge);
            ``'prior'``: the prior that it comes from (distorted Kodak photos alone);
            ``'imagenet'``: ImageNet weights and a fresh head; ``False``: random.
        pretrained_model_path: a checkpoint of ours, or of the authors' network in
            their key layout (``resnet_layer.*``, ``net.*``) or pyiqa's
            (``resnet_layer.*``, ``head.*``); comes before ``pretrained``.

    Raises:
        UserError: an argument is out of its range or contradicts the weights.
        CheckpointError: the file is not there, damaged, of another network, or
            has a key too many or too few.
    """

    CONFIG = MetaIQAConfig
    NAME = 'MetaIQA'
    SHIPPED: ClassVar = {True: 'metaiqa', 'prior': 'metaiqa-prior'}
    SIZE = 'input_size'

    def __init__(
        self,
        backbone: str | None = None,
        levels: Sequence[int] | None = None,
        head: str | None = None,
        hidden: int | None = None,
        frozen: int | None = None,
        standardised: bool | None = None,
        dropout: float | None = None,
        input_size: int | None = None,
        resize: str | None = None,
        interpolation: str | None = None,
        antialias: bool | None = None,
        pretrained: bool | str = True,
        pretrained_model_path: str | None = None,
    ) -> None:
        given = {
            'backbone': backbone,
            'levels': None if levels is None else tuple(levels),
            'head': head,
            'hidden': hidden,
            'frozen': frozen,
            'standardised': standardised,
            'dropout': dropout,
            'input_size': input_size,
            'resize': resize,
            'interpolation': interpolation,
            'antialias': antialias,
        }
        super().__init__(given, pretrained, pretrained_model_path)
        fresh = pretrained == 'imagenet' and pretrained_model_path is None
        if fresh and self.config.standardised:
            self._standardise()

    def _build(self, imagenet: bool) -> None:
        config = self.config
        classes = 1000 if config.head == 'authors' else 0
        if config.levels:
            self.backbone = PooledStages(
                config.backbone, config.levels, config.frozen, imagenet
            )
        else:
            self.backbone = build_backbone(config.backbone, imagenet, classes)
        if config.head == 'authors':
            self.head = AuthorsHead(config.dropout)
        else:
            features = self.backbone.num_features
            features = getattr(self.backbone, 'head_hidden_size', features)
            self.head = RegressionHead(
                features, config.hidden, config.dropout, config.standardised
            )

    def _standardise(self) -> None:
        """By the features of the carried photos, as they are."""
        self.eval()
        with torch.no_grad():
            features = [
                self.backbone(self.normalised(self._resized(_tensor(path))))
                for path in carried_photos()
            ]
        self.head[0].fit(torch.cat(features))
        self.train()

    def _backbone(self) -> nn.Module:
        return self.backbone

    def _adopt_input_facts(self, given: dict[str, Any]) -> None:
        super()._adopt_input_facts(given)
        fixed = self.fixed_input_size
        if fixed is not None:
            size = given.get('input_size', fixed)
            self.config = replace(self.config, input_size=size, resize='squash')

    @classmethod
    def _read_foreign(
        cls, state: dict[str, Tensor], path: str
    ) -> tuple[dict[str, Tensor], MetaIQAConfig]:
        if not is_of_authors(state):
            raise not_ours(cls.NAME, state, path)
        return from_authors_layout(state), AUTHORS_CONFIG

    @property
    def head_dtype(self) -> torch.dtype:
        """The head runs in the precision of its weights, outside autocast."""
        return next(self.head.parameters()).dtype

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch.

        Args:
            images: (N, C, H, W) floating, C = 1 (gray) or 3 (RGB), in [0, 1], any
                size. In training mode they are taken at the size they have (crops),
                in evaluation mode they are resized as the configuration says. With
                ``frozen`` stages they may be :meth:`maps` of images.

        Returns:
            (N, 1) in [0, 1], higher is better. Differentiable.
        """
        if self.config.frozen and self.backbone.takes_as_maps(images):
            return self._scores_of(self.backbone(images))
        return self.view_scores(self.views(images))

    def maps(self, images: Tensor) -> Tensor:
        """What the frozen stages make of images, at the size they have.

        Training on maps instead of images saves running these stages again and again.

        Args:
            images: as :meth:`forward` takes them.

        Returns:
            (N, C, h, w), see ``PooledStages.maps``.

        Raises:
            UserError: no stage is frozen.
        """
        if not self.config.frozen:
            raise UserError('frozen=0: the network has no frozen stages to give maps')
        return self.backbone.maps(self.normalised(self.as_rgb(images)))

    @property
    def shorter_side(self) -> int | None:
        return self.config.input_size

    def views(self, images: Tensor) -> Tensor:
        """The image itself; several of one size may be given.

        In RGB, resized in evaluation mode or for a backbone of fixed input size.
        """
        images = self.as_rgb(images)
        if not self.training or self.fixed_input_size is not None:
            return self._resized(images)
        return images

    def view_scores(self, views: Tensor) -> Tensor:
        return self._scores_of(self.backbone(self.normalised(views)))

    def _scores_of(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.to(self.head_dtype))

    def _resized(self, images: Tensor) -> Tensor:
        size = target_size(images.shape[-2:], self.config)
        if size == tuple(images.shape[-2:]):
            return images
        return functional.interpolate(
            images,
            size=size,
            mode=self.config.interpolation,
            antialias=self.config.antialias,
            align_corners=False,
        )


def _tensor(path: Path) -> Tensor:
    """(1, 3, H, W) in [0, 1] of an image file."""
    pixels = torch.from_numpy(np.array(read_photo(path)))
    return pixels.permute(2, 0, 1)[None].float().div_(255)


def target_size(size: tuple[int, int], config: MetaIQAConfig) -> tuple[int, int]:
    """Height and width in pixels that an image of ``size`` is resized to."""
    if config.resize == 'squash':
        return config.input_size, config.input_size
    shorter = min(size)
    longest = round(config.input_size * MAX_ASPECT)
    height, width = (
        min(max(1, round(side * config.input_size / shorter)), longest) for side in size
    )
    return height, width
