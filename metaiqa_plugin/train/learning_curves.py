"""The picture of a training run: losses over updates, and which distortion is hard."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metaiqa_plugin.files import replacing

__all__ = ['plot_run']

matplotlib.use('Agg')
LABELS = {
    'l_support': 'support set, before its steps',
    'l_query': 'query set, after the support steps',
    'l_adapted': 'query set, before its last step',
    'l_rank': 'ranked pairs',
    'l_mos': 'MOS',
}
RECENT = 0.2
"""Share of the run, at its end, that the tasks are judged by."""


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
    curve = pd.read_csv(folder / 'learning_curve.csv')
    tasks = _query_losses(folder / 'task_losses.csv', curve['iter'].max())
    height = max(4, 0.2 * len(tasks) + 1)
    if len(tasks) > 1:
        figure = Figure(figsize=(11, height), layout='constrained')
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_tasks(right, tasks)
    else:
        figure = Figure(figsize=(7, 4), layout='constrained')
        left = figure.subplots()
    _draw_losses(left, curve)
    path = folder / 'learning_curve.png'
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


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
