"""A folder of images in, a table of scores out."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyiqa
import torch
from pyiqa.metrics import calculate_plcc, calculate_srcc
from torch import nn
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from metaiqa_plugin.archs.configured import network_name
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.files import replacing
from metaiqa_plugin.registration import METRIC_OF_NETWORK

__all__ = [
    'Correlation',
    'build_metric',
    'correlate',
    'open_checkpoint',
    'open_metric',
    'score_files',
    'score_network',
    'write_table',
]

SUFFIXES = ('.safetensors', '.pth', '.pt')


@dataclass(frozen=True)
class Correlation:
    """Agreement of predictions with MOS; NaN where one of them is constant.

    Attributes:
        srocc: Spearman's rank-order correlation.
        plcc: Pearson's, without a logistic fit.
        images: how many.
    """

    srocc: float
    plcc: float
    images: int


def score_network(
    network: nn.Module, paths: Sequence[str | os.PathLike], progress: str | None = None
) -> np.ndarray:
    """Scores (len(paths),) float64 of a network, one image at a time.

    Args:
        network: maps (1, 3, H, W) in [0, 1] to (1, 1); put in evaluation mode.
        paths: the images.
        progress: label of a bar on stderr; None: no bar.

    Raises:
        UserError: an image can not be read.
    """
    network.eval()
    device = next(network.parameters()).device
    bar = tqdm(paths, progress, disable=progress is None, unit='image')
    with torch.inference_mode():
        return np.array(
            [
                network(to_tensor(read_rgb(path)).unsqueeze(0).to(device)).item()
                for path in bar
            ]
        )


def build_metric(name: str, **arguments) -> nn.Module:
    """A no-reference metric of pyiqa.

    Raises:
        UserError: pyiqa has none of that name, or its weights can not be had.
    """
    if name not in pyiqa.list_models('NR'):
        raise UserError(
            f'metric {name!r} is not a no-reference metric of pyiqa; metaiqa pyiqa '
            '-ls lists all'
        )
    try:
        return pyiqa.create_metric(name, **arguments)
    except URLError as error:
        raise UserError(
            f'metric {name!r} needs weights from a model hub, which can not be '
            f'reached ({error.reason})'
        ) from error


def open_metric(name: str) -> nn.Module:
    """A no-reference metric by its name in pyiqa, or a checkpoint of ours by its path.

    Raises:
        UserError: pyiqa has none of that name, or its weights can not be had.
        CheckpointError: the file is not there, or no checkpoint of ours.
    """
    return (
        open_checkpoint(name) if Path(name).suffix in SUFFIXES else build_metric(name)
    )


def open_checkpoint(path: str) -> nn.Module:
    """The metric that scores with a checkpoint, whichever network of ours it is of.

    Raises:
        CheckpointError: the file is not there, or no checkpoint of ours.
    """
    network = network_name(path)
    if network not in METRIC_OF_NETWORK:
        raise CheckpointError(
            f'{path!r} is a checkpoint of {network}, which this version does not know'
        )
    return build_metric(METRIC_OF_NETWORK[network], pretrained_model_path=path)


def score_files(
    metric: nn.Module, paths: Sequence[str | os.PathLike]
) -> Iterator[tuple[str, str, str]]:
    """Rows (path, score, error) of a pyiqa NR metric, as they are computed.

    An image that can not be read has an error and no score. Shows a bar on stderr.
    """
    for path in tqdm(paths, 'score', unit='image'):
        try:
            yield str(path), f'{metric(read_rgb(path)).item():.6f}', ''
        except UserError as error:
            yield str(path), '', str(error)


def correlate(predicted: Sequence[float], mos: Sequence[float]) -> Correlation:
    """SROCC and PLCC, computed by pyiqa's metrics.

    Raises:
        UserError: different lengths, or fewer than two images.
    """
    predicted, mos = np.asarray(predicted, float), np.asarray(mos, float)
    if len(predicted) != len(mos) or len(mos) < 2:
        raise UserError(
            f'{len(predicted)} predictions for {len(mos)} MOS; expected as many of '
            'both and at least two'
        )
    return Correlation(
        float(calculate_srcc(predicted, mos)),
        float(calculate_plcc(predicted, mos)),
        len(mos),
    )


def write_table(path: str | os.PathLike, header: Sequence[str], rows: Iterable) -> None:
    """A csv, written at once."""
    with (
        replacing(Path(path)) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)
