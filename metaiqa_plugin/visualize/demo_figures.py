"""The two pictures of the demo."""

from __future__ import annotations

import os

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

__all__ = ['plot_learning_curve', 'plot_scatter']

matplotlib.use('Agg')
CURVES = {
    'l_support': 'support set, before its steps',
    'l_query': 'query set, after the support steps',
    'l_adapted': 'query set, before its last step',
}


def plot_learning_curve(curve: pd.DataFrame, path: str | os.PathLike) -> None:
    """Losses against outer updates, with a running mean over a tenth of the run.

    Args:
        curve: columns ``iter`` and the keys of :data:`CURVES`.
        path: PNG to write.
    """
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    window = max(1, len(curve) // 10)
    for index, (column, label) in enumerate(CURVES.items()):
        color = f'C{index}'
        axes.plot(curve['iter'], curve[column], color=color, alpha=0.25, linewidth=1)
        smooth = curve[column].rolling(window, min_periods=1).mean()
        axes.plot(curve['iter'], smooth, color=color, label=label)
    axes.set(xlabel='outer update', ylabel='squared error', yscale='log')
    axes.set_title('Meta-training')
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def plot_scatter(table: pd.DataFrame, unseen: str, path: str | os.PathLike) -> None:
    """Predictions against pseudo-MOS, a panel for each start and moment.

    Args:
        table: columns ``image``, ``pseudo_mos`` (in [0, 1]), then one a panel.
        unseen: the distortion, for the title.
        path: PNG to write.
    """
    panels = [name for name in table if name not in ('image', 'pseudo_mos')]
    figure = Figure(figsize=(9, 7), layout='constrained')
    grid = figure.subplots(2, (len(panels) + 1) // 2, sharex=True, sharey=True)
    for axes, name in zip(grid.flat, panels, strict=True):
        axes.scatter(table['pseudo_mos'], table[name], s=14, alpha=0.7)
        axes.plot([0, 1], [0, 1], color='gray', linewidth=0.8, linestyle='--')
        srocc = table[['pseudo_mos', name]].corr('spearman').iloc[0, 1]
        axes.set_title(f'{name} (SROCC {srocc:.2f})', fontsize=10)
        axes.grid(alpha=0.3)
    figure.supxlabel('pseudo-MOS')
    figure.supylabel('prediction')
    figure.suptitle(f'{unseen}: images of photos without a label, first draw')
    figure.savefig(path, dpi=120)
