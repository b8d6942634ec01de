"""The metrics that a page offers, each opened once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import CheckpointError
from metaiqa_plugin.score import open_metric

if TYPE_CHECKING:
    from torch import nn

    from metaiqa_plugin.ui.sessions import Session

__all__ = ['BUILT_IN', 'CHECKPOINT_SUFFIXES', 'MY_TASTE', 'Metrics', 'can_adapt']

BUILT_IN = ('metaiqa', 'rankiqa', 'hyperiqa-lite0')
MY_TASTE = 'my taste'
CHECKPOINT_SUFFIXES = ('.safetensors', '.pth', '.pt')
MOST_CHECKPOINTS = 5


class Metrics:
    """Metrics by the names they are offered under.

    Args:
        checkpoints: paths of checkpoints to offer to all pages, before ours.

    Raises:
        CheckpointError: one of them is not there, or none of ours.
    """

    def __init__(self, checkpoints: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._opened = {path: open_metric(path) for path in checkpoints}
        self._names = [*self._opened, *BUILT_IN]

    @property
    def default(self) -> str:
        """Name of the metric that a new page scores with."""
        return self._names[0]

    def choices(self, session: Session) -> list[tuple[str, str]]:
        """What the page offers, as (shown, name)."""
        own = [(name, name) for name in session.checkpoints]
        return own + [(_shown(name), name) for name in self._names]

    def get(self, session: Session, name: str) -> nn.Module:
        """The metric of a name that the page offers.

        Raises:
            CheckpointError: the file was damaged, or the page does not offer it.
        """
        with self._lock:
            if name in session.checkpoints:
                if name not in session.opened:
                    path = str(session.checkpoints[name])
                    session.opened[name] = open_metric(path)
                return session.opened[name]
            if name not in self._names:
                raise CheckpointError(f'metric {name!r} is not on this page')
            if name not in self._opened:
                self._opened[name] = open_metric(name)
            return self._opened[name]

    def offer(self, session: Session, name: str, path: Path) -> None:
        """Offer a checkpoint to a page, and open it; one of that name is replaced.

        Raises:
            CheckpointError: it is none of ours, or the page has too many; nothing is
                offered then.
        """
        taken = {*session.checkpoints} - {name, MY_TASTE}
        if len(taken) >= MOST_CHECKPOINTS:
            raise CheckpointError(
                f'{name!r}: a page takes at most {MOST_CHECKPOINTS} checkpoints; '
                'reload it to start anew'
            )
        try:
            metric = open_metric(str(path))
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(path), name)) from error
        with self._lock:
            session.opened[name] = metric
            session.checkpoints[name] = path


def _shown(name: str) -> str:
    return Path(name).name if name not in BUILT_IN else name


def can_adapt(metric: nn.Module) -> bool:
    """Whether the metric's network is one that ``adapt`` trains."""
    return isinstance(metric.net, MetaIQA)
