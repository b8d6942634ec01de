"""Meta-training of a quality prior as a pyiqa model (CVPR 2020, Section 3.1).

A trainer calls :meth:`MetaIQAModel.optimize_parameters` once per mini-batch of
k tasks. The optimizer and scheduler of the option file do the outer update: Eq. 8 is a
step of plain SGD with learning rate beta along the meta-gradient, and the inner rates
alpha decay with beta ("every rate").
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyiqa.utils import get_root_logger
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from metaiqa_plugin.errors import UserError, real_number
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.iqa_model import Choice, IQAModel
from metaiqa_plugin.train.learners import LEARNERS, Placed
from metaiqa_plugin.train.network import Batch, Network
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.state import random_states, set_random_states
from metaiqa_plugin.train.update import Task

__all__ = ['MetaIQAModel', 'choose_precision']

PAYS = 1.1
"""bf16 must be faster by this factor to be chosen."""


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
    """The shortest of three, after one to warm up."""
    step(precision)
    spans = []
    for _ in range(3):
        started = time.perf_counter()
        step(precision)
        spans.append(time.perf_counter() - started)
    return min(spans)


class MetaIQAModel(IQAModel):
    """Trains any pyiqa network by the bi-level update, or as a control of it.

    Options beside those of pyiqa's ``GeneralIQAModel``: ``train.meta``, see
    :class:`MetaSettings`; ``train.optim.lr`` is the paper's beta. The training set is
    an ``EpisodeDataset``.

    Attributes:
        task_losses: of the last update, for the log.

    Raises:
        UserError: a bad option; training diverged.
        CheckpointError: ``path.pretrain_network`` does not fit the network.
    """

    takes_ranks = True

    def __init__(self, opt: dict[str, Any]) -> None:
        self.meta = MetaSettings.from_options(opt.get('train', {}).get('meta', {}))
        if ranks.count() > 1 and self.meta.in_order:
            raise UserError(
                f'train.meta.{self.meta.in_order}: a task depends on the one before '
                f'it, so the tasks cannot be spread over {ranks.count()} ranks; start '
                'it without torchrun'
            )
        self.seed = opt.get('manual_seed') or 0
        super().__init__(opt)

    def init_training_settings(self) -> None:
        super().init_training_settings()
        real_number('train.optim.lr', self.optimizer.param_groups[0]['lr'], 1e-30)
        criteria = [c for c in (self.cri_mos, self.cri_metric) if c is not None]
        if not criteria:
            raise UserError('train.mos_loss_opt or train.metric_loss_opt must be given')
        self.network = Network(self.net, criteria, self.meta, self.device)
        self.network.train()
        self.learner = LEARNERS[self.meta.update](
            self.network, self.meta, self.optimizer
        )
        self.average = None
        if self.meta.ema:
            self.average = AveragedModel(
                self.net,
                multi_avg_fn=get_ema_multi_avg_fn(self.meta.ema),
                use_buffers=True,
            )
        self._precision: Choice | None = None

    def feed_data(self, data: dict[str, Any]) -> None:
        """A mini-batch of k tasks, or in validation one of labelled images."""
        if 'task' not in data:
            super().feed_data(data)
            return
        self.tasks = [
            (
                Task(
                    name,
                    self._batches(data, 'support', index),
                    self._batches(data, 'query', index),
                ),
                int(data['place'][index]),
            )
            for index, name in enumerate(data['task'])
        ]

    def optimize_parameters(self, current_iter: int) -> None:
        """One update from the k tasks."""
        self.set_rates(current_iter)
        self.network.train()
        if self._precision is None:
            self._choose_precision()
        placed = [
            Placed(task, place, _seed(self.seed, current_iter, place))
            for task, place in self.tasks
        ]
        with torch.random.fork_rng():
            try:
                self.task_losses = self.learner.update(placed)
            except FloatingPointError as error:
                raise UserError(
                    f'meta-training diverged at update {current_iter}: {error}; lower '
                    'train.meta.alpha or train.optim.lr'
                ) from error
        if self.average is not None:
            self.average.update_parameters(self.net)
        self.log_dict = {
            'l_support': _mean([losses.support[0] for losses in self.task_losses]),
            'l_query': _mean([losses.query[0] for losses in self.task_losses]),
            'l_adapted': _mean([losses.query[-1] for losses in self.task_losses]),
        }

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        """Of the average of the weights, if there is one."""
        training = self.net
        self.net = self.result
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.net = training

    def save(self, epoch: int, current_iter: int, save_net_label: str = 'net') -> None:
        self.save_network(self.result, save_net_label, current_iter)
        self.save_training_state(epoch, current_iter)

    def describe(self) -> str:
        """What was chosen to run on, and why: one line for the log."""
        device, precision = self._device_choice, self._precision
        layout = 'channels_last' if self.meta.channels_last else 'contiguous'
        threads = torch.get_num_threads()
        steps = {'maml': 'plain', 'exact': 'closed-form'}
        steps = steps.get(self.meta.update, 'fused Adam')
        return (
            f'{self.meta.update} update on {device.value} ({device.why}; {threads} '
            f'threads, {ranks.count()} ranks), {precision.value} ({precision.why}), '
            f'{layout}, {steps} inner steps'
        )

    def own_state(self) -> dict[str, Any]:
        """What the trainer has beside network, optimizers and schedulers."""
        return {
            'learner': self.learner.state(),
            'precision': self._precision and self._precision.value,
            'average': None if self.average is None else self.average.state_dict(),
        }

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`own_state`."""
        self.learner.load_state(state['learner'])
        if self.average is not None and state['average'] is not None:
            self.average.load_state_dict(state['average'])
        if state['precision'] is not None:
            self._set_precision(choose_precision(state['precision'], self._trial))

    @property
    def result(self) -> torch.nn.Module:
        """What training gives: the network, or the average of its weights."""
        return self.net if self.average is None else self.average.module

    def _batches(self, data: dict[str, Any], part: str, task: int) -> Sequence[Batch]:
        images, mos = data[f'{part}_img'][task], data[f'{part}_mos'][task]
        if self.meta.steps_see == 'whole':
            return [(images, mos)] * self.meta.steps
        if len(images) % self.meta.steps:
            raise UserError(
                f'{part}_size={len(images)} cannot be cut into train.meta.steps='
                f'{self.meta.steps} equal batches; make it a multiple, or set '
                'steps_see: whole'
            )
        size = len(images) // self.meta.steps
        return list(zip(images.split(size), mos.split(size), strict=True))

    def _choose_precision(self) -> None:
        chosen = None
        if ranks.rank() == 0:
            chosen = choose_precision(self.meta.precision, self._trial)
        self._set_precision(ranks.share(chosen))

    def _set_precision(self, choice: Choice) -> None:
        self._precision = choice
        self.network.precision = choice.value
        get_root_logger().info(self.describe())

    def _trial(self, precision: str) -> None:
        """A step on a first batch that changes nothing."""
        buffers = [*self.net.buffers()]
        before = [buffer.clone() for buffer in buffers]
        states = random_states()
        self.network.precision = precision
        loss = self.network.loss(self.tasks[0][0].support[0])
        torch.autograd.grad(loss, self.network.parameters, allow_unused=True)
        loss.item()
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        set_random_states(states)


def _seed(*parts: int) -> int:
    """A seed of its own for each task of each update, whichever rank does it."""
    text = ','.join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], 'big')


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
