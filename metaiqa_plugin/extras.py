"""Optional packages: what to say where one is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from metaiqa_plugin.errors import UserError

__all__ = ['needing']


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """UserError that says how to get ``extra`` where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed: pip install "metaiqa_plugin[{extra}]"'
        ) from error
