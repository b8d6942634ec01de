"""Writing and running TorchScript."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from metaiqa_plugin.export.modules import Entry, Resize
from metaiqa_plugin.export.plan import Plan

__all__ = ['FACTS', 'open_torchscript', 'write_torchscript']

FACTS = 'facts.json'
EXAMPLE = (96, 128)


def write_torchscript(path: str | os.PathLike, plan: Plan) -> None:
    """The model as ``torch.jit.load`` takes it, its facts in the file ``facts.json``.

    It refuses images of another size, type or channels than it was made for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        scores = _compiled(plan)
        entry = torch.jit.script(Entry(scores, plan.size, plan.single, plan.of_bytes))
        torch.jit.save(
            entry.eval(), os.fspath(path), {FACTS: json.dumps(plan.facts, indent=1)}
        )


def open_torchscript(path: str | os.PathLike) -> Callable[[Tensor], Tensor]:
    """What a file computes, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = torch.jit.load(os.fspath(path), map_location='cpu')
    return model


def _compiled(plan: Plan) -> nn.Module:
    if not plan.resizes:
        example = torch.rand(1 if plan.single else 2, 3, *plan.size)
        return torch.jit.trace(plan.scores, example, check_trace=False)
    resize = torch.jit.script(Resize(plan.network.config))
    return torch.jit.script(nn.Sequential(resize, _any_size(plan.scores)))


def _any_size(scores: nn.Module) -> nn.Module:
    """Scripted, which keeps what depends on the size; traced where it can not be."""
    try:
        return torch.jit.script(scores)
    except (RuntimeError, torch.jit.frontend.FrontendError):
        return torch.jit.trace(scores, torch.rand(2, 3, *EXAMPLE), check_trace=False)
