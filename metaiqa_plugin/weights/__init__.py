"""The weights that ship, and the facts about them.

Each ``NAME.safetensors`` has a card ``NAME.md`` beside it, whose YAML head holds the
SHA-256 of the file; loading checks it.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from metaiqa_plugin.errors import CheckpointError
from metaiqa_plugin.files import sha256_of

__all__ = ['FILES', 'card', 'require_sha256', 'shipped_path']

FOLDER = Path(__file__).parent
FILES = {
    'metaiqa': 'metaiqa',
    'metaiqa-prior': 'metaiqa-prior',
    'metaiqa-livec': 'metaiqa-livec',
    'rankiqa': 'rankiqa-livec',
    'hyperiqa-lite0': 'hyperiqa-livec',
}


def card(name: str) -> dict[str, Any]:
    """The YAML head of the card of shipped weights ``name``."""
    text = (FOLDER / f'{FILES[name]}.md').read_text(encoding='utf-8')
    return yaml.safe_load(text.split('---')[1])


@lru_cache
def shipped_path(name: str) -> str:
    """Path of shipped weights, after their SHA-256 was compared with the card's.

    Raises:
        CheckpointError: the file is missing or is not what the card describes.
    """
    path = FOLDER / f'{FILES[name]}.safetensors'
    if not path.is_file():
        raise CheckpointError(
            f'{path} is missing; the installation is incomplete: reinstall '
            'metaiqa_plugin'
        )
    require_sha256(path, card(name)['sha256'], 'metaiqa_plugin')
    return str(path)


def require_sha256(path: str | os.PathLike, expected: str, package: str) -> None:
    """Raises CheckpointError where a weight file of a package is not as expected."""
    found = sha256_of(path)
    if found != expected:
        raise CheckpointError(
            f'{path}: SHA-256 is {found}, expected {expected}; reinstall {package}'
        )
