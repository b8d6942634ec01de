"""What the demo shows of adaptation."""

from __future__ import annotations

import os

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

__all__ = ['plot_scatter']

matplotlib.use('Agg')


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
