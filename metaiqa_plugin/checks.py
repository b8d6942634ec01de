"""Checks of arguments: each raises a UserError that names the argument and value."""

from __future__ import annotations

import math
from typing import Any

from metaiqa_plugin.errors import UserError

__all__ = ['one_of', 'real_number', 'whole_number']


def one_of(name: str, value: Any, allowed: tuple) -> None:
    """``value`` is one of ``allowed`` (True and 1 are told apart)."""
    if not any(type(value) is type(item) and value == item for item in allowed):
        raise UserError(f'{name}={value!r}: expected one of {list(allowed)}')


def whole_number(name: str, value: Any, least: int = 1) -> None:
    """``value`` is an int of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(
            f'{name}={value!r}: expected a whole number of at least {least}'
        )


def real_number(
    name: str, value: Any, above: float = -math.inf, below: float = math.inf
) -> None:
    """``value`` is a finite number with ``above <= value < below``.

    YAML 1.1 reads ``1e-4`` as a string; the message says how to write it.
    """
    if isinstance(value, str):
        raise UserError(
            f'{name}={value!r} is text, not a number; in YAML write it as '
            f'"!!float {value}"'
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f'{name}={value!r}: expected a number')
    if not math.isfinite(value) or not above <= value < below:
        raise UserError(f'{name}={value!r}: expected {above} <= {name} < {below}')
