"""The bi-level update of MetaIQA (CVPR 2020, Section 3.1, Eq. 3-8): maths only.

A network is a list of leaf tensors theta and a function that maps a batch to its loss
(Eq. 2) at their present values. Nothing here knows of modules, files or devices.

The tensors are worked on in place, and a gradient (Eq. 3) is used up as soon as the
backward pass has completed it. So what a meta-update holds is five times the
parameters: themselves, the two moments of one Adam, one copy of theta, and the sum of
the differences, which is the meta-gradient.

Where we depart from the paper: Eq. 4 adds up steps without Adam's bias correction;
that is the default here, and ``bias_correction`` gives the Adam of Kingma and Ba,
as the authors' code uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.optim.adam import adam as torch_adam

from metaiqa_plugin.errors import one_of, real_number

__all__ = [
    'AdamSettings',
    'Differences',
    'InnerAdam',
    'Task',
    'TaskLosses',
    'adam_steps',
    'finite',
    'task_differences',
]

LossFunction = Callable[[Any], Tensor]
Rates = Sequence[float | None]
Moments = Literal['set', 'task', 'carried']


@dataclass(frozen=True)
class AdamSettings:
    """The inner optimizer.

    Attributes:
        mu1: decay of the first moment, Eq. 5.
        mu2: decay of the second raw moment, Eq. 6.
        eps: of Eq. 4.
        weight_decay: L2 penalty added to the gradient.
        bias_correction: divide the moments by 1 - mu^s, which Eq. 4 does not.
        moments: ``'set'``: fresh for each support and each query set, as the paper
            writes it; ``'task'``: fresh for each task, the query steps keep those of
            the support steps; ``'carried'``: never fresh, one Adam runs through all
            tasks, as in the authors' code.
    """

    mu1: float = 0.9
    mu2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    bias_correction: bool = False
    moments: Moments = 'set'

    def __post_init__(self) -> None:
        real_number('mu1', self.mu1, 0, 1)
        real_number('mu2', self.mu2, 0, 1)
        real_number('eps', self.eps, 0)
        real_number('weight_decay', self.weight_decay, 0)
        one_of('moments', self.moments, get_args(Moments))


class Task(NamedTuple):
    """One distortion: the batches of its support steps, then of its query steps."""

    name: str
    support: Sequence[Any]
    query: Sequence[Any]


class TaskLosses(NamedTuple):
    """The loss before each step of a task."""

    task: str
    support: list[float]
    query: list[float]


class Differences(NamedTuple):
    """What k tasks did to the parameters.

    Attributes:
        total: sum over i of (theta - theta_i), one tensor a parameter; divided by k it
            is the direction of Eq. 8.
        losses: one entry a task.
    """

    total: list[Tensor]
    losses: list[TaskLosses]


class InnerAdam:
    """Adam on leaf tensors, in place, each as soon as its gradient is there.

    From the moment it is made, every backward pass to these tensors is a step.

    Args:
        parameters: leaf tensors that require a gradient.
        settings: of the optimizer.
    """

    def __init__(self, parameters: Sequence[Tensor], settings: AdamSettings) -> None:
        self.parameters = list(parameters)
        self.settings = settings
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [p.new_zeros((), dtype=torch.float32) for p in self.parameters]
        self._fresh = [False] * len(self.parameters)
        self._alphas: Rates = ()
        for index, parameter in enumerate(self.parameters):
            parameter.register_post_accumulate_grad_hook(partial(self._apply, index))

    def reset(self) -> None:
        """Fresh moments: m_0 = v_0 = 0, from each parameter's next step on."""
        self._fresh = [True] * len(self.parameters)

    def state(self) -> dict[str, list[Tensor]]:
        """The moments, and the steps that they have seen."""
        return {'first': self.first, 'second': self.second, 'steps': self.steps}

    def load_state(self, state: dict[str, list[Tensor]]) -> None:
        """Inverse of :meth:`state`."""
        for name, tensors in self.state().items():
            torch._foreach_copy_(tensors, state[name])

    def descend(self, loss: Tensor, alphas: Rates) -> None:
        """One step down the gradient of ``loss`` (Eq. 3-6).

        Args:
            loss: scalar that depends on the parameters.
            alphas: learning rate of each parameter; where it is None, the parameter
                must not require a gradient now.
        """
        self._alphas = alphas
        loss.backward()

    @torch.no_grad()
    def _apply(self, index: int, parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        moments = (self.first[index], self.second[index], self.steps[index])
        if self._fresh[index]:
            self._fresh[index] = False
            for tensor in moments:  # here, where Adam finds them in the cache
                tensor.zero_()
        rate, eps = self._alphas[index], self.settings.eps
        if not self.settings.bias_correction:
            # torch's Adam always corrects; these make it cancel
            step = self.steps[index].item() + 1
            root = math.sqrt(1 - self.settings.mu2**step)
            rate *= (1 - self.settings.mu1**step) / root
            eps /= root
        torch_adam(
            [parameter],
            [gradient],
            [moments[0]],
            [moments[1]],
            [],
            [moments[2]],
            fused=parameter.device.type in ('cpu', 'cuda'),
            foreach=False,
            amsgrad=False,
            beta1=self.settings.mu1,
            beta2=self.settings.mu2,
            lr=rate,
            weight_decay=self.settings.weight_decay,
            eps=eps,
            maximize=False,
        )


def adam_steps(
    adam: InnerAdam, batches: Sequence[Any], loss: LossFunction, alphas: Rates
) -> list[float]:
    """One step a batch: Eq. 4 with Eq. 3, 5 and 6. Changes the parameters.

    Args:
        adam: the optimizer, with the moments it has.
        batches: one per step s = 1..S, handed to ``loss``.
        loss: of a batch at the present parameters.
        alphas: learning rate of each parameter; None: it stays as it is, and no
            gradient is computed for it.

    Returns:
        the loss before each step.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    losses = []
    for parameter, alpha in zip(adam.parameters, alphas, strict=True):
        parameter.requires_grad_(alpha is not None)
    try:
        for step, batch in enumerate(batches, start=1):
            value = loss(batch)
            losses.append(finite(value, f'step {step}'))
            adam.descend(value, alphas)
    finally:
        for parameter in adam.parameters:
            parameter.requires_grad_()
    return losses


def task_differences(
    adam: InnerAdam,
    tasks: Iterable[Task],
    loss: LossFunction,
    support_alphas: Rates,
    query_alphas: Rates,
) -> Differences:
    """The sum of Eq. 8 over tasks; theta is left as it was, after an error, too.

    For each task i, S steps on the support set give theta'_i (Eq. 4); from there S
    steps on the query set give theta_i (Eq. 7).

    Args:
        adam: holds theta and the inner optimizer.
        tasks: any number of tasks.
        loss, support_alphas, query_alphas: as in :func:`adam_steps`.

    Raises:
        FloatingPointError: a loss is NaN or infinite; the message names the task.
    """
    fresh = adam.settings.moments
    parameters = [parameter.detach() for parameter in adam.parameters]
    theta = [parameter.clone() for parameter in parameters]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    losses = []
    try:
        for task in tasks:
            try:
                if fresh != 'carried':
                    adam.reset()
                support = adam_steps(adam, task.support, loss, support_alphas)
                if fresh == 'set':
                    adam.reset()
                query = adam_steps(adam, task.query, loss, query_alphas)
            except FloatingPointError as error:
                raise FloatingPointError(f'task {task.name!r}: {error}') from error
            losses.append(TaskLosses(task.name, support, query))
            for added, parameter, start in zip(total, parameters, theta, strict=True):
                added.sub_(parameter.sub_(start))
                parameter.copy_(start)
    finally:
        torch._foreach_copy_(parameters, theta)
    return Differences(total, losses)


def finite(loss: Tensor, where: str) -> float:
    """The number in ``loss``; raises FloatingPointError where it is not finite."""
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f'the loss of {where} is {value}')
    return value
