"""The figures of a run: csv files that grow with it, TensorBoard, a picture."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metaiqa_plugin.files import replacing
from metaiqa_plugin.train.update import TaskLosses

__all__ = ['CURVE', 'TASKS', 'VALIDATION', 'RunLogs', 'plot_run']

CURVE = 'learning_curve.csv'
TASKS = 'task_losses.csv'
VALIDATION = 'validation.csv'
PICTURE = 'learning_curve.png'
PICTURE_SECONDS = 15
"""A picture costs half a second, so a run that saves often draws it less often."""
LABELS = {
    'l_support': 'support set, before its steps',
    'l_query': 'query set, after the support steps',
    'l_adapted': 'query set, before its last step',
    'l_rank': 'ranked pairs',
    'l_mos': 'MOS',
}
RECENT = 0.2
"""Share of the run, at its end, that the tasks are judged by."""


class RunLogs:
    """Writes one row at a time; each file begins with the iteration.

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
        """Draw the run, if there is a curve of losses.

        Args:
            last: draw it however recently it was drawn; otherwise at most every
                ``PICTURE_SECONDS``.
        """
        recent = time.monotonic() - self._drawn < PICTURE_SECONDS
        if (self.folder / CURVE).exists() and (last or not recent):
            plot_run(self.folder)
            self._drawn = time.monotonic()

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = self.folder / name
        new = not path.exists() or not path.stat().st_size
        with path.open('a', encoding='utf-8', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerows([row, row.values()] if new else [row.values()])


def _cut(path: Path, done: int) -> None:
    """Keep the header and the whole rows of the iterations that are done."""
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


def plot_run(folder: str | Path) -> Path:
    """Draw ``learning_curve.png`` from the csv files of a run.

    Losses have a running mean over a tenth of the run. Beside them, if the run has
    tasks: the mean query loss of each task over the last fifth, the hardest on top.

    Args:
        folder: with ``learning_curve.csv`` and perhaps ``task_losses.csv``.

    Returns:
        the picture.
    """
    folder = Path(folder)
    curve = pd.read_csv(folder / CURVE)
    tasks = _query_losses(folder / TASKS, curve['iter'].max())
    if len(tasks) > 1:
        height = max(4, 0.2 * len(tasks) + 1)
        figure = Figure(figsize=(11, height), layout='constrained')
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_tasks(right, tasks)
    else:
        figure = Figure(figsize=(7, 4), layout='constrained')
        left = figure.subplots()
    _draw_losses(left, curve)
    with replacing(folder / PICTURE) as temporary:
        figure.savefig(temporary, dpi=120)
    return folder / PICTURE


def _query_losses(path: Path, last: int) -> pd.Series:
    if not path.exists():
        return pd.Series(dtype=float)
    table = pd.read_csv(path)
    recent = table[table['iter'] > last * (1 - RECENT)]
    return recent.groupby('task')['l_query'].mean().sort_values()


def _draw_losses(axes, curve: pd.DataFrame) -> None:
    window = max(1, len(curve) // 10)
    losses = [column for column in curve if column.startswith('l_')]
    for index, column in enumerate(losses):
        color = f'C{index}'
        axes.plot(curve['iter'], curve[column], color=color, alpha=0.25, linewidth=1)
        smooth = curve[column].rolling(window, min_periods=1).mean()
        label = LABELS.get(column, column)
        axes.plot(curve['iter'], smooth, color=color, label=label)
    axes.set(xlabel='update', ylabel='loss', yscale='log', title='Training')
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_tasks(axes, tasks: pd.Series) -> None:
    axes.barh(np.arange(len(tasks)), tasks.to_numpy(), color='C1', height=0.7)
    axes.set_yticks(np.arange(len(tasks)), tasks.index, fontsize=8)
    axes.set(xlabel='mean query loss, last fifth of the run')
    axes.set_title('Which distortion is hard')
    axes.grid(axis='x', alpha=0.3)
