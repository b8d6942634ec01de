"""State files of a run: written whole, the newest few kept, damaged ones passed over.

A state is a dict of tensors, numbers, strings, lists and dicts, in torch's zip format,
which carries a checksum of each entry. It is data: reading one runs no code.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['KEEP_STATES', 'newest_state', 'read_state', 'state_files', 'write_state']

SUFFIX = '.state'
KEEP_STATES = 2
"""How many are kept where ``logger.keep_states`` does not say."""


def write_state(
    folder: str | os.PathLike, state: dict[str, Any], iteration: int, keep: int
) -> Path:
    """Write ``ITERATION.state``, then delete all but the newest ``keep``.

    Raises:
        OSError: it can not be written; the states that were there are untouched.
    """
    content = io.BytesIO()
    torch.save(state, content)
    path = Path(folder) / f'{iteration}{SUFFIX}'
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(content.getbuffer())
    for old in state_files(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def state_files(folder: str | os.PathLike) -> list[Path]:
    """The state files of a folder, the newest first."""
    found = [path for path in Path(folder).glob(f'*{SUFFIX}') if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def newest_state(
    folder: str | os.PathLike, warn: Callable[[str], None]
) -> tuple[Path, dict[str, Any]] | None:
    """The newest state that can be read.

    Args:
        folder: of the states.
        warn: is told of each damaged one.

    Raises:
        UserError: there are states, and none can be read.
    """
    paths = state_files(folder)
    for path in paths:
        try:
            return path, read_state(path)
        except UserError as error:
            warn(f'{error}; taking the one before')
    if paths:
        raise UserError(
            f'none of the {len(paths)} states in {str(folder)!r} can be read; start '
            'anew without --resume'
        )
    return None


def read_state(path: str | os.PathLike) -> dict[str, Any]:
    """A state file.

    Raises:
        UserError: it is not there, damaged, or no state of ours.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(name) as archive:
            broken = archive.testzip()
        if broken:
            raise UserError(f'state {name!r} is damaged ({broken} fails its checksum)')
        state = torch.load(name, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f'state {name!r} does not exist') from error
    except UserError:
        raise
    except Exception as error:  # zipfile, pickle and torch each have their own
        reason = str(error).strip().split('\n')[0][:200]
        raise UserError(f'state {name!r} is damaged ({reason})') from error
    if not isinstance(state, dict) or 'network' not in state:
        raise UserError(
            f'state {name!r} holds no weights; pyiqa 0.1.16 writes such states, and '
            'nothing can go on from them'
        )
    return state
