"""How this process deals with memory."""

from __future__ import annotations

import ctypes
import sys

__all__ = ['keep_freed_memory']

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Reuse memory that was freed, and do not give it back to the system.

    The C library of Linux maps large blocks anew each time, and the system clears
    every page of them; networks free and take the same large blocks all the time. The
    process keeps the most that it needed at a time. Elsewhere this does nothing.

    Returns:
        whether it did anything.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    done = set_option(M_MMAP_THRESHOLD, LARGEST)
    return bool(done and set_option(M_TRIM_THRESHOLD, 2**31 - 1))
