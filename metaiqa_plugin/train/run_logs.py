"""The figures of a run: csv files that grow with it, TensorBoard, a picture."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaiqa_plugin.files import replacing

if TYPE_CHECKING:
    from metaiqa_plugin.train.update import TaskLosses

__all__ = ['CURVE', 'TASKS', 'VALIDATION', 'RunLogs']

CURVE = 'learning_curve.csv'
TASKS = 'task_losses.csv'
VALIDATION = 'validation.csv'
PICTURE_SECONDS = 15
"""A picture costs half a second, so a run that saves often draws it less often."""


class RunLogs:
    """Writes a row at a time; each file begins with the iteration.

    Args:
        folder: of the run.
        done: iterations that are done; rows of later ones are left over from a run
            that was killed, and go.
        tensorboard: a ``SummaryWriter``, or None.
    """

    def __init__(self, folder: str | os.PathLike, done: int, tensorboard: Any) -> None:
        self.folder = Path(folder)
        self.tensorboard = tensorboard
        self._drawn = time.monotonic()
        for name in (CURVE, TASKS, VALIDATION):
            _cut(self.folder / name, done)

    def losses(
        self, iteration: int, means: dict[str, float], tasks: list[TaskLosses]
    ) -> None:
        """The losses of an update: their means, and each task's.

        ``l_support`` is before the support steps, ``l_query`` is of the query set
        after them, ``l_adapted`` before the last query step.
        """
        self._append(CURVE, {'iter': iteration} | means)
        for losses in tasks:
            row = {
                'iter': iteration,
                'task': losses.task,
                'l_support': losses.support[0],
                'l_query': losses.query[0],
                'l_adapted': losses.query[-1],
            }
            self._append(TASKS, row)
            if self.tensorboard:
                name = f'query_loss/{losses.task}'
                self.tensorboard.add_scalar(name, losses.query[0], iteration)

    def validation(
        self, iteration: int, dataset: str, results: dict[str, float]
    ) -> None:
        """The metrics on a validation set."""
        self._append(VALIDATION, {'iter': iteration, 'dataset': dataset} | results)

    def to_disk(self) -> None:
        """Wait until all rows are on the disk."""
        for name in (CURVE, TASKS, VALIDATION):
            if (self.folder / name).exists():
                with (self.folder / name).open('a') as file:
                    os.fsync(file.fileno())

    def picture(self, last: bool = False) -> None:
        """``learning_curve.png``, if there is a curve of losses.

        Args:
            last: draw it however short ago it was drawn; otherwise at most every
                ``PICTURE_SECONDS``.
        """
        recent = time.monotonic() - self._drawn < PICTURE_SECONDS
        if (self.folder / CURVE).exists() and (last or not recent):
            from metaiqa_plugin.train.learning_curves import plot_run

            plot_run(self.folder)
            self._drawn = time.monotonic()

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = self.folder / name
        new = not path.exists() or not path.stat().st_size
        with path.open('a', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, row, lineterminator='\n')
            if new:
                writer.writeheader()
            writer.writerow(row)


def _cut(path: Path, done: int) -> None:
    if not path.exists():
        return
    with path.open(encoding='utf-8', newline='') as file:
        header, *rows = list(csv.reader(file)) or [[]]
    kept = [row for row in rows if len(row) == len(header) and int(row[0]) <= done]
    if not kept:
        path.unlink()
        return
    with (
        replacing(path, durable=True) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        csv.writer(file, lineterminator='\n').writerows([header, *kept])
