"""Several processes that train one network, started by torchrun.

Without torchrun there is one rank, and every function here does nothing. Tensors go
over NCCL between GPUs and over Gloo between CPUs. pyiqa 0.1.16 starts NCCL alone, and
divides by the number of GPUs.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from metaiqa_plugin.errors import UserError

__all__ = ['add_up', 'count', 'gather', 'rank', 'share', 'start', 'stop']

PATIENCE = datetime.timedelta(hours=12)
"""Rank 0 validates alone, however long; torchrun notices a rank that died."""


def start(launcher: str) -> None:
    """Join the other ranks.

    Args:
        launcher: ``'none'``: there are no others; ``'pytorch'``: torchrun's.

    Raises:
        UserError: another launcher, or no torchrun.
    """
    if launcher == 'none':
        return
    if launcher != 'pytorch':
        raise UserError(
            f'--launcher {launcher!r}: expected pytorch; under SLURM let srun start '
            'one torchrun per machine'
        )
    missing = [name for name in ('RANK', 'WORLD_SIZE') if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher pytorch, but {missing} are not set; start it with: torchrun '
            '--nproc_per_node=N -m metaiqa_plugin.train -opt FILE --launcher pytorch'
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    backend = 'nccl' if torch.cuda.is_available() else 'gloo'
    dist.init_process_group(backend, timeout=PATIENCE)


def stop() -> None:
    """Leave the other ranks."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Which of the ranks this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the ranks.

    Raises:
        UserError: a rank was lost.
    """
    if count() == 1:
        return
    try:
        waiting = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
        for work in waiting:
            work.wait()
    except RuntimeError as error:
        raise _lost(error) from error


def gather(value: Any) -> list[Any]:
    """``value`` of every rank, in their order.

    Raises:
        UserError: a rank was lost.
    """
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise _lost(error) from error
    return values


def share(value: Any) -> Any:
    """``value`` of rank 0, on every rank.

    Raises:
        UserError: a rank was lost.
    """
    if count() == 1:
        return value
    values = [value]
    try:
        dist.broadcast_object_list(values)
    except RuntimeError as error:
        raise _lost(error) from error
    return values[0]


def _lost(error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0][:200]
    return UserError(
        f'rank {rank()} of {count()} lost another one ({reason}); start the job again '
        'with --resume, with as many ranks as there are'
    )
