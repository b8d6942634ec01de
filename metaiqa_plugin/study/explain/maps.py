"""Maps by their names: one call for each method, on a metric's network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.base import ConfiguredNetwork
from metaiqa_plugin.errors import UserError, one_of, real_number, whole_number
from metaiqa_plugin.study.explain.class_activation import class_activation_map
from metaiqa_plugin.study.explain.gradient_maps import (
    BASELINES,
    gradient_map,
    integrated_gradients,
    smooth_gradient_map,
)
from metaiqa_plugin.study.explain.quality_maps import patch_scoring, quality_map

__all__ = ['METHODS', 'SIGNED', 'MapSettings', 'compute_map', 'usable_methods']

METHODS = ('gradient', 'smooth', 'integrated', 'cam', 'quality')
SIGNED = ('integrated', 'cam')
"""Methods whose maps are positive where the score is raised, else negative."""
STRIDES = 4
"""Patches of the quality map that a patch's side has room for the starts of."""
PROBE_SIDE = 256


@dataclass(frozen=True)
class MapSettings:
    """How the maps are computed.

    Attributes:
        noise, copies, seed: see ``smooth_gradient_map``.
        baseline, steps: see ``integrated_gradients``.
        patch: side of the quality map's patches as a part of the shorter side.
    """

    noise: float = 0.03
    copies: int = 16
    seed: int = 0
    baseline: str = 'blur'
    steps: int = 32
    patch: float = 0.25

    def __post_init__(self) -> None:
        real_number('noise', self.noise, 0, 1)
        whole_number('copies', self.copies)
        whole_number('seed', self.seed, least=0)
        one_of('baseline', self.baseline, BASELINES)
        whole_number('steps', self.steps)
        real_number('patch', self.patch, 0.01, 1.0001)


def compute_map(
    method: str, network: nn.Module, image: Tensor, settings: MapSettings
) -> Tensor:
    """A map of an image.

    Args:
        method: one of :data:`METHODS`.
        network: maps (N, 3, H, W) in [0, 1] to (N, 1), in evaluation mode.
        image: (1, 3, H, W) floating, in [0, 1], on the network's device.
        settings: how.

    Returns:
        (H, W) on the CPU; ``'quality'`` in scores, the others per pixel.

    Raises:
        UserError: an unknown method, one that this network has not, or an image too
            small for it.
    """
    one_of('method', method, METHODS)
    score = network if isinstance(network, ConfiguredNetwork) else _Score(network)
    if method == 'gradient':
        found = gradient_map(score, image)
    elif method == 'smooth':
        found = smooth_gradient_map(
            score, image, settings.noise, settings.copies, settings.seed
        )
    elif method == 'integrated':
        found = integrated_gradients(score, image, settings.baseline, settings.steps)
    elif method == 'cam':
        found = class_activation_map(network, image)
    else:
        found = _quality_pixels(score, image, settings.patch)
    return found.cpu()


def usable_methods(network: nn.Module, device: torch.device) -> tuple[str, ...]:
    """Which of :data:`METHODS` a metric's network has, in their order.

    Networks of ours have all; of others gradients are tried on a small image.
    """
    if isinstance(network, ConfiguredNetwork):
        return METHODS
    generator = torch.Generator().manual_seed(0)
    probe = torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE, generator=generator)
    try:
        gradient_map(_Score(network), probe.to(device))
    except UserError:
        return ('quality',)
    return tuple(method for method in METHODS if method != 'cam')


class _Score(nn.Module):
    """The score alone: some networks of pyiqa return more beside it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        output = self.network(images)
        return output[0] if isinstance(output, tuple) else output


def _quality_pixels(network: nn.Module, image: Tensor, part: float) -> Tensor:
    with torch.inference_mode():
        score, seen = patch_scoring(network, image)
    patch = max(1, round(min(seen.shape[-2:]) * min(part, 1)))
    pixels = quality_map(score, seen, patch, max(1, patch // STRIDES)).pixels()
    return functional.interpolate(
        pixels[None, None],
        size=tuple(image.shape[-2:]),
        mode='bilinear',
        align_corners=False,
        antialias=True,
    )[0, 0]
