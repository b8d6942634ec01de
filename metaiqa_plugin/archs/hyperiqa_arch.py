"""HyperIQA: a hyper-network writes the quality network of each image.

Paper: Su, Yan, Zhu, Zhang, Ge, Sun, Zhang, "Blindly Assess Image Quality in the Wild
Guided by a Self-Adaptive Hyper Network", CVPR 2020, Section 3.
Authors' code: github.com/SSL92/hyperIQA; pyiqa has a port of it, ``HyperNet``, whose
checkpoints load here and give its scores.

Three parts: *semantic features* from a convolutional backbone, with *local features*
of its earlier stages beside them; a *hyper-network*, which turns the semantic map into
weights and biases; the *target network*, fully connected layers with these weights,
which turns the local features into a score.

Where we depart from the paper:

- The backbone is any timm network that gives feature maps; the paper's is ResNet-50.
  The default, EfficientNet-Lite0, has ImageNet weights that install without a model
  hub. Channels follow the backbone; with ResNet-50 the layers are the authors'.
- Maps are pooled to 8x8, 4x4, 2x2 and 1x1 cells, and the semantic map to 7x7, whatever
  size they have. For 224x224 inputs that is the authors' pooling; others work, too.
- Sub-images at test time lie where pyiqa's lie (``sampling='uniform'``) unless asked
  otherwise; the authors draw 25 at random, again each time. ``'random'`` draws them
  once, by ``seed``.

Where the authors depart from the paper, as far as it shows here: the learning rate of
their backbone never decays. The paper's target network has four layers; theirs has a
fifth that gives the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.backbones import build_feature_maps
from metaiqa_plugin.archs.base import ForeignLayout
from metaiqa_plugin.archs.sub_images import CHUNK, SubImageConfig, SubImageNetwork
from metaiqa_plugin.errors import UserError

__all__ = ['FixedHead', 'HyperIQA', 'TargetWeights', 'target_network']

TARGET = (224, 112, 56, 28, 14, 1)
"""Widths of the target network, from the features to the score."""
CELLS = (8, 4, 2)
"""Cells along a side that the maps of the first three stages are pooled to."""
REDUCED = (16, 32, 64)
"""Channels of these maps before pooling."""
LOCAL = 16
"""Features of each of these stages; the last stage fills up to ``TARGET[0]``."""
SEMANTIC_CELLS = 7
HYPER_CHANNELS = 112


@dataclass(frozen=True)
class HyperIQAConfig(SubImageConfig):
    """All that rebuilds a network and its preprocessing, as a checkpoint carries it.

    Attributes:
        backbone, mean, std, resize, crop_size, crops, sampling, seed: see
            :class:`SubImageConfig`.
        local_features: the target network sees features of all stages; if not, of the
            last alone (the paper's ablation).
        hyper_network: the target network's weights are generated for each image; if
            not, it is a fixed head of the same widths (the paper's ablation).
    """

    crops: int = 25
    sampling: Literal['centre', 'grid', 'random', 'uniform'] = 'uniform'
    local_features: bool = True
    hyper_network: bool = True

    WEIGHT_FIELDS = ('backbone', 'local_features', 'hyper_network')


class TargetWeights(NamedTuple):
    """Of the target network, for each of N images, from the first layer to the score.

    Attributes:
        weights: (N, out, in) per layer, see ``TARGET``.
        biases: (N, out) per layer.
    """

    weights: list[Tensor]
    biases: list[Tensor]


class SemanticFeatures(nn.Module):
    """(N, 3, H, W) to the target network's input (N, 224), and the semantic map.

    Args:
        backbone: gives the maps of its stages, from fine to coarse.
        local_features: see :class:`HyperIQAConfig`.
    """

    def __init__(self, backbone: nn.Module, local_features: bool) -> None:
        super().__init__()
        self.backbone = backbone
        *early, self.channels = backbone.feature_info.channels()[-4:]
        stages = list(zip(early, REDUCED, CELLS, strict=True)) if local_features else []
        self.local = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, reduced, 1, bias=False),
                nn.AdaptiveAvgPool2d(cells),
                nn.Flatten(),
                nn.Linear(reduced * cells**2, LOCAL),
            )
            for channels, reduced, cells in stages
        )
        rest = TARGET[0] - LOCAL * len(stages)
        self.local.append(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.channels, rest)
            )
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 224) and map (N, C, h, w), in the precision of the layers."""
        maps = self.backbone(images)[-len(self.local) :]
        with torch.autocast(images.device.type, enabled=False):
            maps = [each.to(self.local[-1][-1].weight.dtype) for each in maps]
            features = [
                layer(each) for layer, each in zip(self.local, maps, strict=True)
            ]
            return torch.cat(features, dim=1), maps[-1]


class HyperNetwork(nn.Module):
    """(N, C, h, w) semantic map to the :class:`TargetWeights` of each image.

    A 3x3 convolution gives as many channels as a layer's weights fill on 7x7 cells; a
    fully connected layer on the pooled map gives biases, and the last layer's weights.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = [max(channels // part, HYPER_CHANNELS) for part in (2, 4)]
        layers: list[nn.Module] = []
        for width, out in pairwise((channels, *reduced, HYPER_CHANNELS)):
            layers += [nn.Conv2d(width, out, 1), nn.ReLU(inplace=True)]
        self.reduce = nn.Sequential(*layers)
        sizes = list(pairwise(TARGET))
        self.weights = nn.ModuleList(
            nn.Conv2d(HYPER_CHANNELS, width * out // SEMANTIC_CELLS**2, 3, padding=1)
            for width, out in sizes[:-1]
        )
        self.weights.append(_pooled_linear(math.prod(sizes[-1])))
        self.biases = nn.ModuleList(_pooled_linear(out) for _, out in sizes)

    def forward(self, semantic: Tensor) -> TargetWeights:
        cells = nn.functional.adaptive_avg_pool2d(semantic, SEMANTIC_CELLS)
        cells = self.reduce(cells)
        weights = [
            layer(cells).reshape(-1, out, width)
            for layer, (width, out) in zip(self.weights, pairwise(TARGET), strict=True)
        ]
        return TargetWeights(weights, [layer(cells) for layer in self.biases])


class FixedHead(nn.Sequential):
    """As wide as the target network, with weights of its own: (N, 224) to (N, 1)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for width, out in pairwise(TARGET):
            layers += [nn.Linear(width, out), nn.Sigmoid()]
        super().__init__(*layers[:-1])


class HyperIQA(SubImageNetwork):
    """Quality score of an image by a network that is written for it.

    Args:
        backbone: and the other fields of :class:`HyperIQAConfig`.
        pretrained: ``True``: the weights that ship, of LIVE Challenge; ``'imagenet'``:
            ImageNet weights for the backbone, the rest fresh; ``False``: random.
        pretrained_model_path: a checkpoint of ours or of pyiqa's ``HyperNet``; see
            ``ConfiguredNetwork`` for how these go together, and for exceptions.
    """

    CONFIG = HyperIQAConfig
    NAME = 'HyperIQA'
    SHIPPED: ClassVar = {True: 'hyperiqa-lite0'}
    FOREIGN = ForeignLayout(
        HyperIQAConfig(backbone='resnet50'),
        {
            'base_model.': 'features.backbone.',
            'lda_modules.': 'features.local.',
            'conv1.': 'hyper.reduce.',
            'fc_w_modules.': 'hyper.weights.',
            'fc_b_modules.': 'hyper.biases.',
        },
    )

    def _build(self, imagenet: bool) -> None:
        config = self.config
        backbone = build_feature_maps(config.backbone, imagenet)
        self.features = SemanticFeatures(backbone, config.local_features)
        _initialise(self.features.local)
        if config.hyper_network:
            self.hyper = HyperNetwork(self.features.channels)
            _initialise(self.hyper.weights)
            _initialise(self.hyper.biases)
        else:
            self.head = FixedHead()

    @property
    def backbone(self) -> nn.Module:
        return self.features.backbone

    def generated_weights(self, images: Tensor) -> TargetWeights:
        """The target network's weights for each image: means over its sub-images.

        Args:
            images: as :meth:`forward` takes them.

        Raises:
            UserError: a network without hyper-network.
        """
        if not self.config.hyper_network:
            raise UserError(
                'hyper_network=False: this network generates no weights, its head is '
                'fixed'
            )
        every = []
        for image in self.as_rgb(images).split(1):
            sub_images = _joined(
                [
                    self.hyper(self.features(self.normalised(chunk))[1])
                    for chunk in self.views(image).split(CHUNK)
                ]
            )
            means = (
                [layer.mean(0, keepdim=True) for layer in kind] for kind in sub_images
            )
            every.append(TargetWeights(*means))
        return _joined(every)

    def view_scores(self, views: Tensor) -> Tensor:
        features, semantic = self.features(self.normalised(views))
        with torch.autocast(views.device.type, enabled=False):
            if not self.config.hyper_network:
                return self.head(features)
            return target_network(features, self.hyper(semantic))


def target_network(features: Tensor, generated: TargetWeights) -> Tensor:
    """Scores (N, 1) of features (N, 224), each by the weights of its own image.

    Five fully connected layers, sigmoids between them.
    """
    hidden = features.unsqueeze(1)
    last = len(generated.weights) - 1
    for place, (weight, bias) in enumerate(zip(*generated, strict=True)):
        hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2))
        if place < last:
            hidden = torch.sigmoid(hidden)
    return hidden.squeeze(1)


def _pooled_linear(out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(HYPER_CHANNELS, out)
    )


def _joined(parts: list[TargetWeights]) -> TargetWeights:
    """Of the images of all parts, one after the other."""
    kinds = zip(*parts, strict=True)
    return TargetWeights(
        *([torch.cat(layer) for layer in zip(*kind, strict=True)] for kind in kinds)
    )


def _initialise(part: nn.Module) -> None:
    """As the authors' code does: He et al.'s normal initialisation."""
    for module in part.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
