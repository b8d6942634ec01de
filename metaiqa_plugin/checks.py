"""Checks of arguments: each raises a UserError that names the argument and value."""

from __future__ import annotations

import math
from typing import Any

from metaiqa_plugin.errors import UserError

__all__ = ['file_name', 'one_of', 'real_number', 'whole_number']

NOT_IN_NAMES = '/\\<>:"|?*'
LONGEST_NAME = 200
"""In bytes; file systems take 255, and names get endings."""

DEVICES = {'CON', 'PRN', 'AUX', 'NUL'}
DEVICES |= {f'{port}{number}' for port in ('COM', 'LPT') for number in '123456789¹²³'}


def file_name(name: str, value: Any) -> None:
    """``value`` is text that can name one folder or file, on any system."""
    fault = _name_fault(value)
    if fault:
        shown = repr(value)
        shown = shown if len(shown) <= 100 else f'{shown[:97]}...'
        raise UserError(
            f'{name}={shown}: expected a name that a folder can have; this {fault}'
        )


def _name_fault(value: Any) -> str:
    if not isinstance(value, str):
        return f'is {type(value).__name__}, not text; put it in quotes'
    if not value.strip():
        return 'is empty'
    if value in ('.', '..'):
        return 'is a folder that exists everywhere'
    found = [sign for sign in NOT_IN_NAMES if sign in value]
    if found:
        return f'has {" ".join(found)}'
    if not value.isprintable():
        return 'has a control character'
    if value[0] == ' ' or value[-1] in ' .':
        return 'begins with a space, or ends with one or with a full stop'
    if value.partition('.')[0].rstrip().upper() in DEVICES:
        return 'is the name of a device in Windows'
    if len(value.encode()) > LONGEST_NAME:
        return f'is longer than {LONGEST_NAME} bytes'
    return ''


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
