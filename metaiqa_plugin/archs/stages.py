"""A backbone whose feature maps are pooled at several stages, and may be cut at one.

Stages are those of the network's own design, from 1: the seven rows of blocks of an
EfficientNet, the four layers of a ResNet. Below the cut the weights stay as they are,
so what the lower part makes of an image, its *maps*, can be kept and the upper part
trained on that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from torch import Tensor, nn

from metaiqa_plugin.archs.backbones import build_backbone
from metaiqa_plugin.errors import UserError, whole_number

__all__ = ['MeanAndDeviation', 'PooledStages', 'check_stages']

SMALLEST_VARIANCE = 1e-6
IN_A_ROW = (EfficientNet, MobileNetV3, ResNet, ConvNeXt)
PROBE = 64
"""Pixels of the side of the image that tells what the stages give."""


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
        frozen: the cut: the stem and so many stages are not trained and always in
            evaluation mode; 0: nothing is.
        imagenet: see ``build_backbone``.

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
        """What stem and stages below the cut make of normalised images.

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
            'and frozen, or use one like resnet50 or tf_efficientnet_lite0'
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


def check_stages(levels: Sequence[int], frozen: int) -> None:
    """Raises UserError for levels that do not rise, or a cut above the first one."""
    for level in levels:
        whole_number('levels', level)
    if list(levels) != sorted(set(levels)):
        raise UserError(
            f'levels={list(levels)}: expected different stages, the finest first'
        )
    whole_number('frozen', frozen, least=0)
    if frozen and not levels:
        raise UserError(
            f'frozen={frozen} needs levels: only a backbone that is pooled at its '
            'stages can be cut at one'
        )
    if levels and frozen > min(levels):
        raise UserError(
            f'frozen={frozen}: maps of stage {min(levels)} are pooled (levels='
            f'{list(levels)}), so the cut can not lie above it'
        )
