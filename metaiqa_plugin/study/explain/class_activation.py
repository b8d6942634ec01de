"""Where the last features of a network raise its score, and where they lower it.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017, Eq. 1 and 2. Where we depart from it: there is
no ReLU. It keeps what speaks for a class; a score has no class, and what lowers it is
what one wants to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.backbones import MeanAndDeviation
from metaiqa_plugin.archs.base import ConfiguredNetwork
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.explain.quality_maps import seen_image

__all__ = ['activation_cells', 'class_activation_map']

POOLINGS = (SelectAdaptivePool2d, nn.AdaptiveAvgPool2d, MeanAndDeviation)


def class_activation_map(network: nn.Module, image: Tensor) -> Tensor:
    """Grad-CAM of the features that the backbone pools last, with its sign.

    Where deviations are pooled beside means, what they do cancels over the cells, and
    the map shows the means alone.

    Cells of the last feature map are spread over the pixels that they are the view of;
    pixels in several sub-images get the sum. The map sums, but for rounding at edges,
    to what the cells of all views sum to: where one linear layer without bias follows
    the pooling, that is the score.

    Args:
        network: a ``MetaIQA``, ``RankIQA`` or ``HyperIQA`` in evaluation mode, with a
            convolutional backbone.
        image: (1, 3, H, W) floating, in [0, 1].

    Returns:
        (H, W), positive where the score is raised, coarse: the cells are some 32
        pixels of what enters the network.

    Raises:
        UserError: another network, or one that pools no feature map.
    """
    if not isinstance(network, ConfiguredNetwork):
        raise UserError(
            'a class activation map needs a network of this package (metaiqa, rankiqa, '
            'hyperiqa-lite0 or a checkpoint of one); gradients need none'
        )
    maps: list[tuple[nn.Module, Tensor]] = []
    with torch.enable_grad(), _noting_pooled(network, maps):
        score = network(image.detach().clone().requires_grad_())
    pooled = [features for module, features in maps if module is maps[-1][0]]
    if not pooled or pooled[0][0, 0].numel() < 2:
        raise UserError(
            f'backbone={network.config.backbone!r} pools no feature map, so there is '
            'no class activation map; take one of the gradients'
        )
    gradients = torch.autograd.grad(score.sum(), pooled)
    cells = [activation_cells(*pair) for pair in zip(pooled, gradients, strict=True)]
    return _spread(torch.cat(cells), network, image)


def activation_cells(features: Tensor, gradients: Tensor) -> Tensor:
    """sum_k alpha_k A_k with alpha_k the mean over cells of d score / d A_k.

    Args:
        features: A, (N, channels, h, w).
        gradients: of the score with respect to them, the same shape.

    Returns:
        (N, h, w).
    """
    return (gradients.mean((-2, -1), keepdim=True) * features).sum(1).detach()


@contextmanager
def _noting_pooled(
    network: nn.Module, maps: list[tuple[nn.Module, Tensor]]
) -> Iterator[None]:
    """Poolings of the backbone and their inputs (N, C, h, w), in the order of calls."""

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        channels = inputs[0].shape[1] if inputs[0].ndim == 4 else 0
        if channels and output.shape[1] in (channels, 2 * channels):
            maps.append((module, inputs[0]))

    trunk = network.features if isinstance(network, HyperIQA) else network.backbone
    hooks = [
        module.register_forward_hook(note)
        for module in trunk.modules()
        if isinstance(module, POOLINGS)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _spread(cells: Tensor, network: nn.Module, image: Tensor) -> Tensor:
    """(H, W) of (views, h, w), enlarged to the views and laid where they were cut."""
    with torch.no_grad():
        seen = seen_image(network, image)
    seen = seen.clone().requires_grad_()
    with torch.enable_grad():
        views = network.views(seen).mean(1, keepdim=True)
        enlarged = _stretched(cells.unsqueeze(1), views.shape[-2:])
        # views are pieces of ``seen``: their derivative puts each back in its place
        laid = torch.autograd.grad((views * enlarged).sum(), seen)[0]
    return _stretched(laid.sum(1, keepdim=True), image.shape[-2:])[0, 0]


def _stretched(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 1, h, w) of another size; the sum stays, but for rounding at the edges."""
    before = maps.shape[-2] * maps.shape[-1]
    stretched = functional.interpolate(
        maps, size=tuple(size), mode='bilinear', align_corners=False, antialias=True
    )
    return stretched * (before / (size[0] * size[1]))
