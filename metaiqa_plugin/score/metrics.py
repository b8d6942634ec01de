"""Metrics by name and by checkpoint."""

from __future__ import annotations

import os
from urllib.error import URLError

import pyiqa
from torch import nn

from metaiqa_plugin.archs.base import network_name
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.registration import METRIC_OF_NETWORK

__all__ = ['open_metric']

CHECKPOINTS = ('.safetensors', '.pth', '.pt')


def open_metric(name: str, **arguments) -> nn.Module:
    """A no-reference metric by its name in pyiqa, or by the path of a checkpoint.

    Args:
        name: a checkpoint may be of any network of ours.
        arguments: of ``pyiqa.create_metric``.

    Raises:
        UserError: pyiqa has none of that name, or its weights cannot be downloaded.
        CheckpointError: the file is not there, or no checkpoint of ours.
    """
    if name not in pyiqa.list_models('NR'):
        if not (name.endswith(CHECKPOINTS) or os.path.isfile(name)):
            raise UserError(
                f'metric {name!r} is not a no-reference metric of pyiqa; metaiqa pyiqa '
                '-ls lists all'
            )
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
    except URLError as error:
        raise UserError(
            f'metric {name!r} needs weights from a model hub, which cannot be '
            f'reached ({error.reason})'
        ) from error
