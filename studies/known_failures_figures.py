"""Pictures of known failures."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metaiqa_plugin.files import replacing

__all__ = ['draw_levels', 'draw_versions']

matplotlib.use('Agg')


def draw_versions(path: Path, table: pd.DataFrame) -> None:
    """Change of the score of each version, and its correlation to the originals.

    Args:
        path: PNG to write.
        table: columns ``metric``, ``version``, ``mean``, ``sd``,
            ``srocc_to_originals``; the first version of each metric is the original.
    """
    metrics = list(table['metric'].unique())
    figure = Figure(figsize=(10, 1 + 3.2 * len(metrics)), layout='constrained')
    grid = figure.subplots(len(metrics), 2, squeeze=False, sharey='row')
    lowest = np.nanmin([*table['srocc_to_originals'], 0.9])
    for (left, right), metric in zip(grid, metrics, strict=True):
        own = table[table['metric'] == metric].iloc[1:]
        places = np.arange(len(own))
        left.errorbar(own['mean'], places, xerr=own['sd'], fmt='o', capsize=3)
        left.axvline(0, color='gray', linewidth=0.8)
        left.set_yticks(places, own['version'])
        left.invert_yaxis()
        left.set_xlabel('change of score: mean ± standard deviation')
        left.set_title(metric, loc='left')
        right.plot(own['srocc_to_originals'], places, 'o')
        right.set_xlim(lowest - 0.05, 1.05)
        right.axvline(1, color='gray', linewidth=0.8)
        right.set_xlabel("SROCC to the originals' scores")
        for axes in (left, right):
            axes.grid(alpha=0.3)
    _save(figure, path)


def draw_levels(path: Path, table: pd.DataFrame) -> None:
    """Share of neighbouring levels in order, by type; one panel a metric.

    Args:
        path: PNG to write.
        table: columns ``metric``, ``distortion``, ``adjacent`` and ``people``.
    """
    metrics = list(table['metric'].unique())
    figure = Figure(figsize=(1.5 + 4 * len(metrics), 8), layout='constrained')
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        own = table[table['metric'] == metric]
        places = np.arange(len(own))
        axes.barh(places, own['adjacent'], color='#9ab7d3', label='neighbouring levels')
        axes.plot(own['people'], places, 'k.', label='pairs that differ for people')
        axes.axvline(0.5, color='gray', linewidth=0.8, linestyle='--')
        axes.set_yticks(places, own['distortion'])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_title(metric)
        axes.grid(axis='x', alpha=0.3)
    figure.supxlabel('share of pairs in the right order; dashed: chance')
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside upper center', ncols=2)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
