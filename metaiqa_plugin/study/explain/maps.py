"""Maps by their names, and those of places: class activation and quality of patches.

Source of the first: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks
via Gradient-based Localization", ICCV 2017, Eq. 1 and 2. Where we depart from it: there
is no ReLU. It keeps what speaks for a class; a score has no class, and what lowers it
is what one wants to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.backbones import MeanAndDeviation
from metaiqa_plugin.archs.base import ConfiguredNetwork
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.sub_images import SubImageNetwork, resized
from metaiqa_plugin.errors import UserError, one_of, real_number, whole_number
from metaiqa_plugin.study.explain.gradient_maps import (
    BASELINES,
    Score,
    gradient_map,
    integrated_gradients,
    smooth_gradient_map,
)

__all__ = [
    'METHODS',
    'SIGNED',
    'MapSettings',
    'activation_cells',
    'class_activation_map',
    'compute_map',
    'patch_scoring',
    'quality_map',
    'usable_methods',
]

METHODS = ('gradient', 'smooth', 'integrated', 'cam', 'quality')
SIGNED = ('integrated', 'cam')
"""Methods whose maps are positive where the score is raised, else negative."""
STRIDES = 4
"""Patches of the quality map that a patch's side has room for the starts of."""
PROBE_SIDE = 256
POOLINGS = (SelectAdaptivePool2d, nn.AdaptiveAvgPool2d, MeanAndDeviation)


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
        whole_number('seed', self.seed, minimum=0)
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
        UserError: an unknown method, one that this network lacks, or an image too
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
    pixels = quality_map(score, seen, patch, max(1, patch // STRIDES))
    return _resized(pixels[None, None], image.shape[-2:])[0, 0]


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 1, h, w) at another size."""
    return functional.interpolate(
        maps, tuple(size), mode='bilinear', align_corners=False, antialias=True
    )


def quality_map(
    score: Score, image: Tensor, patch: int, stride: int, batch: int = 16
) -> Tensor:
    """Score square patches on a grid from edge to edge; needs no gradient.

    The last row and column touch the far edges, so their distance may be smaller.

    Args:
        score: maps (N, 3, patch, patch) in [0, 1] to (N, 1).
        image: (1, 3, H, W) in [0, 1].
        patch: side of the patches, pixels, at most the image's shorter side.
        stride: pixels from one to the next, at most ``patch``.
        batch: patches that are scored at a time.

    Returns:
        (H, W) float64, on the CPU: the mean score of all patches that a pixel lies
        in, as the metric gives them.

    Raises:
        UserError: an argument is out of its range.
    """
    for name, value in (('patch', patch), ('stride', stride), ('batch', batch)):
        whole_number(name, value)
    height, width = image.shape[-2:]
    if patch > min(height, width):
        raise UserError(
            f'patch={patch} is larger than the image, {width}x{height} pixels; give at '
            f'most {min(height, width)}'
        )
    if stride > patch:
        raise UserError(
            f'stride={stride} leaves gaps between patches of {patch} pixels; give at '
            f'most {patch}'
        )
    places = [
        (slice(top, top + patch), slice(left, left + patch))
        for top in (*range(0, height - patch, stride), height - patch)
        for left in (*range(0, width - patch, stride), width - patch)
    ]
    total = torch.zeros(height, width, dtype=torch.float64)
    count = torch.zeros_like(total)
    with torch.inference_mode():
        for first in range(0, len(places), batch):
            here = places[first : first + batch]
            patches = torch.cat([image[..., rows, columns] for rows, columns in here])
            scores = score(patches).reshape(-1).double().cpu()
            for place, value in zip(here, scores, strict=True):
                total[place] += value
                count[place] += 1
    return total / count


def patch_scoring(network: nn.Module, image: Tensor) -> tuple[Score, Tensor]:
    """How to score patches as the network sees them when it scores the whole image.

    A network of ours that takes any size gets patches of the image as it would resize
    it, and does not resize them again: enlarged patches would look blurred to it. Any
    other metric gets patches of the image and does with them what it does.

    Args:
        network: anything that scores (N, 3, H, W), in evaluation mode.
        image: (1, 3, H, W) in [0, 1].

    Returns:
        the score of (N, 3, h, w) patches, (N, 1), and the image to cut them from.
    """
    ours = isinstance(network, ConfiguredNetwork)
    if not ours or network.fixed_input_size is not None:
        return network, image
    return network.view_scores, _seen(network, image)


def _seen(network: ConfiguredNetwork, image: Tensor) -> Tensor:
    """The whole image (1, 3, h, w) in the size that views are taken from."""
    if isinstance(network, SubImageNetwork):
        return resized(image, network.config.resize)
    return network.views(image)


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
        seen = _seen(network, image)
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
    return _resized(maps, size) * (before / (size[0] * size[1]))
