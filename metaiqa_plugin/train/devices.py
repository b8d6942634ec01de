"""What a run computes on, and how precisely."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from metaiqa_plugin.errors import UserError

__all__ = ['Choice', 'choose_device', 'choose_precision']

PAYS = 1.1
"""bf16 must be faster by this factor to be chosen."""


class Choice(NamedTuple):
    """A choice and the reason, for the line at the start of a run."""

    value: str
    why: str


def choose_device(num_gpu: int | str) -> Choice:
    """The device of this process for pyiqa's option ``num_gpu``.

    Args:
        num_gpu: 0: the CPU; 1: the GPU (CUDA, else Apple's MPS); ``'auto'``: the GPU
            if there is one. With several ranks each takes the CUDA device of its
            LOCAL_RANK.

    Raises:
        UserError: several GPUs in one process, no such device, or no such option.
    """
    if num_gpu == 'auto':
        name = _gpu()
        if name:
            return Choice(name, 'num_gpu: auto found it')
        return Choice('cpu', 'num_gpu: auto found no GPU')
    if num_gpu == 0 and not isinstance(num_gpu, bool):
        return Choice('cpu', 'num_gpu: 0')
    if num_gpu == 1 and not isinstance(num_gpu, bool):
        name = _gpu()
        if name is None:
            raise UserError('num_gpu=1, but torch finds no GPU; num_gpu: 0 is the CPU')
        return Choice(name, 'num_gpu: 1')
    if isinstance(num_gpu, int) and num_gpu > 1:
        raise UserError(
            f'num_gpu={num_gpu}: one process trains on one device; give num_gpu: 1 and '
            f'start {num_gpu} processes: torchrun --nproc_per_node={num_gpu} '
            '-m metaiqa_plugin.train -opt FILE --launcher pytorch'
        )
    raise UserError(f'num_gpu={num_gpu!r}: expected 0, 1 or auto')


def _gpu() -> str | None:
    if torch.cuda.is_available():
        return f'cuda:{torch.cuda.current_device()}'
    return 'mps' if torch.backends.mps.is_available() else None


def choose_precision(asked: str, step: Callable[[str], None]) -> Choice:
    """``'fp32'`` or ``'bf16'``.

    Args:
        asked: either, or ``'auto'``: the faster one; bf16 must win clearly.
        step: does a training step in the precision it is given, leaves no trace, and
            returns when the device has done it.
    """
    if asked != 'auto':
        return Choice(asked, 'as asked')
    ratio = _seconds(step, 'fp32') / _seconds(step, 'bf16')
    chosen = 'bf16' if ratio >= PAYS else 'fp32'
    return Choice(chosen, f'bf16 is {ratio:.2f} times as fast as fp32 here')


def _seconds(step: Callable[[str], None], precision: str) -> float:
    step(precision)
    spans = []
    for _ in range(3):
        started = time.perf_counter()
        step(precision)
        spans.append(time.perf_counter() - started)
    return min(spans)
