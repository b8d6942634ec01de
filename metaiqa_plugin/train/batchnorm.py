"""What becomes of BatchNorm's statistics in training."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaiqa_plugin.errors import one_of

__all__ = ['check_batchnorm', 'training_mode']


def training_mode(network: nn.Module, batchnorm: str) -> None:
    """Set training mode; ``'frozen'``: BatchNorm goes on with what it has.

    ``'running'``: it normalises by the batch, and averages over batches.
    """
    network.train()
    if batchnorm == 'frozen':
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def check_batchnorm(name: str, value: str) -> None:
    """Raises UserError for anything that :func:`training_mode` does not know."""
    one_of(name, value, ('frozen', 'running'))
