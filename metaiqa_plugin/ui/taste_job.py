"""Learning a taste in the background of a page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.ui.taste import Taste, TastePlan, learn_taste

__all__ = ['TasteJob']

_LEARNING = threading.Lock()
"""One at a time: adaptations seed torch's generator, which all threads share."""
PATIENCE = 0.2


class _Cancelled(Exception):
    pass


class TasteJob:
    """An adaptation in a thread of its own.

    Args:
        network: the prior; not changed.
        plan: what to learn.
        name_of: the user's name of a path, for messages.

    Attributes:
        state: ``'waiting'`` for that of another page, ``'running'``, ``'done'``,
            ``'cancelled'`` or ``'failed'``.
        step, total: steps done and planned; 0 before the first.
        taste: the result, once it is done.
        error: why it failed.
    """

    def __init__(
        self, network: MetaIQA, plan: TastePlan, name_of: Callable[[str], str]
    ) -> None:
        self.state = 'waiting'
        self.step = self.total = 0
        self.taste: Taste | None = None
        self.error = ''
        self._plan, self._network, self._name_of = plan, network, name_of
        self._cancelled = threading.Event()
        self._started = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the step that runs."""
        self._cancelled.set()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state in ('waiting', 'running')

    def wait(self, seconds: float) -> None:
        """Return when it has ended, or after so long."""
        self._thread.join(seconds)

    def seconds_left(self) -> float | None:
        """By the mean of the steps done; None before the first."""
        if not self.step:
            return None
        each = (time.monotonic() - self._started) / self.step
        return each * (self.total - self.step)

    def _work(self) -> None:
        try:
            while not _LEARNING.acquire(timeout=PATIENCE):
                self._stop_if_cancelled()
            try:
                self._stop_if_cancelled()
                self.state, self._started = 'running', time.monotonic()
                self.taste = learn_taste(self._network, self._plan, self._note)
            finally:
                _LEARNING.release()
            self.state = 'done'
        except _Cancelled:
            self.state = 'cancelled'
        except UserError as error:
            self._fail(str(error))
        except Exception as error:  # the page must not wait for a thread that died
            self._fail(f'{type(error).__name__}: {error}')

    def _fail(self, error: str) -> None:
        if self._cancelled.is_set():  # the page was closed and took its photos along
            self.state = 'cancelled'
            return
        for path in self._plan.paths:
            error = error.replace(repr(str(path)), repr(self._name_of(path)))
        self.error = error
        self.state = 'failed'

    def _note(self, step: int, total: int) -> None:
        self._stop_if_cancelled()
        self.step, self.total = step, total

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled
