"""What training sees of a network: parameters, statistics, a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaiqa_plugin.data.crops import as_input
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.ridge import Labelled
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.update import Rates

__all__ = ['Batch', 'Network', 'training_mode']

Batch = tuple[Tensor, Tensor]


def training_mode(network: nn.Module, batchnorm: str) -> None:
    """Set training mode; ``'frozen'``: BatchNorm keeps normalising by what it has."""
    network.train()
    if batchnorm == 'frozen':
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


class Network:
    """A module that maps (N, 3, H, W) in [0, 1] to (N, 1), ready to be meta-trained.

    Args:
        module: any network of pyiqa's.
        criteria: losses of (predicted, mos), both (N, 1); they are added.
        settings: of the run.
        device: where the module is.

    Attributes:
        parameters: the leaf tensors theta.
        statistics: BatchNorm's running means and variances.
        counters: how many batches BatchNorm has seen.
        precision: ``'fp32'`` or ``'bf16'``.

    Raises:
        UserError: the settings need to know the head, and no parameter is of it.
    """

    def __init__(
        self,
        module: nn.Module,
        criteria: Sequence[Callable[[Tensor, Tensor], Tensor]],
        settings: MetaSettings,
        device: torch.device,
    ) -> None:
        self.module = module
        self.criteria = criteria
        self.settings = settings
        self.device = device
        self.precision = 'fp32'
        named = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.parameters = list(named.values())
        self.is_head = [name.startswith(settings.head) for name in named]
        norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
        buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.statistics = [b for b in buffers if b.is_floating_point()]
        self.counters = [b for b in buffers if not b.is_floating_point()]
        self._require_head(named)
        self._layout = (
            torch.channels_last if settings.channels_last else torch.contiguous_format
        )
        module.to(memory_format=self._layout)

    def train(self) -> None:
        """Training mode; BatchNorm as the settings say."""
        training_mode(self.module, self.settings.batchnorm)

    def loss(self, batch: Batch, module: nn.Module | None = None) -> Tensor:
        """Eq. 2 of a batch at the present parameters.

        Args:
            batch: images (N, 3, H, W) uint8, or maps of frozen stages (N, C, h, w)
                float16; MOS (N, 1) float32 in [0, 1].
            module: another network to run; None: this one.
        """
        images, mos = self._placed(batch)
        with self._precision():
            predicted = (module or self.module)(images).to(mos.dtype)
        if predicted.shape != mos.shape:
            raise UserError(
                f'the network gives {tuple(predicted.shape)} for {len(mos)} images, '
                f'expected {tuple(mos.shape)}: one score per image'
            )
        return self.criterion(predicted, mos)

    def criterion(self, predicted: Tensor, mos: Tensor) -> Tensor:
        """Eq. 2 of scores and MOS, both (N, 1)."""
        return sum(criterion(predicted, mos) for criterion in self.criteria)

    def labelled(self, batch: Batch) -> Labelled:
        """What the head of a ``MetaIQA`` makes of a batch, as :meth:`loss` takes it."""
        images, mos = self._placed(batch)
        with self._precision():
            hidden = self.module.hidden(images)
        hidden = hidden.to(mos.dtype)
        return Labelled(hidden, self.module.head.last(hidden), mos)

    def rates(self, decay: float, head_only: bool = False) -> Rates:
        """alpha of each parameter; None where it is to stay."""
        alpha, head = self.settings.alpha, self.settings.alpha_head
        head = alpha if head is None else head
        body = None if head_only else decay * alpha
        return [decay * head if is_head else body for is_head in self.is_head]

    def _placed(self, batch: Batch) -> Batch:
        images = as_input(batch[0].to(self.device, non_blocking=True))
        mos = batch[1].to(self.device, non_blocking=True)
        return images.contiguous(memory_format=self._layout), mos

    def _precision(self) -> torch.autocast:
        enabled = self.precision == 'bf16'
        return torch.autocast(self.device.type, torch.bfloat16, enabled)

    def _require_head(self, names: Sequence[str]) -> None:
        needed = self.settings.alpha_head is not None or self.settings.inner == 'head'
        if not needed or any(self.is_head):
            return
        parts = sorted({f'{name.split(".")[0]}.' for name in names})
        raise UserError(
            f'train.meta.head={list(self.settings.head)}: no parameter of '
            f'{type(self.module).__name__} has a name that begins so; its parts are '
            f'{parts}. Name the head, or leave out alpha_head and inner'
        )
