"""How long the cells to come will take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean

from metaiqa_plugin.benchmark.plan import Cell

__all__ = ['TimeLeft']


class TimeLeft:
    """From how long cells of the same kind and method took.

    Args:
        cells: all that are to come.
        at_a_time: how many run beside each other; None: found from what ends.
    """

    def __init__(self, cells: Sequence[Cell], at_a_time: int | None) -> None:
        self._waiting = Counter(_group(cell) for cell in cells)
        self._at_a_time = at_a_time
        self._took: dict[tuple, list[float]] = defaultdict(list)

    def ended(self, cell: Cell, seconds: float | None) -> None:
        """Note a cell that took so long; None: it failed, which tells nothing."""
        self._waiting[_group(cell)] -= 1
        if seconds is not None:
            self._took[_group(cell)].append(seconds)

    def seconds(self, elapsed: float) -> float | None:
        """Of all that wait or run, ``elapsed`` seconds after the start.

        A kind of which none has ended is taken to last as long as the mean of all
        others. None while nothing is known.
        """
        took = [seconds for group in self._took.values() for seconds in group]
        if not took:
            return None
        work = sum(
            count * fmean(self._took.get(group, took))
            for group, count in self._waiting.items()
        )
        at_a_time = self._at_a_time or sum(took) / max(elapsed, 1e-3)
        return work / max(1.0, min(at_a_time, self._waiting.total()))


def _group(cell: Cell) -> tuple:
    return cell.description['kind'], cell.description.get('method')
