"""Errors that a user can act on."""

from __future__ import annotations

__all__ = ['CheckpointError', 'UserError']


class UserError(ValueError):
    """Something the user gave is wrong: one line that names it and the way out.

    The command line prints the message alone and exits with code 2.
    """


class CheckpointError(UserError):
    """A weight file is missing, damaged, or belongs to another network."""
