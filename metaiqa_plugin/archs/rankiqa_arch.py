"""RankIQA: one branch of the Siamese network, a score for each sub-image.

Paper: Liu, van de Weijer, Bagdanov, "RankIQA: Learning from Rankings for No-Reference
Image Quality Assessment", ICCV 2017, Section 3; networks and sampling, Section 4.2.
Authors' code: github.com/xialeiliu/RankIQA (Caffe).

A network with one output, which is first trained on ranked pairs (``RankIQAModel``) and
then fine-tuned on MOS (``IQAModel``).

Where we depart from the paper:

- The backbone is any timm network, with global average pooling and one fully connected
  layer behind it. ``'shallow'``, ``'alexnet'`` and ``'vgg16'`` are the paper's; of the
  shallow one it gives four convolutions and one fully connected layer, the sizes are
  ours. The default, EfficientNet-Lite0, has ImageNet weights that install without a
  model hub; the paper's best, VGG-16, starts from such weights, too.
- At test time nine sub-images on a grid are averaged, the same each time; the paper
  draws 30 at random, which are ``sampling='random', crops=30``, drawn once by ``seed``.
- Sub-images are never shrunk, as in the paper, and cover at least a third of the
  photo's shorter side: where the network takes any size they grow with the photo. A
  photo smaller than a sub-image is enlarged to it.

Where the authors depart from the paper: their loss pairs all images of a type in the
mini-batch, whichever photo they show; with one photo in a mini-batch, as they train
for TID2013, these are the paper's pairs. Their margin is 10, for scores of any range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import alexnet

from metaiqa_plugin.archs.backbones import build_backbone, pooled_width
from metaiqa_plugin.archs.sub_images import SubImageConfig, SubImageNetwork
from metaiqa_plugin.errors import UserError, real_number

__all__ = ['RankIQA', 'RankIQAConfig', 'Shallow']

OF_FIXED_VIEW = ('alexnet', 'vgg16')
"""Their fully connected layers belong to the size that they were trained on."""


@dataclass(frozen=True)
class RankIQAConfig(SubImageConfig):
    """All that rebuilds a network and its preprocessing, as a checkpoint carries it.

    Attributes:
        backbone: ``'shallow'``, ``'alexnet'``, or a timm model such as ``'vgg16'``.
        mean, std, resize, crop_size, crops, sampling, seed: see
            :class:`SubImageConfig`.
        dropout: probability before the last layer, training only.
        least_part: of the photo's shorter side that a sub-image covers at least, where
            the network takes any size: then it may be larger than ``crop_size``. 0:
            always ``crop_size``.
    """

    dropout: float = 0.5
    least_part: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        real_number('dropout', self.dropout, 0, 1)
        real_number('least_part', self.least_part, 0, 1.0001)


class Shallow(nn.Sequential):
    """Four convolutions on (N, 3, H, W), pooled to (N, features)."""

    num_features = 256 * 4 * 4
    pretrained_cfg: ClassVar[dict[str, Any]] = {'input_size': (3, 227, 227)}

    def __init__(self) -> None:
        widths = (3, 32, 64, 128, 256)
        layers: list[nn.Module] = []
        for width, out, kernel in zip(widths, widths[1:], (5, 3, 3, 3), strict=False):
            layers += [
                nn.Conv2d(width, out, kernel, padding=kernel // 2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
        super().__init__(*layers[:-1], nn.AdaptiveAvgPool2d(4), nn.Flatten())


class _AlexNet(nn.Module):
    """torchvision's, up to the layer before its classes."""

    num_features = 4096
    pretrained_cfg: ClassVar[dict[str, Any]] = {'input_size': (3, 227, 227)}

    def __init__(self) -> None:
        super().__init__()
        whole = alexnet(weights=None)
        self.convolutions = whole.features
        self.pooling = whole.avgpool
        self.connected = whole.classifier[:-1]

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pooling(self.convolutions(images))
        return self.connected(maps.flatten(1))


class RankIQA(SubImageNetwork):
    """Quality score of an image, the mean over its sub-images.

    Args:
        backbone: and the other fields of :class:`RankIQAConfig`.
        pretrained: ``True``: the metric that ships (rankings, then LIVE Challenge);
            ``'imagenet'``: ImageNet weights and a fresh last layer; ``False``: random.
        pretrained_model_path: a checkpoint; see ``ConfiguredNetwork`` for how these
            go together, and for exceptions.
    """

    CONFIG = RankIQAConfig
    NAME = 'RankIQA'
    SHIPPED: ClassVar = {True: 'rankiqa'}

    def _build(self, imagenet: bool) -> None:
        name = self.config.backbone
        if name in ('shallow', 'alexnet'):
            if imagenet:
                raise UserError(
                    "pretrained='imagenet': there are no such weights for "
                    f'backbone={name!r} here; give pretrained=False, or another '
                    'backbone'
                )
            self.backbone = Shallow() if name == 'shallow' else _AlexNet()
        else:
            self.backbone = build_backbone(name, imagenet)
        self.head = nn.Sequential(
            nn.Dropout(self.config.dropout), nn.Linear(pooled_width(self.backbone), 1)
        )

    def sub_image_side(self, size: tuple[int, int]) -> int:
        config = self.config
        if self.fixed_input_size is not None or config.backbone in OF_FIXED_VIEW:
            return config.crop_size
        return max(config.crop_size, math.ceil(min(size) * config.least_part))

    def view_scores(self, views: Tensor) -> Tensor:
        """(N, 1), after a training on rankings alone of any range."""
        features = self.backbone(self.normalised(views))
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.to(self.head[-1].weight.dtype))
