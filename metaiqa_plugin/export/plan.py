"""What is to be exported: a metric, the images it will take, and the facts about it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.sub_image_network import SubImageNetwork
from metaiqa_plugin.errors import UserError, one_of
from metaiqa_plugin.export.modules import (
    ResizedScores,
    SubImageScores,
    WholeScores,
)
from metaiqa_plugin.files import sha256_of
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.weights import FILES, shipped_path

__all__ = ['DYNAMIC', 'PIXELS', 'Plan', 'make_plan', 'read_size']

DYNAMIC = 'dynamic'
PIXELS = ('float', 'uint8')
LEAST_SIDE = 8


@dataclass(frozen=True)
class Plan:
    """A metric on its way to a file.

    Attributes:
        name: of the metric, or the path of a checkpoint.
        network: the original, on the CPU in evaluation mode.
        scores: what is exported of it, (N, 3, H, W) in [0, 1] to (N, 1); of MetaIQA
            what stands behind the resize.
        size: the only height and width it takes; None: any.
        of_bytes: the file takes (N, H, W, 3) uint8, not (N, 3, H, W) float32.
        batches: it takes several images at a time.
        facts: what the file says of itself, texts all.
    """

    name: str
    network: nn.Module
    scores: nn.Module
    size: tuple[int, int] | None
    of_bytes: bool
    batches: bool
    facts: dict[str, str]

    @property
    def resizes(self) -> bool:
        """MetaIQA, whose resize is exported on its own."""
        return isinstance(self.network, MetaIQA)

    @property
    def single(self) -> bool:
        """``scores`` has to be traced with one image: it would keep the number."""
        return isinstance(self.scores, WholeScores) or isinstance(
            self.network, HyperIQA
        )


def read_size(text: str) -> tuple[int, int] | None:
    """Height and width of ``'HxW'``; None of ``'dynamic'``.

    Raises:
        UserError: neither, or a side of less than 8 pixels.
    """
    if text == DYNAMIC:
        return None
    found = re.fullmatch(r'([0-9]{1,5})x([0-9]{1,5})', text)
    size = tuple(map(int, found.groups())) if found else (0, 0)
    if min(size) < LEAST_SIDE:
        raise UserError(
            f'input={text!r}: expected {DYNAMIC}, or height x width such as 480x640, '
            f'sides of at least {LEAST_SIDE}'
        )
    return size


def make_plan(
    name: str, size: tuple[int, int] | None, pixels: str, loops: bool
) -> Plan:
    """Open the metric, and decide what of it is exported.

    Args:
        name, size, pixels: see ``export_metric``.
        loops: the file can go through images one after the other.

    Raises:
        UserError: no such metric, or one that needs a size.
        CheckpointError: no checkpoint of ours.
    """
    one_of('pixels', pixels, PIXELS)
    metric = open_metric(name)
    network = metric.net.cpu().eval().requires_grad_(False)
    if isinstance(network, MetaIQA):
        scores: nn.Module = ResizedScores(network)
    elif size is None:
        raise UserError(
            f'input={DYNAMIC}: what {name!r} computes depends on the size of the '
            'image beyond a resize; give the one size that you need, such as '
            '--input 480x640'
        )
    elif isinstance(network, SubImageNetwork):
        scores = SubImageScores(network, size)
    else:
        scores = WholeScores(network)
    plan = Plan(name, network, scores.eval(), size, pixels == 'uint8', True, {})
    plan = replace(plan, batches=loops or not plan.single)
    return replace(plan, facts=_facts(plan, metric))


def _facts(plan: Plan, metric: nn.Module) -> dict[str, str]:
    height, width = plan.size or ('height', 'width')
    batch = 'batch' if plan.batches else 1
    taken = f'float32 ({batch}, 3, {height}, {width}), RGB in [0, 1]'
    if plan.of_bytes:
        taken = f'uint8 ({batch}, {height}, {width}, 3), RGB'
    return {
        'metric': Path(plan.name).name,
        'network': type(plan.network).__name__,
        'input': taken,
        'output': f'float32 ({batch}, 1)',
        'score_range': str(metric.score_range or 'unknown'),
        'better': 'lower' if metric.lower_better else 'higher',
        'weights_sha256': _weights_sha256(plan),
        'metaiqa_plugin': version('metaiqa_plugin'),
        'torch': torch.__version__,
    }


def _weights_sha256(plan: Plan) -> str:
    """Of the weight file; of metrics that are not ours of their tensors, if any."""
    if Path(plan.name).suffix:
        return sha256_of(plan.name)
    if plan.name in FILES:
        return sha256_of(shipped_path(plan.name))
    state = plan.network.state_dict()
    digest = hashlib.sha256()
    for key, tensor in state.items():
        digest.update(f'{key} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest() if state else 'none'
