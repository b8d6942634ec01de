"""Reading and writing weight files.

A checkpoint is a flat ``state_dict``. Its network arguments and preprocessing
travel inside it under the key ``_extra_state``: JSON as a uint8 tensor, so that
every writer of state dicts (pyiqa's trainer, ``torch.save``, safetensors) keeps
them without knowing.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from metaiqa_plugin.errors import CheckpointError
from metaiqa_plugin.files import check_output, replacing

__all__ = [
    'EXTRA_STATE',
    'check_target',
    'decode_config',
    'encode_config',
    'read_state_dict',
    'write_state_dict',
]

EXTRA_STATE = '_extra_state'
WRAPPERS = ('params', 'state_dict', 'params_ema')
PREFIXES = ('module.', 'net_g.')


def encode_config(config: dict[str, Any]) -> Tensor:
    """JSON of ``config`` as a 1-D uint8 tensor."""
    text = json.dumps(config, sort_keys=True)
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def decode_config(encoded: Tensor) -> dict[str, Any]:
    """Inverse of :func:`encode_config`.

    Raises:
        CheckpointError: the tensor is not a JSON object.
    """
    try:
        config = json.loads(bytes(encoded.to(torch.uint8).tolist()))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f'{EXTRA_STATE} of the checkpoint is not readable JSON ({error}); '
            'the file is damaged or was written by another program'
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f'{EXTRA_STATE} holds {type(config).__name__}, not a dict'
        )
    return config


def read_state_dict(path: str | os.PathLike) -> dict[str, Tensor]:
    """Tensors of a weight file on the CPU, without wrapper keys and prefixes.

    ``.safetensors`` files are read as such; anything else is opened by
    ``torch.load(weights_only=True)``, so that no code in the file can run.

    Raises:
        CheckpointError: not there, a URL, not readable, or no dict of tensors.
    """
    name = os.fspath(path)
    if name.startswith(('http://', 'https://')):
        raise CheckpointError(
            f'weight file {name!r} is a URL; download it and give the local path'
        )
    if not Path(name).is_file():
        raise CheckpointError(f'weight file {name!r} does not exist')
    try:
        if name.endswith('.safetensors'):
            content = load_file(name)
        else:
            content = torch.load(name, map_location='cpu', weights_only=True)
    except Exception as error:  # of a damaged file, the readers raise many kinds
        # torch goes on to advise weights_only=False, which would run the file's code
        reason = str(error).strip().split('\n')[0].partition(' (1)')[0][:200]
        raise CheckpointError(
            f'weight file {name!r} cannot be read as tensors ({reason}); '
            'expected .safetensors, or a torch file that holds nothing but weights'
        ) from error
    return _flat(content, name)


def _flat(content: Any, name: str) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f'weight file {name!r} holds no state dict')
    state = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f'weight file {name!r}: entry {key!r} is {type(value).__name__}, '
                'not a tensor'
            )
        short = str(key)
        for prefix in PREFIXES:
            short = short.removeprefix(prefix)
        state[short] = value
    return state


def write_state_dict(
    path: str | os.PathLike,
    state: dict[str, Tensor],
    half: bool = False,
    overwrite: bool = False,
) -> None:
    """Write ``state`` atomically; the suffix chooses safetensors or torch's format.

    Args:
        path: ``.safetensors``, ``.pth`` or ``.pt``.
        state: flat state dict.
        half: store floating tensors as float16 (networks load them as float32).
        overwrite: replace an existing file.

    Raises:
        UserError: see :func:`check_target`.
    """
    path = Path(path)
    check_target(path, overwrite)
    tensors = {key: _storable(value, half) for key, value in state.items()}
    with replacing(path) as temporary:
        if path.suffix == '.safetensors':
            content = save(tensors)  # save_file lets only us read it
        else:
            torch.save({'params': tensors}, buffer := io.BytesIO())
            content = buffer.getbuffer()  # of a full disk torch makes a RuntimeError
        temporary.write_bytes(content)


def check_target(
    path: str | os.PathLike,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike] = (),
) -> None:
    """Prove that ``write_state_dict`` can write a file, before any work is done.

    Raises:
        CheckpointError: unknown suffix.
        UserError: see :func:`~metaiqa_plugin.files.check_output`.
    """
    suffix = Path(path).suffix
    if suffix not in ('.safetensors', '.pth', '.pt'):
        raise CheckpointError(
            f'weight file {os.fspath(path)!r}: suffix {suffix!r} is unknown; '
            'use .safetensors or .pth'
        )
    check_output(path, overwrite, inputs=inputs)


def _storable(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu()
    if half and value.is_floating_point():
        value = value.half()
    return value.contiguous()
