"""SIGTERM and SIGINT end a run after the iteration it is in."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

__all__ = ['StopSignals', 'leave_to_parent']

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While it is entered, the first signal is noted and a second one interrupts.

    Outside of the main thread, where Python takes no handlers, nothing is noted.

    Attributes:
        received: the number of the signal, or 0.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        in_main = threading.current_thread() is threading.main_thread()
        for number in STOPPING if in_main else ():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = number


def leave_to_parent() -> None:
    """In a process that reads images: signals to the whole group are not for it.

    Ctrl-C and SLURM signal every process; a reader that died would end the run unsaved.
    SIGTERM of the parent itself, which is how it ends its readers, ends this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, 'sigwaitinfo'):  # macOS: SIGTERM ends it, whoever sent it
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
