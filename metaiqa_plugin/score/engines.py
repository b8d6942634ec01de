"""What computes a network's scores of views that are ready.

An engine takes views (n, 3, h, w) float32 in [0, 1] and gives back a function that
waits for their n scores, so that several batches may be under way.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import warnings
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.base import ConfiguredNetwork
from metaiqa_plugin.errors import UserError, needing, one_line

__all__ = [
    'Engine',
    'EngineName',
    'OpenVINOEngine',
    'Precision',
    'TorchEngine',
    'Views',
    'fastest',
    'open_engine',
]

EngineName = Literal['auto', 'torch', 'openvino']
Precision = Literal['fp32', 'bf16']
AGREEING = {'fp32': 1e-4, 'bf16': 0.1}
Collect = Callable[[], np.ndarray]


class Engine(Protocol):
    """What scores views.

    Attributes:
        batch_size: images that are scored at a time where nobody asked otherwise.
    """

    batch_size: int

    def submit(self, views: Tensor) -> Collect:
        """Start on views; what is returned waits for their scores, (n,) float64."""


def open_engine(
    network: ConfiguredNetwork,
    name: EngineName = 'auto',
    precision: Precision = 'fp32',
    threads: int | None = None,
) -> Engine:
    """The engine of a network.

    Args:
        network: in evaluation mode, on the device it is to run on.
        name: ``'auto'``: OpenVINO on a CPU where it is installed, else torch.
        precision: ``'bf16'``: of the backbone; the CPU may know better how.
        threads: of OpenVINO; None: one per core.

    Raises:
        UserError: the engine is not installed, or not for this device.
    """
    device = next(network.parameters()).device
    if name == 'auto':
        return fastest(network, precision, threads)
    if name == 'torch':
        return TorchEngine(network, precision)
    if device.type != 'cpu':
        raise UserError(
            f"engine='openvino' computes on the CPU, the network is on {device}; give "
            "engine='torch'"
        )
    return OpenVINOEngine(network, precision, threads)


def fastest(
    network: ConfiguredNetwork, precision: str, threads: int | None = None
) -> Engine:
    """OpenVINO where it is installed and computes this network, else torch."""
    device = next(network.parameters()).device
    if device.type == 'cpu' and importlib.util.find_spec('openvino') is not None:
        with contextlib.suppress(UserError):
            return OpenVINOEngine(network, precision, threads)
    return TorchEngine(network, precision)


class TorchEngine:
    """torch, on the device of the network; on a GPU batches overlap with reading."""

    def __init__(
        self, network: ConfiguredNetwork, precision: str, threads: int | None = None
    ) -> None:
        self._network = network
        self._device = next(network.parameters()).device
        self._bf16 = precision == 'bf16'
        self.batch_size = 8 if self._device.type == 'cpu' else 32

    def submit(self, views: Tensor) -> Collect:
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, self._bf16),
        ):
            scores = self._network.view_scores(views.to(self._device))
        return lambda: scores[:, 0].cpu().double().numpy()


class OpenVINOEngine:
    """OpenVINO on the CPU: one image per request, as many requests as it wants at once.

    Larger batches are slower there: a request's layers stay in a core's cache.
    """

    batch_size = 1

    def __init__(
        self, network: ConfiguredNetwork, precision: str, threads: int | None = None
    ) -> None:
        with needing('fast'):
            import openvino
        fixed = network.fixed_input_size
        one, two = ((1, fixed or 64), (2, fixed or 72))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # OpenVINO traces, torch would not
            model = openvino.convert_model(Views(network), example_input=_noise(*one))
        settings = {
            'PERFORMANCE_HINT': 'THROUGHPUT',
            'INFERENCE_PRECISION_HINT': {'fp32': 'f32', 'bf16': 'bf16'}[precision],
        }
        if threads is not None:
            settings['INFERENCE_NUM_THREADS'] = threads
        self._compiled = openvino.Core().compile_model(model, 'CPU', settings)
        self._idle: list = []
        self._check(network, _noise(*two), precision)

    def _check(self, network: ConfiguredNetwork, views: Tensor, precision: str) -> None:
        """Raises UserError unless views of another shape score as they do in torch."""
        with torch.inference_mode():
            expected = network.view_scores(views)[:, 0].numpy()
        try:
            apart = np.abs(self.submit(views)() - expected).max()
            reason = f"its scores are {apart:.2g} apart from torch's"
        except RuntimeError as error:
            apart, reason = math.inf, one_line(error)
        if not apart <= AGREEING[precision]:
            raise UserError(
                f"engine='openvino' does not compute this network ({reason}); give "
                "engine='torch'"
            )

    def submit(self, views: Tensor) -> Collect:
        idle = self._idle
        request = idle.pop() if idle else self._compiled.create_infer_request()
        request.start_async({0: views.numpy()})

        def collect() -> np.ndarray:
            request.wait()
            scores = request.get_output_tensor().data[:, 0].astype(np.float64)
            idle.append(request)
            return scores

        return collect


class Views(nn.Module):
    """A network as a function of views."""

    def __init__(self, network: ConfiguredNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: Tensor) -> Tensor:
        return self.network.view_scores(views)


def _noise(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, side, side, generator=generator)
