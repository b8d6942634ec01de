"""Writing and running TorchScript."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.metaiqa_arch import MetaIQAConfig, longest_side, scaled_side
from metaiqa_plugin.export.draft import Draft, real_planes

__all__ = ['Resize', 'open_torchscript', 'write_torchscript']

FACTS = 'facts.json'
EXAMPLE = (96, 128)


class Resize(nn.Module):
    """MetaIQA's resize in evaluation, see ``metaiqa_arch.target_size``."""

    def __init__(self, config: MetaIQAConfig) -> None:
        super().__init__()
        self.side, self.longest = config.input_size, longest_side(config)
        self.squash = config.resize == 'squash'
        self.mode = config.interpolation
        self.antialias = config.antialias

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2], images.shape[3]
        size = [self.side, self.side]
        if not self.squash:
            shorter = min(height, width)
            size = [
                scaled_side(height, shorter, self.side, self.longest),
                scaled_side(width, shorter, self.side, self.longest),
            ]
        return functional.interpolate(
            images,
            size,
            mode=self.mode,
            align_corners=False,
            antialias=self.antialias,
        )


class Entry(nn.Module):
    """Checks what comes in.

    Args:
        scores: (N, 3, H, W) in [0, 1] to (N, 1).
        draft: says which images it takes.
    """

    def __init__(self, scores: nn.Module, draft: Draft) -> None:
        super().__init__()
        self.scores = scores
        self.height, self.width = draft.size or (0, 0)
        self.single = draft.single
        self.of_bytes = draft.of_bytes

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4:
            raise ValueError(f'images have {images.dim()} dimensions, not 4')
        if self.of_bytes:
            if images.dtype != torch.uint8:
                raise ValueError('images are not uint8')
            images = real_planes(images)
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


def write_torchscript(path: str | os.PathLike, draft: Draft) -> None:
    """The model as ``torch.jit.load`` takes it, its facts in the file ``facts.json``.

    It refuses images of another size, type or channels than it was made for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        entry = torch.jit.script(Entry(_compiled(draft), draft))
        facts = {FACTS: json.dumps(draft.facts, indent=1)}
        with open(path, 'wb') as file:  # of a full disk torch makes a RuntimeError
            torch.jit.save(entry.eval(), file, facts)


def open_torchscript(path: str | os.PathLike) -> Callable[[Tensor], Tensor]:
    """What a file computes, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.jit.load(os.fspath(path), map_location='cpu')


def _compiled(draft: Draft) -> nn.Module:
    if not draft.resizes:
        example = torch.rand(1 if draft.single else 2, 3, *draft.size)
        return torch.jit.trace(draft.scores, example, check_trace=False)
    try:  # scripting keeps what depends on the size
        scores = torch.jit.script(draft.scores)
    except (RuntimeError, torch.jit.frontend.FrontendError):
        example = torch.rand(2, 3, *EXAMPLE)
        scores = torch.jit.trace(draft.scores, example, check_trace=False)
    return torch.jit.script(nn.Sequential(Resize(draft.network.config), scores))
