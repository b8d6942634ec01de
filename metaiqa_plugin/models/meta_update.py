"""The bi-level update of MetaIQA (CVPR 2020, Section 3.1, Eq. 3-8): maths only.

A network is a flat list of parameter tensors theta; what it does with a batch is in
the ``gradient`` function that the caller gives. Nothing here knows of modules,
files or devices, and no input is modified.

Where we depart from the paper: Eq. 4 adds up steps without Adam's bias correction;
that is the default here, and ``bias_correction`` gives the Adam of Kingma and Ba,
as the authors' code uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaiqa_plugin.checks import real_number
from metaiqa_plugin.errors import UserError

__all__ = ['AdamSettings', 'MetaGradient', 'Task', 'adam_steps', 'meta_gradient']

Parameters = list[Tensor]
GradientFunction = Callable[[Parameters, Any], tuple[Tensor, Sequence[Tensor]]]


@dataclass(frozen=True)
class AdamSettings:
    """The inner optimizer.

    Attributes:
        mu1: decay of the first moment, Eq. 5.
        mu2: decay of the second raw moment, Eq. 6.
        eps: of Eq. 4.
        weight_decay: L2 penalty added to the gradient.
        bias_correction: divide the moments by 1 - mu^s, which Eq. 4 does not.
    """

    mu1: float = 0.9
    mu2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    bias_correction: bool = False

    def __post_init__(self) -> None:
        real_number('mu1', self.mu1, 0, 1)
        real_number('mu2', self.mu2, 0, 1)
        real_number('eps', self.eps, 0)
        real_number('weight_decay', self.weight_decay, 0)


class Task(NamedTuple):
    """One distortion: the batches of its support steps, then of its query steps."""

    support: Sequence[Any]
    query: Sequence[Any]


class MetaGradient(NamedTuple):
    """Outcome of a mini-batch of k tasks.

    Attributes:
        gradient: (1/k) * sum over i of (theta - theta_i), one tensor a parameter.
        support_losses, query_losses: per task, the loss before each step.
    """

    gradient: Parameters
    support_losses: list[list[float]]
    query_losses: list[list[float]]


@torch.no_grad()
def adam_steps(
    theta: Parameters,
    batches: Sequence[Any],
    gradient: GradientFunction,
    alphas: Sequence[float],
    adam: AdamSettings,
) -> tuple[Parameters, list[float]]:
    """One Adam step per batch from fresh moments: Eq. 4, with Eq. 3, 5 and 6.

    Args:
        theta: parameters to start from; left as they are.
        batches: one per step s = 1..S, handed to ``gradient``.
        gradient: maps (parameters, batch) to the loss and its gradient g_s.
        alphas: learning rate of each parameter tensor.
        adam: decay rates of the moments.

    Returns:
        theta' = theta - alpha * sum over s of m_s / (sqrt(v_s) + eps), and the loss
        before each step.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    theta = [parameter.clone() for parameter in theta]
    first = [torch.zeros_like(parameter) for parameter in theta]
    second = [torch.zeros_like(parameter) for parameter in theta]
    losses = []
    for step, batch in enumerate(batches, start=1):
        loss, gradients = gradient(theta, batch)
        losses.append(_finite(float(loss), step))
        gradients = list(gradients)
        if adam.weight_decay:
            gradients = torch._foreach_add(gradients, theta, alpha=adam.weight_decay)
        torch._foreach_lerp_(first, gradients, 1 - adam.mu1)
        torch._foreach_mul_(second, adam.mu2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - adam.mu2)
        scale1, scale2 = 1.0, 1.0
        if adam.bias_correction:
            scale1, scale2 = 1 - adam.mu1**step, 1 - adam.mu2**step
        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, scale2**0.5)
        torch._foreach_add_(root, adam.eps)
        torch._foreach_addcdiv_(theta, first, root, [-a / scale1 for a in alphas])
    return theta, losses


def meta_gradient(
    theta: Parameters,
    tasks: Iterable[Task],
    gradient: GradientFunction,
    alphas: Sequence[float],
    adam: AdamSettings,
) -> MetaGradient:
    """The direction of the outer update, Eq. 8: theta <- theta - beta * gradient.

    For each task i, S steps on the support set give theta'_i (Eq. 4); from there S
    steps on the query set, with moments of their own, give theta_i (Eq. 7).

    Args:
        theta: the meta-parameters; left as they are.
        tasks: the k tasks of the mini-batch, at least one.
        gradient, alphas, adam: as in :func:`adam_steps`.

    Raises:
        UserError: no task.
        FloatingPointError: a loss is NaN or infinite; the message names the task.
    """
    total = [torch.zeros_like(parameter) for parameter in theta]
    support_losses, query_losses = [], []
    for index, task in enumerate(tasks):
        try:
            adapted, losses = adam_steps(theta, task.support, gradient, alphas, adam)
            support_losses.append(losses)
            adapted, losses = adam_steps(adapted, task.query, gradient, alphas, adam)
            query_losses.append(losses)
        except FloatingPointError as error:
            raise FloatingPointError(
                f'task {index} of the mini-batch: {error}'
            ) from error
        with torch.no_grad():
            torch._foreach_add_(total, torch._foreach_sub(theta, adapted))
    if not support_losses:
        raise UserError('tasks is empty: a meta-update needs at least one task')
    torch._foreach_div_(total, len(support_losses))
    return MetaGradient(total, support_losses, query_losses)


def _finite(loss: float, step: int) -> float:
    if not torch.isfinite(torch.tensor(loss)):
        raise FloatingPointError(f'the loss of inner step {step} is {loss}')
    return loss
