"""What is exported: modules without choices, which tracing and scripting can follow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.metaiqa_arch import MAX_ASPECT, MetaIQA
from metaiqa_plugin.archs.metaiqa_config import MetaIQAConfig
from metaiqa_plugin.archs.sub_image_network import SubImageNetwork
from metaiqa_plugin.archs.sub_images import corners, enlarged, enlargement, resized

__all__ = [
    'Entry',
    'OfBytes',
    'Resize',
    'ResizedScores',
    'SubImageScores',
    'WholeScores',
]


class ResizedScores(nn.Module):
    """MetaIQA behind its resize: (N, 3, h, w) in [0, 1] to (N, 1)."""

    def __init__(self, network: MetaIQA) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        self.register_buffer('mean', _per_channel(network.config.mean))
        self.register_buffer('std', _per_channel(network.config.std))

    def forward(self, resized: Tensor) -> Tensor:
        return self.head(self.backbone((resized - self.mean) / self.std))


class Resize(nn.Module):
    """MetaIQA's resize in evaluation, in integers that TorchScript keeps.

    The target size is that of ``metaiqa_arch.target_size``.
    """

    def __init__(self, config: MetaIQAConfig) -> None:
        super().__init__()
        self.side = config.input_size
        self.longest = round(config.input_size * MAX_ASPECT)
        self.squash = config.resize == 'squash'
        self.mode = config.interpolation
        self.antialias = config.antialias

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2], images.shape[3]
        size = [self.side, self.side]
        if not self.squash:
            shorter = min(height, width)
            size = [self.scaled(height, shorter), self.scaled(width, shorter)]
        return functional.interpolate(
            images,
            size,
            mode=self.mode,
            align_corners=False,
            antialias=self.antialias,
        )

    def scaled(self, length: int, shorter: int) -> int:
        """``length * side / shorter``, halves to even, as Python's ``round``."""
        times = length * self.side
        whole = times // shorter
        twice = 2 * (times - whole * shorter)
        if twice > shorter or (twice == shorter and whole % 2 == 1):
            whole += 1
        return min(max(1, whole), self.longest)


class SubImageScores(nn.Module):
    """RankIQA or HyperIQA on images of one size: (N, 3, height, width) to (N, 1).

    The sub-images are those of ``SubImageNetwork.sub_images_of``, at places that are
    constants here.
    """

    def __init__(self, network: SubImageNetwork, size: tuple[int, int]) -> None:
        super().__init__()
        config = network.config
        self.network = network
        image = resized(torch.empty(1, 3, *size, device='meta'), config.resize)
        self.resized = tuple(image.shape[-2:])
        self.resizes = self.resized != size
        side = network.sub_image_side(self.resized)
        uniform = config.sampling == 'uniform' and min(self.resized) <= side
        least = side + 1 if uniform else side
        shorter = min(self.resized)
        self.enlarged_by = enlargement(shorter, least) if shorter < least else 1.0
        self.side = side
        self.corners = corners(
            tuple(enlarged(image, least).shape[-2:]),
            side,
            config.sampling,
            config.crops,
            config.seed,
        )

    def forward(self, images: Tensor) -> Tensor:
        if self.resizes:
            images = functional.interpolate(
                images, self.resized, mode='bilinear', antialias=True
            )
        if self.enlarged_by > 1:
            images = functional.interpolate(
                images, scale_factor=self.enlarged_by, mode='bilinear'
            )
        side = self.side
        crops = [
            images[:, :, top : top + side, left : left + side]
            for top, left in self.corners
        ]
        scores = self.network.view_scores(torch.cat(crops))
        return scores.reshape(len(crops), -1).mean(0).unsqueeze(1)


class WholeScores(nn.Module):
    """Any other network: an image (1, 3, H, W) to (1, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        scores = self.network(images)
        return scores.reshape(1, 1)


class OfBytes(nn.Module):
    """Takes (N, H, W, 3) uint8 for what takes (N, 3, H, W) in [0, 1]."""

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(_real(images))


class Entry(nn.Module):
    """Checks what comes in, for scripting.

    Args:
        scores: (N, 3, H, W) in [0, 1] to (N, 1).
        size: the only height and width; None: any.
        single: ``scores`` takes one image at a time; several go one after the other.
        of_bytes: takes (N, H, W, 3) uint8, not (N, 3, H, W) floating.
    """

    def __init__(
        self,
        scores: nn.Module,
        size: tuple[int, int] | None,
        single: bool,
        of_bytes: bool,
    ) -> None:
        super().__init__()
        self.scores = scores
        self.height, self.width = size or (0, 0)
        self.single = single
        self.of_bytes = of_bytes

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4:
            raise ValueError(f'images have {images.dim()} dimensions, not 4')
        if self.of_bytes:
            if images.dtype != torch.uint8:
                raise ValueError('images are not uint8')
            images = _real(images)
        if images.shape[1] != 3:
            raise ValueError('images are not RGB')
        height, width = images.shape[2], images.shape[3]
        if self.height > 0 and (height != self.height or width != self.width):
            raise ValueError(
                f'images are {height}x{width}, not {self.height}x{self.width}'
            )
        if self.single:
            return torch.cat([self.scores(image.unsqueeze(0)) for image in images])
        return self.scores(images)


def _real(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
