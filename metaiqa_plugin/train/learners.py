"""Ways in which the k tasks of a mini-batch change a network.

Each learner does one update from the tasks of this rank, and returns their losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.network import Batch, Network
from metaiqa_plugin.train.ridge import ridge_change
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.update import (
    InnerAdam,
    Task,
    TaskLosses,
    adam_steps,
    finite,
    task_differences,
)

__all__ = [
    'LEARNERS',
    'Bilevel',
    'Exact',
    'Joint',
    'Learner',
    'Maml',
    'Placed',
    'Single',
]


class Placed(NamedTuple):
    """A task, its place among the k of the mini-batch, and the seed of its draws."""

    task: Task
    place: int
    seed: int


class Learner:
    """What all learners share.

    Args:
        network: is trained in place.
        settings: of the run.
        optimizer: of the outer step, over ``network.parameters``.
    """

    def __init__(
        self,
        network: Network,
        settings: MetaSettings,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.network = network
        self.settings = settings
        self.optimizer = optimizer
        self._change: list[Tensor] = []

    def update(self, tasks: Sequence[Placed]) -> list[TaskLosses]:
        """Train on the tasks of this rank, together with the other ranks.

        Returns:
            the losses of all ranks' tasks, in the order of their places.

        Raises:
            FloatingPointError: a loss or the meta-gradient is NaN or infinite.
            UserError: a rank was lost.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What an exact continuation needs beside network and optimizer."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state`."""

    @property
    def decay(self) -> float:
        """The inner rates decay with the outer one ("every rate")."""
        group = self.optimizer.param_groups[0]
        return group['lr'] / group.get('initial_lr', group['lr'])

    def _gathered(
        self, compute: Callable[[], list[TaskLosses]], tasks: Sequence[Placed]
    ) -> list[TaskLosses]:
        """The losses of all ranks; an error of one of them ends all."""
        counters = self.network.counters
        before = [counter.clone() for counter in counters]
        try:
            places = [placed.place for placed in tasks]
            here = (list(zip(places, compute(), strict=True)), '')
        except FloatingPointError as error:
            here = ([], str(error))
        everywhere = ranks.gather(here)
        for _, error in everywhere:
            if error:
                raise FloatingPointError(error)
        for counter, start in zip(counters, before, strict=True):
            counter.sub_(start)
        ranks.add_up(counters)
        for counter, start in zip(counters, before, strict=True):
            counter.add_(start)
        found = dict(pair for pairs, _ in everywhere for pair in pairs)
        return [found[place] for place in sorted(found)]

    def _each(self, tasks: Sequence[Placed]) -> Iterator[Task]:
        """The tasks with their draws; averaged statistics start from those of theta."""
        statistics = self.network.statistics
        averaged = self.settings.batchnorm == 'averaged' and bool(statistics)
        start = [buffer.clone() for buffer in statistics] if averaged else []
        self._change = [torch.zeros_like(buffer) for buffer in start]
        try:
            for placed in tasks:
                torch.manual_seed(placed.seed)
                yield placed.task
                if averaged:
                    torch._foreach_add_(
                        self._change, torch._foreach_sub(start, statistics)
                    )
                    torch._foreach_copy_(statistics, start)
        finally:
            if averaged:
                torch._foreach_copy_(statistics, start)

    def _step_outer(
        self, total: Sequence[Tensor], k: int, statistics_rate: float
    ) -> None:
        """The outer step along the mean of the sums that all ranks have.

        Running means and variances, where they are averaged, take a step of Eq. 8 with
        a rate of their own.
        """
        ranks.add_up(total)
        torch._foreach_div_(list(total), k)
        norm = torch.nn.utils.get_total_norm(total)
        if not torch.isfinite(norm):
            raise FloatingPointError(f'the norm of the meta-gradient is {norm.item()}')
        for parameter, gradient in zip(self.network.parameters, total, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._change:
            ranks.add_up(self._change)
            torch._foreach_add_(
                self.network.statistics, self._change, alpha=-statistics_rate / k
            )


class Bilevel(Learner):
    """Eq. 3-8; BatchNorm's statistics as the settings say."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.adam = InnerAdam(self.network.parameters, self.settings)

    def update(self, tasks: Sequence[Placed]) -> list[TaskLosses]:
        support = self.network.rates(self.decay, self.settings.inner == 'head')
        query = self.network.rates(self.decay)
        total: list[Tensor] = []

        def compute() -> list[TaskLosses]:
            with closing(self._each(tasks)) as walk:
                outcome = task_differences(
                    self.adam, walk, self.network.loss, support, query
                )
            total.extend(outcome.total)
            return outcome.losses

        losses = self._gathered(compute, tasks)
        # beta, where the outer step is Eq. 8. Other optimizers have rates in other
        # units; with them statistics move to the mean over the tasks, as far as the
        # rates have not decayed.
        plain = type(self.optimizer) is torch.optim.SGD
        rate = self.optimizer.param_groups[0]['lr'] if plain else self.decay
        self._step_outer(total, len(losses), rate)
        return losses

    def state(self) -> dict[str, Any]:
        return self.adam.state() if self.settings.moments == 'carried' else {}

    def load_state(self, state: dict[str, Any]) -> None:
        if state:
            self.adam.load_state(state)


class Single(Learner):
    """The control: the same episodes in the same order, and no bi-level update."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.adam = InnerAdam(self.network.parameters, self.settings)

    def update(self, tasks: Sequence[Placed]) -> list[TaskLosses]:
        losses = []
        for placed in tasks:
            torch.manual_seed(placed.seed)
            task = placed.task
            try:
                support, query = self._steps(task.support), self._steps(task.query)
            except FloatingPointError as error:
                raise FloatingPointError(f'task {task.name!r}: {error}') from error
            losses.append(TaskLosses(task.name, support, query))
        self._step_schedule()
        return losses

    def _steps(self, batches: Sequence[Batch]) -> list[float]:
        rates = self.network.rates(self.decay)
        return adam_steps(self.adam, batches, self.network.loss, rates)

    def _step_schedule(self) -> None:
        """A step without gradients: torch's schedulers warn of one that never steps."""
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        return self.adam.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self.adam.load_state(state)


class Joint(Single):
    """The baseline: the images of the k tasks, mixed; losses belong to no task."""

    def update(self, tasks: Sequence[Placed]) -> list[TaskLosses]:
        torch.manual_seed(tasks[0].seed)
        batches = [
            batch
            for placed in tasks
            for part in (placed.task.support, placed.task.query)
            for batch in part
        ]
        losses = self._steps(_mixed(batches))
        self._step_schedule()
        return [TaskLosses('all', losses, losses)]


class ThroughQuery(Learner):
    """Learners whose outer step follows the query loss through what came before."""

    def update(self, tasks: Sequence[Placed]) -> list[TaskLosses]:
        def compute() -> list[TaskLosses]:
            with closing(self._each(tasks)) as walk:
                return [self._named(task) for task in walk]

        losses = self._gathered(compute, tasks)
        parameters = self.network.parameters
        total = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self._step_outer(total, len(losses), self.decay)
        return losses

    def _named(self, task: Task) -> TaskLosses:
        try:
            return self._one(task)
        except FloatingPointError as error:
            raise FloatingPointError(f'task {task.name!r}: {error}') from error

    def _one(self, task: Task) -> TaskLosses:
        """Adds the gradient of the task's query loss to those of the parameters."""
        raise NotImplementedError


class Maml(ThroughQuery):
    """Second-order MAML: through S gradient steps on the support set.

    learn2learn's copies of the network share its BatchNorm statistics.
    """

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        try:
            import learn2learn
        except ImportError as error:
            raise UserError(
                f'update: maml needs learn2learn ({error}); the README says how to '
                'install it'
            ) from error
        self.maml = learn2learn.algorithms.MAML(
            self.network.module,
            lr=self.settings.alpha,
            allow_unused=True,
            allow_nograd=True,  # frozen stages
        )

    def update(self, tasks: Sequence[Placed]) -> list[TaskLosses]:
        self.maml.lr = self.settings.alpha * self.decay
        return super().update(tasks)

    def _one(self, task: Task) -> TaskLosses:
        loss = self.network.loss
        support, query = [], []
        copy = self.maml.clone()
        for batch in task.support:
            value = loss(batch, copy)
            support.append(finite(value, f'step {len(support) + 1}'))
            copy.adapt(value)
        total = sum(loss(batch, copy) for batch in task.query) / len(task.query)
        query.append(finite(total, 'the query set'))
        total.backward()
        return TaskLosses(task.name, support, query)


class Exact(ThroughQuery):
    """Through the closed-form step of the last layer that few labels get in ``adapt``.

    In place of Eq. 4 the support set moves the last layer by :func:`ridge_change`, and
    the loss of the query set after it is followed back through that step into the
    whole network. So what is trained is a prior that this step makes the most of.

    Raises:
        UserError: the network is not a ``MetaIQA``.
    """

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        if not hasattr(self.network.module, 'hidden'):
            raise UserError(
                'train.meta.update=exact needs the last layer of a MetaIQA, not '
                f'{type(self.network.module).__name__}; use bilevel'
            )

    def _one(self, task: Task) -> TaskLosses:
        given, asked = (_joined(part) for part in (task.support, task.query))
        support, query = (self.network.labelled(batch) for batch in (given, asked))
        change = ridge_change(support, self.settings.penalty, slope=False)
        before = self.network.criterion(torch.sigmoid(support.logits), support.mos)
        adapted = torch.sigmoid(change.of(query.hidden, query.logits))
        total = self.network.criterion(adapted, query.mos)
        losses = [finite(before, 'the support set')], [finite(total, 'the query set')]
        total.backward()
        return TaskLosses(task.name, *losses)


LEARNERS = {
    'bilevel': Bilevel,
    'exact': Exact,
    'joint': Joint,
    'single': Single,
    'maml': Maml,
}


def _joined(batches: Sequence[Batch]) -> Batch:
    images, mos = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(mos)


def _mixed(batches: Sequence[Batch]) -> list[Batch]:
    """As many batches of the same sizes, of images from all of them."""
    sizes = [len(images) for images, _ in batches]
    order = torch.randperm(sum(sizes))
    images = torch.cat([images for images, _ in batches])[order]
    mos = torch.cat([mos for _, mos in batches])[order]
    return list(zip(images.split(sizes), mos.split(sizes), strict=True))
