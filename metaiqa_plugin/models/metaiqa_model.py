"""Meta-training of a quality prior as a pyiqa model (CVPR 2020, Section 3.1).

pyiqa's trainer calls :meth:`MetaIQAModel.optimize_parameters` once per mini-batch of
k tasks. Its optimizer and scheduler do the outer update: Eq. 8 is a step of plain SGD
with learning rate beta along the meta-gradient, and the inner rates alpha decay with
beta ("every rate").
"""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from pyiqa.models.general_iqa_model import GeneralIQAModel
from pyiqa.utils import get_root_logger
from torch import Tensor
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from metaiqa_plugin.archs.metaiqa_checkpoint import load_checkpoint, load_exactly
from metaiqa_plugin.checks import one_of, real_number, whole_number
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.models.meta_update import AdamSettings, Task, meta_gradient

__all__ = ['MetaIQAModel', 'MetaSettings']


@dataclass(frozen=True)
class MetaSettings:
    """The ``train: meta:`` block, in the paper's symbols.

    Attributes:
        alpha: inner learning rate of the backbone.
        alpha_head: inner learning rate of the head; None: alpha.
        steps: S, Adam steps on the support set and again on the query set.
        steps_see: ``'whole'``: each step takes the whole set, as the paper writes it;
            ``'part'``: the set is cut into S batches, one a step.
        mu1, mu2, eps, weight_decay, bias_correction: see ``AdamSettings``.
        batchnorm: what becomes of BatchNorm's running statistics, of which the paper
            says nothing. ``'averaged'``: each task starts from those of theta, and
            Eq. 8 is applied to them as to parameters; ``'running'``: they run on from
            task to task, so the last task weighs most; ``'frozen'``: the network
            normalises by the statistics it came with.
        precision: ``'bf16'`` runs the backbone under autocast, ``'fp32'`` does not.
    """

    alpha: float = 1e-4
    alpha_head: float | None = None
    steps: int = 6
    steps_see: Literal['part', 'whole'] = 'part'
    mu1: float = 0.9
    mu2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    bias_correction: bool = False
    batchnorm: Literal['averaged', 'running', 'frozen'] = 'averaged'
    precision: Literal['fp32', 'bf16'] = 'fp32'

    def __post_init__(self) -> None:
        real_number('train.meta.alpha', self.alpha, 0)
        if self.alpha_head is not None:
            real_number('train.meta.alpha_head', self.alpha_head, 0)
        whole_number('train.meta.steps', self.steps)
        one_of('train.meta.steps_see', self.steps_see, ('part', 'whole'))
        modes = ('averaged', 'running', 'frozen')
        one_of('train.meta.batchnorm', self.batchnorm, modes)
        one_of('train.meta.precision', self.precision, ('fp32', 'bf16'))
        self.adam  # noqa: B018  (checks the rest)

    @property
    def adam(self) -> AdamSettings:
        names = [field.name for field in fields(AdamSettings)]
        return AdamSettings(**{name: getattr(self, name) for name in names})

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> MetaSettings:
        """Raises UserError for a key that is no setting."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise UserError(f'train.meta: unknown option {unknown}; known are {known}')
        return cls(**options)


class MetaIQAModel(GeneralIQAModel):
    """Trains any pyiqa network by the bi-level update.

    Options beside those of pyiqa's ``GeneralIQAModel``: ``train.meta``, see
    :class:`MetaSettings`; ``train.optim.lr`` is the paper's beta. The training set is
    an ``EpisodeDataset``.

    On a terminal a bar takes the place of pyiqa's log lines, which are in its log file.
    Writes ``learning_curve.csv`` and ``validation.csv`` into the experiment's folder
    as it goes.

    Raises:
        UserError: a bad option.
        CheckpointError: ``path.pretrain_network`` does not fit the network.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['num_gpu'] not in (0, 1):
            raise UserError(
                f'num_gpu={opt["num_gpu"]!r}: MetaIQAModel trains on one device, 0 for '
                'the CPU or 1 for a GPU'
            )
        if opt['num_gpu'] and not torch.cuda.is_available():
            raise UserError('num_gpu=1, but torch finds no GPU; num_gpu: 0 is the CPU')
        self.meta = MetaSettings.from_options(opt.get('train', {}).get('meta', {}))
        self.show_bar = sys.stderr.isatty()
        if self.show_bar:
            _leave_terminal_to_the_bar()
        super().__init__(opt)
        # pyiqa 0.1.16 reads this at the end of a run that validated nothing
        self.best_metric_results = {}

    def load_network(
        self,
        net: torch.nn.Module,
        load_path: str,
        strict: bool = True,
        param_key: str = 'params',
    ) -> None:
        """Load any weight file that ``create_metric`` loads, every key matching.

        pyiqa's own method reads torch files only. ``strict`` and ``param_key`` are
        part of its signature and have no use here.
        """
        state, _ = load_checkpoint(load_path)
        load_exactly(self.get_bare_model(net), state, load_path)
        get_root_logger().info(f'Loaded {load_path}.')

    def init_training_settings(self) -> None:
        super().init_training_settings()
        named = [(n, p) for n, p in self.net.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.norms = [m for m in self.net.modules() if isinstance(m, _BatchNorm)]
        self.statistics = [
            buffer
            for norm in self.norms
            for buffer in norm.buffers()
            if buffer.is_floating_point()
        ]
        self.bar = tqdm(
            total=self.opt['train'].get('total_iter'),
            unit='update',
            desc='meta-train',
            disable=not self.show_bar,
        )

    def feed_data(self, data: dict[str, Any]) -> None:
        """A mini-batch of k tasks, or in validation one of labelled images."""
        if 'task' not in data:
            super().feed_data(data)
            return
        self.task_names = list(data['task'])
        self.tasks = [
            Task(*(self._batches(data, part, index) for part in ('support', 'query')))
            for index in range(len(self.task_names))
        ]

    def optimize_parameters(self, current_iter: int) -> None:
        """One outer update (Eq. 8) along the meta-gradient of the k tasks."""
        self._set_norm_mode()
        beta = self.optimizer.param_groups[0]['lr']
        alphas = self._alphas(beta / self._initial_beta)
        theta = [parameter.detach() for parameter in self.parameters]
        try:
            outcome = meta_gradient(
                theta, self._each_task(beta), self._gradient, alphas, self.meta.adam
            )
        except FloatingPointError as error:
            raise UserError(
                f'meta-training diverged at update {current_iter}, tasks '
                f'{self.task_names}: {error}; lower train.meta.alpha or optim.lr'
            ) from error
        for parameter, gradient in zip(self.parameters, outcome.gradient, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.log_dict = {
            'l_support': _mean(losses[0] for losses in outcome.support_losses),
            'l_query': _mean(losses[0] for losses in outcome.query_losses),
            'l_adapted': _mean(losses[-1] for losses in outcome.query_losses),
        }
        self._append('learning_curve.csv', {'iter': current_iter, **self.log_dict})
        self.bar.update()
        self.bar.set_postfix(query=f'{self.log_dict["l_query"]:.4f}')
        if self.bar.n == self.bar.total:
            self.bar.close()

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        row = {'iter': current_iter, 'dataset': dataloader.dataset.opt['name']}
        self._append('validation.csv', row | self.metric_results)

    @property
    def _initial_beta(self) -> float:
        group = self.optimizer.param_groups[0]
        return group.get('initial_lr', group['lr'])

    def _set_norm_mode(self) -> None:
        if self.meta.batchnorm == 'frozen':
            for norm in self.norms:
                norm.eval()

    def _each_task(self, beta: float) -> Iterator[Task]:
        """The tasks, each from the statistics of theta where those are averaged."""
        if self.meta.batchnorm != 'averaged':
            yield from self.tasks
            return
        start = [buffer.clone() for buffer in self.statistics]
        change = [torch.zeros_like(buffer) for buffer in start]
        for task in self.tasks:
            torch._foreach_copy_(self.statistics, start)
            yield task
            torch._foreach_add_(change, torch._foreach_sub(start, self.statistics))
        torch._foreach_copy_(self.statistics, start)
        torch._foreach_add_(self.statistics, change, alpha=-beta / len(self.tasks))

    def _alphas(self, decay: float) -> list[float]:
        head = self.meta.alpha if self.meta.alpha_head is None else self.meta.alpha_head
        return [
            decay * (head if name.startswith('head.') else self.meta.alpha)
            for name in self.names
        ]

    def _batches(self, data: dict[str, Any], part: str, task: int) -> Sequence[tuple]:
        images, mos = data[f'{part}_img'][task], data[f'{part}_mos'][task]
        if self.meta.steps_see == 'whole':
            return [(images, mos)] * self.meta.steps
        if len(images) % self.meta.steps:
            raise UserError(
                f'{part}_size={len(images)} can not be cut into train.meta.steps='
                f'{self.meta.steps} equal batches; make it a multiple, or set '
                'steps_see: whole'
            )
        size = len(images) // self.meta.steps
        return list(zip(images.split(size), mos.split(size), strict=True))

    def _gradient(
        self, theta: list[Tensor], batch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Loss (Eq. 2) of a batch and its gradient at theta (Eq. 3)."""
        images = batch[0].to(self.device).float().div_(255)
        mos = batch[1].to(self.device)
        leaves = [parameter.detach().requires_grad_() for parameter in theta]
        with torch.enable_grad():
            with torch.autocast(
                self.device.type, torch.bfloat16, self.meta.precision == 'bf16'
            ):
                replaced = dict(zip(self.names, leaves, strict=True))
                predicted = functional_call(self.net, replaced, (images,)).float()
            loss = torch.zeros((), device=self.device)
            for criterion in (self.cri_mos, self.cri_metric):
                if criterion is not None:
                    loss = loss + criterion(predicted, mos)
            gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
        return loss.detach(), gradients

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = Path(self.opt['path']['experiments_root']) / name
        new = not path.exists()
        with path.open('a', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def _leave_terminal_to_the_bar() -> None:
    for handler in get_root_logger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.WARNING)


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)
