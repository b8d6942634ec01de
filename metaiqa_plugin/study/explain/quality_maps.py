"""The score of each part of an image: a heat map on the metric's own scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.base import ConfiguredNetwork
from metaiqa_plugin.archs.sub_images import SubImageNetwork, resized
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.study.explain.gradient_maps import Score

__all__ = ['QualityMap', 'patch_scoring', 'quality_map', 'seen_image']


@dataclass(frozen=True)
class QualityMap:
    """Scores of overlapping square patches.

    Attributes:
        scores: (rows, columns).
        tops: of the rows, pixels from the image's upper edge.
        lefts: of the columns, pixels from its left edge.
        patch: side of the patches, pixels.
    """

    scores: Tensor
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    patch: int

    def pixels(self) -> Tensor:
        """(H, W) float64: the mean score of all patches that a pixel lies in."""
        size = self.tops[-1] + self.patch, self.lefts[-1] + self.patch
        total = torch.zeros(size, dtype=torch.float64)
        count = torch.zeros_like(total)
        for row, top in enumerate(self.tops):
            for column, left in enumerate(self.lefts):
                place = slice(top, top + self.patch), slice(left, left + self.patch)
                total[place] += self.scores[row, column]
                count[place] += 1
        return total / count


def quality_map(
    score: Score, image: Tensor, patch: int, stride: int, batch: int = 16
) -> QualityMap:
    """Score square patches on a grid from edge to edge; needs no gradient.

    The last row and column touch the far edges, so their distance may be smaller.

    Args:
        score: maps (N, 3, patch, patch) in [0, 1] to (N, 1).
        image: (1, 3, H, W) in [0, 1].
        patch: side of the patches, pixels, at most the image's shorter side.
        stride: pixels from one to the next, at most ``patch``.
        batch: patches that are scored at a time.

    Returns:
        the scores as the metric gives them, float64, on the CPU.

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
    tops, lefts = _starts(height, patch, stride), _starts(width, patch, stride)
    corners = [(top, left) for top in tops for left in lefts]
    scores = []
    with torch.inference_mode():
        for first in range(0, len(corners), batch):
            patches = [
                image[..., top : top + patch, left : left + patch]
                for top, left in corners[first : first + batch]
            ]
            scores.append(score(torch.cat(patches)).reshape(-1).double().cpu())
    return QualityMap(torch.cat(scores).view(len(tops), -1), tops, lefts, patch)


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
    return network.view_scores, seen_image(network, image)


def seen_image(network: ConfiguredNetwork, image: Tensor) -> Tensor:
    """The whole image (1, 3, h, w) in the size that the network takes its views from.

    Args:
        network: of ours, in evaluation mode.
        image: (1, 3, H, W) in [0, 1].
    """
    if isinstance(network, SubImageNetwork):
        return resized(image, network.config.resize)
    return network.views(image)


def _starts(length: int, patch: int, stride: int) -> tuple[int, ...]:
    last = length - patch
    return (*range(0, last, stride), last)
