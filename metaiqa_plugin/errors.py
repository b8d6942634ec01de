"""Errors that a user can act on, and how a command ends with one."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ['BAD_INPUT', 'SOME_FAILED', 'CheckpointError', 'Stopped', 'UserError', 'run']

SOME_FAILED = 1
BAD_INPUT = 2


class UserError(ValueError):
    """Something the user gave is wrong: one line that names it and the way out.

    The command line prints the message alone and exits with code 2.
    """


class CheckpointError(UserError):
    """A weight file is missing, damaged, or belongs to another network."""


class Stopped(Exception):
    """A signal ended a run that had saved what it needs to go on.

    Args:
        message: where it stopped, and how to go on.
        signal_number: SIGTERM or SIGINT; the exit code is 128 more.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.code = 128 + signal_number


def run(command: Callable[..., int], *arguments) -> int:
    """Exit code of ``command``; what the user can mend is one line on stderr."""
    try:
        return command(*arguments)
    except UserError as error:
        print(f'metaiqa: {_one_line(error)}', file=sys.stderr)
        return BAD_INPUT
    except Stopped as stopped:
        print(f'metaiqa: {stopped}', file=sys.stderr)
        return stopped.code
    except BrokenPipeError:
        return SOME_FAILED
    except KeyboardInterrupt:
        print('metaiqa: interrupted', file=sys.stderr)
        return 130


def _one_line(error: UserError) -> str:
    """The message; that of a DataLoader's worker is the last line of its traceback."""
    text = str(error).strip()
    if 'Original Traceback' in text:
        text = text.splitlines()[-1].partition(': ')[2]
    return ' '.join(text.split())
