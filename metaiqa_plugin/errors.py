"""Errors that a user can act on, checks that raise them, and how a command ends."""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

__all__ = [
    'BAD_INPUT',
    'LONGEST_NAME',
    'SOME_FAILED',
    'CheckpointError',
    'Stopped',
    'Unavailable',
    'UserError',
    'file_name',
    'needing',
    'one_line',
    'one_of',
    'real_number',
    'run',
    'whole_number',
]

SOME_FAILED = 1
BAD_INPUT = 2
NOT_IN_NAMES = '/\\<>:"|?*'
LONGEST_NAME = 200
"""In bytes; file systems take 255, and names get endings."""

DEVICES = {'CON', 'PRN', 'AUX', 'NUL'}
DEVICES |= {f'{port}{number}' for port in ('COM', 'LPT') for number in '123456789¹²³'}


class UserError(ValueError):
    """Something the user gave is wrong: one line that names it and the way out.

    The command line prints the message alone and exits with code 2.
    """


class CheckpointError(UserError):
    """A weight file is missing, damaged, or belongs to another network."""


class Unavailable(UserError):
    """Something that exists cannot be had here: no network, or a package is missing."""


class Stopped(Exception):
    """A signal ended a run that had saved what it needs to continue.

    Args:
        message: where it stopped, and how to continue.
        signal_number: SIGTERM or SIGINT; the exit code is 128 more.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.code = 128 + signal_number


def run(command: Callable[..., int], *arguments) -> int:
    """Exit code of ``command``; what the user can fix is one line on stderr."""
    if sys.stderr is None or sys.stderr.closed:
        sys.stderr = open(os.devnull, 'w')
    try:
        return _printed(command, *arguments)
    except UserError as error:
        return _ended(one_line(error), BAD_INPUT)
    except Stopped as stopped:
        return _ended(str(stopped), stopped.code)
    except BrokenPipeError:
        _give_up(sys.stdout)
        return SOME_FAILED
    except OSError as error:
        _give_up(sys.stdout)
        where = f'{error.filename!r}: ' if error.filename else 'cannot read or write: '
        reason = error.strerror or one_line(error)
        return _ended(where + reason, BAD_INPUT)
    except KeyboardInterrupt:
        return _ended('interrupted', 130)


def _printed(command: Callable[..., int], *arguments) -> int:
    """Runs it; raises where what it prints cannot be written, not at Python's end."""
    if sys.stdout is None or sys.stdout.closed:
        raise UserError('standard output is closed; redirect it, say to /dev/null')
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == 'strict':
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        return command(*arguments)
    finally:
        sys.stdout.flush()


def _ended(message: str, code: int) -> int:
    try:
        print(f'metaiqa: {message}', file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)
    return code


def _give_up(stream: TextIO) -> None:
    """What a full stream still holds goes nowhere; else Python's end tries it again."""
    try:
        stream.flush()
    except OSError:
        with open(os.devnull, 'w') as nowhere, contextlib.suppress(OSError):
            os.dup2(nowhere.fileno(), stream.fileno())


def one_line(error: Exception) -> str:
    """Its message, or its type where it has none.

    That of a DataLoader's worker is the last line of its traceback.
    """
    text = str(error).strip()
    if 'Original Traceback' in text:
        text = text.splitlines()[-1].partition(': ')[2]
    return ' '.join(text.split()) or type(error).__name__


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


def whole_number(
    name: str, value: Any, minimum: int = 1, maximum: float = math.inf
) -> None:
    """``value`` is an int with ``minimum <= value <= maximum``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise UserError(
            f'{name}={value!r}: expected a whole number of at least {minimum}'
        )
    if value > maximum:
        raise UserError(f'{name}={value!r}: expected a whole number up to {maximum}')


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
        bounds = '' if above == -math.inf else f' of at least {above:g}'
        bounds += '' if below == math.inf else f', below {below:g}'
        raise UserError(f'{name}={value!r}: expected a finite number{bounds}')


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """UserError that says how to get ``extra`` where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed: pip install "metaiqa_plugin[{extra}]"'
        ) from error
