"""Metrics by name or checkpoint, and how each scores images together with others.

A scorer has two halves: ``prepare`` runs in the threads that read images, ``submit``
in one thread, which does not wait for what it started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
import pyiqa
import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.base import ConfiguredNetwork, network_name
from metaiqa_plugin.errors import (
    CheckpointError,
    Unavailable,
    UserError,
    one_line,
    one_of,
)
from metaiqa_plugin.registration import METRIC_OF_NETWORK
from metaiqa_plugin.score.engines import Engine, EngineName, Precision, open_engine

__all__ = [
    'MetricScorer',
    'MissingScorer',
    'NetworkScorer',
    'Scorer',
    'min_side',
    'open_metric',
    'open_scorers',
    'require_metric',
    'scorer_names',
    'usable_device',
]

CHECKPOINTS = ('.safetensors', '.pth', '.pt')
MAX_VIEWS = 64
"""Views that are scored together at most; a single image may have more."""


class Scorer(Protocol):
    """What scores prepared images.

    Attributes:
        name: of the metric.
        lower_better: its direction.
        batch_size: images of like shape that are scored together.
    """

    name: str
    lower_better: bool
    batch_size: int

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """What :meth:`submit` takes, of (H, W, 3) bytes or real numbers in [0, 1]."""

    def submit(self, prepared: Sequence[Tensor]) -> Callable[[], Sequence[float]]:
        """Start to score images of like shape; what is returned waits for scores."""


class NetworkScorer:
    """A network of ours.

    Args:
        name: of the metric.
        network: in evaluation mode.
        engine: that computes it.
        batch_size: images at a time; None: the engine's.
    """

    lower_better = False

    def __init__(
        self,
        name: str,
        network: ConfiguredNetwork,
        engine: Engine,
        batch_size: int | None = None,
    ) -> None:
        self.name = name
        self.batch_size = batch_size or engine.batch_size
        self.network, self._engine = network, engine

    @torch.inference_mode()
    def prepare(self, pixels: np.ndarray) -> Tensor:
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
        return self.network.views(_in_unit_range(image))

    def submit(self, prepared: Sequence[Tensor]) -> Callable[[], Sequence[float]]:
        views = len(prepared[0])
        together = max(1, MAX_VIEWS // views)
        waiting = [
            self._engine.submit(_joined(prepared[start : start + together]))
            for start in range(0, len(prepared), together)
        ]

        def collect() -> list[float]:
            scores = np.concatenate([wait() for wait in waiting])
            return scores.reshape(-1, views).mean(axis=1).tolist()

        return collect


class MissingScorer:
    """Stands for a metric that cannot be had here; every image has that as its error.

    Args:
        name: of the metric.
        reason: why not.
    """

    lower_better = False
    batch_size = 1

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def prepare(self, pixels: np.ndarray) -> Tensor:
        raise Unavailable(self.reason)


class MetricScorer:
    """A metric of pyiqa that is not ours: one image at a time, as pyiqa does it.

    Some of them score an image differently beside others, and all may refuse one.

    Args:
        name: of the metric.
        metric: gives the score of an image (1, 3, H, W) in [0, 1].
        lower_better: its direction.
    """

    batch_size = 1

    def __init__(
        self, name: str, metric: Callable[[Tensor], Tensor], lower_better: bool
    ) -> None:
        self.name, self.lower_better = name, lower_better
        self._metric = metric

    def prepare(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels)

    def submit(self, prepared: Sequence[Tensor]) -> Callable[[], Sequence[float]]:
        (pixels,) = prepared
        image = _in_unit_range(pixels.permute(2, 0, 1).unsqueeze(0))
        score = self._metric(image)
        return lambda: [score.item()]


def open_metric(name: str, **arguments) -> nn.Module:
    """A no-reference metric by its name in pyiqa, or by the path of a checkpoint.

    Args:
        name: a checkpoint may be of any network of ours.
        arguments: of ``pyiqa.create_metric``.

    Raises:
        Unavailable: its weights cannot be downloaded, or it needs a package.
        UserError: pyiqa has none of that name.
        CheckpointError: the file is not there, or not a checkpoint of ours.
    """
    require_metric(name)
    if name not in pyiqa.list_models('NR'):
        network = network_name(name)
        if network not in METRIC_OF_NETWORK:
            raise CheckpointError(
                f'{name!r} is a checkpoint of {network}, which this version does not '
                'know'
            )
        arguments = {'pretrained_model_path': name, **arguments}
        name = METRIC_OF_NETWORK[network]
    try:
        return pyiqa.create_metric(name, **arguments)
    except UserError:
        raise
    except Exception as error:  # hubs and packages that are not there raise many kinds
        raise Unavailable(
            f'metric {name!r} cannot be opened: {one_line(error)[:200]}; its weights '
            'may be on a model hub that cannot be reached, or a package is missing'
        ) from error


def require_metric(name: str) -> None:
    """Raises UserError where neither pyiqa nor the disk has it; opens nothing."""
    if name in pyiqa.list_models('NR') or os.path.isfile(name):
        return
    if name.endswith(CHECKPOINTS):
        raise CheckpointError(f'weight file {name!r} does not exist')
    raise UserError(
        f'metric {name!r} is not a no-reference metric of pyiqa; metaiqa pyiqa -ls '
        'lists all'
    )


def open_scorers(
    metrics: Sequence[str],
    names: Sequence[str] | None = None,
    engine: EngineName = 'auto',
    precision: Precision = 'fp32',
    batch_size: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    keep_going: bool = False,
) -> list[Scorer]:
    """Scorers of metrics of pyiqa and checkpoints of ours.

    Args:
        metrics: names, or paths of checkpoints.
        names: of the scores' columns; None: the metrics' short names.
        engine, precision, threads: see ``open_engine``; only for networks of ours.
        batch_size: images at a time, only for networks of ours; None: what suits the
            engine.
        device: of torch; None: a GPU if there is one.
        keep_going: a metric that cannot be had is a :class:`MissingScorer`, unless all
            are.

    Raises:
        UserError: no such metric, engine or precision; or its weights cannot be
            downloaded.
        CheckpointError: a file is not there, or not a checkpoint of ours.
    """
    one_of('engine', engine, get_args(EngineName))
    one_of('precision', precision, get_args(Precision))
    placed = {} if device is None else {'device': usable_device(device)}
    for metric in metrics:
        require_metric(metric)
    scorers: list[Scorer] = []
    for metric, name in zip(metrics, names or scorer_names(metrics), strict=True):
        try:
            opened = open_metric(metric, **placed)
        except Unavailable as error:
            if not keep_going:
                raise
            scorers.append(MissingScorer(name, str(error)))
            continue
        if isinstance(opened.net, ConfiguredNetwork):
            computing = open_engine(opened.net, engine, precision, threads)
            scorers.append(NetworkScorer(name, opened.net, computing, batch_size))
        else:
            scorers.append(MetricScorer(name, opened, opened.lower_better))
    if all(isinstance(scorer, MissingScorer) for scorer in scorers):
        raise Unavailable(scorers[0].reason)
    return scorers


def usable_device(device: str) -> str:
    """``device``; raises UserError where torch does not have it on this machine."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = one_line(error).partition('.')[0]
        raise UserError(
            f'device={device!r} cannot be used here ({reason}); give cpu, or leave '
            'it out'
        ) from error
    return device


def min_side(scorers: Sequence[Scorer]) -> int:
    """Shorter side in pixels that suffices for all, for they shrink larger images.

    Raises:
        UserError: one takes images at their own size.
    """
    sides = []
    for scorer in scorers:
        network = scorer.network if isinstance(scorer, NetworkScorer) else None
        if network is None or network.shorter_side is None:
            raise UserError(
                f'--shrink-jpeg: metric {scorer.name!r} takes images at their own size'
            )
        sides.append(network.shorter_side)
    return max(sides)


def scorer_names(metrics: Sequence[str]) -> list[str]:
    """Short names of metrics: of checkpoints that of the file, if that is enough."""
    short = [os.path.basename(metric) for metric in metrics]
    return short if len(set(short)) == len(short) else [str(Path(m)) for m in metrics]


def _in_unit_range(image: Tensor) -> Tensor:
    """Bytes (1, 3, H, W) as floats in [0, 1], the same as torchvision's."""
    floats = image.to(torch.float32, memory_format=torch.contiguous_format)
    return floats if image.is_floating_point() else floats.div_(255)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
