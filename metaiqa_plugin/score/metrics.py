"""Metrics by name and by checkpoint."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pyiqa
from torch import nn

from metaiqa_plugin.archs.base import network_name
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.registration import METRIC_OF_NETWORK

__all__ = ['build_metric', 'open_checkpoint', 'open_metric']

SUFFIXES = ('.safetensors', '.pth', '.pt')


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


def open_metric(name: str, **arguments) -> nn.Module:
    """A no-reference metric by its name in pyiqa, or a checkpoint of ours by its path.

    Raises:
        UserError: pyiqa has none of that name, or its weights can not be had.
        CheckpointError: the file is not there, or no checkpoint of ours.
    """
    if Path(name).suffix in SUFFIXES:
        return open_checkpoint(name, **arguments)
    return build_metric(name, **arguments)


def open_checkpoint(path: str, **arguments) -> nn.Module:
    """The metric that scores with a checkpoint, whichever network of ours it is of.

    Raises:
        CheckpointError: the file is not there, or no checkpoint of ours.
    """
    network = network_name(path)
    if network not in METRIC_OF_NETWORK:
        raise CheckpointError(
            f'{path!r} is a checkpoint of {network}, which this version does not know'
        )
    name = METRIC_OF_NETWORK[network]
    return build_metric(name, pretrained_model_path=path, **arguments)
