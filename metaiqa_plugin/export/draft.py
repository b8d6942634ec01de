"""What is exported of a metric: modules that tracing and scripting can follow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.sub_images import SubImageNetwork
from metaiqa_plugin.errors import UserError, one_of
from metaiqa_plugin.files import sha256_of
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.weights import FILES, shipped_path

__all__ = ['Draft', 'make_draft', 'real_planes']


class ResizedScores(nn.Module):
    """MetaIQA behind its resize: (N, 3, h, w) in [0, 1] to (N, 1)."""

    def __init__(self, network: MetaIQA) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(network.config, name))
            self.register_buffer(name, values.view(1, 3, 1, 1))

    def forward(self, resized: Tensor) -> Tensor:
        return self.head(self.backbone((resized - self.mean) / self.std))


class SubImageScores(nn.Module):
    """RankIQA or HyperIQA on images of one size: (N, 3, height, width) to (N, 1)."""

    def __init__(self, network: SubImageNetwork, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.sub_images = network, network.sub_images(size)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.network.view_scores(self.sub_images.of(images))
        return scores.reshape(len(self.sub_images.corners), -1).mean(0).unsqueeze(1)


class WholeScores(nn.Module):
    """Any other network: an image (1, 3, H, W) to (1, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).reshape(1, 1)


def real_planes(images: Tensor) -> Tensor:
    """(N, 3, H, W) float32 in [0, 1] of (N, H, W, 3) uint8."""
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255


@dataclass
class Draft:
    """A metric on its way to a file.

    Attributes:
        name: of the metric, or the path of a checkpoint.
        metric: the original, on the CPU in evaluation mode.
        scores: what is exported of it, (N, 3, H, W) in [0, 1] to (N, 1); of MetaIQA
            what stands behind the resize.
        size: the only height and width it takes; None: any.
        of_bytes: the file takes (N, H, W, 3) uint8, not (N, 3, H, W) float32.
        loops: the file can go through images one after the other.
    """

    name: str
    metric: nn.Module
    scores: nn.Module
    size: tuple[int, int] | None
    of_bytes: bool
    loops: bool

    @property
    def network(self) -> nn.Module:
        """The original's."""
        return self.metric.net

    @property
    def resizes(self) -> bool:
        """MetaIQA, whose resize is exported on its own."""
        return isinstance(self.network, MetaIQA)

    @property
    def single(self) -> bool:
        """``scores`` has to be traced with one image: it would keep the number."""
        whole = isinstance(self.scores, WholeScores)
        return whole or isinstance(self.network, HyperIQA)

    @property
    def batches(self) -> bool:
        """The file takes several images at a time."""
        return self.loops or not self.single

    @cached_property
    def facts(self) -> dict[str, str]:
        """What the file says of itself."""
        height, width = self.size or ('height', 'width')
        batch = 'batch' if self.batches else 1
        taken = f'float32 ({batch}, 3, {height}, {width}), RGB in [0, 1]'
        if self.of_bytes:
            taken = f'uint8 ({batch}, {height}, {width}, 3), RGB'
        return {
            'metric': Path(self.name).name,
            'network': type(self.network).__name__,
            'input': taken,
            'output': f'float32 ({batch}, 1)',
            'score_range': str(self.metric.score_range or 'unknown'),
            'better': 'lower' if self.metric.lower_better else 'higher',
            'weights_sha256': self._weights_sha256(),
            'metaiqa_plugin': version('metaiqa_plugin'),
            'torch': torch.__version__,
        }

    def _weights_sha256(self) -> str:
        """Of the weight file; of metrics that are not ours of their tensors, if any."""
        if Path(self.name).suffix:
            return sha256_of(self.name)
        if self.name in FILES:
            return sha256_of(shipped_path(self.name))
        state = self.network.state_dict()
        digest = hashlib.sha256()
        for key, tensor in state.items():
            digest.update(f'{key} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest() if state else 'none'


def make_draft(
    name: str, size: tuple[int, int] | None, pixels: str, loops: bool
) -> Draft:
    """Open the metric, and decide what of it is exported.

    Args:
        name, size, pixels: see ``export_metric``.
        loops: see :class:`Draft`.

    Raises:
        UserError: no such metric, or one that needs a size.
        CheckpointError: not a checkpoint of ours.
    """
    one_of('pixels', pixels, ('float', 'uint8'))
    metric = open_metric(name)
    network = metric.net.cpu().eval().requires_grad_(False)
    if isinstance(network, MetaIQA):
        scores: nn.Module = ResizedScores(network)
    elif size is None:
        raise UserError(
            f'input=dynamic: what {name!r} computes depends on the size of the '
            'image beyond a resize; give the one size that you need, such as '
            '--input 480x640'
        )
    elif isinstance(network, SubImageNetwork):
        scores = SubImageScores(network, size)
    else:
        scores = WholeScores(network)
    return Draft(name, metric, scores.eval(), size, pixels == 'uint8', loops)
