"""Scores of the levels of each distortion: does the metric tell them apart?

After the histograms by which RankIQA (Liu, van de Weijer, Bagdanov, ICCV 2017) shows
that a network which learned from rankings separates the levels of a distortion.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['LevelScores', 'TypePanel', 'plot_level_histograms']

matplotlib.use('Agg')
MOST_COLUMNS = 5
BINS = 40
PRISTINE_COLOUR = '0.6'
COLOUR_MAP = matplotlib.colormaps['plasma_r']
COLOUR_SPAN = (0.12, 0.95)
"""Part of the colour map that is taken; its ends are too near to white and black."""
OUTSIDE = 0.5
"""Per cent of the scores, at either end, that need not fit on the x axis."""
LONG_NAME = 24
CAPTION = 'above each panel: pairs of levels in the right order ± standard error'


@dataclass(frozen=True)
class LevelScores:
    """Scores of one level, over photos.

    Attributes:
        label: of the row, such as ``'3'``.
        scores: (N,) finite, as the metric gives them.
    """

    label: str
    scores: Sequence[float]


@dataclass(frozen=True)
class TypePanel:
    """One distortion type.

    Attributes:
        name: of the type.
        accuracy: share of its pairs of levels in the right order; NaN: no pair.
        standard_error: of the accuracy; NaN: not known.
        levels: from mild to severe, at least one.
    """

    name: str
    accuracy: float
    standard_error: float
    levels: Sequence[LevelScores]


def plot_level_histograms(
    panels: Sequence[TypePanel],
    pristine: Sequence[float],
    path: str | os.PathLike,
    metric: str,
    lower_better: bool = False,
) -> None:
    """Histograms of scores, a panel for each type and in it a row for each level.

    Rows go from the pristine photos, in grey, down to the most severe level, the
    darkest; bars are shares of the scores of their row. All panels share the x axis,
    on which better is to the right. Where a few scores are far out the axis does not
    reach them: its outermost bins count them and its label tells how many they are.

    Args:
        panels: in the order to be drawn in, at least one.
        pristine: (N,) scores of the photos as they are, level 0; may be empty.
        path: PNG to write.
        metric: name, for the label of the axis.
        lower_better: the scores are lower where the image is better.

    Raises:
        UserError: no panel, or no score at all.
    """
    everything = _all_scores(panels, pristine)
    low, high = _shared_range(everything)
    beyond = int(((everything < low) | (everything > high)).sum())
    edges = np.linspace(low, high, BINS + 1)
    columns = min(MOST_COLUMNS, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    most_levels = max(len(panel.levels) for panel in panels)
    size = (max(2.7 * columns, 5.5), (0.21 * (most_levels + 1) + 0.5) * rows + 1)
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, pristine, edges)
    _remove_empty(grid, len(panels))
    grid[0, 0].set_xlim((high, low) if lower_better else (low, high))
    figure.supxlabel(
        _axis_label(metric, lower_better, beyond, len(everything)), fontsize=10
    )
    figure.supylabel('level, from mild to severe', fontsize=10)
    figure.legend(
        handles=[
            Patch(color=PRISTINE_COLOUR, label='pristine (level 0)'),
            Patch(color=COLOUR_MAP(COLOUR_SPAN[0]), label='mildest level'),
            Patch(color=COLOUR_MAP(COLOUR_SPAN[1]), label='most severe level'),
        ],
        loc='outside upper center',
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=120)


def _all_scores(panels: Sequence[TypePanel], pristine: Sequence[float]) -> np.ndarray:
    scores = [level.scores for panel in panels for level in panel.levels]
    everything = np.concatenate([np.empty(0), pristine, *scores])
    if not panels or not len(everything):
        raise UserError(f'panels={list(panels)!r}: nothing to draw, there is no score')
    return everything


def _shared_range(scores: np.ndarray) -> tuple[float, float]:
    """The range of all scores but the few that are far from the rest."""
    low, high = np.percentile(scores, [OUTSIDE, 100 - OUTSIDE])
    reach = 0.25 * (high - low)
    lowest, highest = max(low - reach, scores.min()), min(high + reach, scores.max())
    margin = 0.04 * (highest - lowest) or 0.5
    return lowest - margin, highest + margin


def _draw_panel(
    axes, panel: TypePanel, pristine: Sequence[float], edges: np.ndarray
) -> None:
    levels = [LevelScores('0', pristine), *panel.levels]
    counts = [_shares(level.scores, edges) for level in levels]
    tallest = max(1e-9, *(share.max() for share in counts))
    colours = [PRISTINE_COLOUR, *_colours(len(panel.levels))]
    for row, (share, colour) in enumerate(zip(counts, colours, strict=True)):
        axes.stairs(
            row - 0.92 * share / tallest, edges, baseline=row, fill=True, color=colour
        )
        axes.axhline(row, color='0.8', linewidth=0.5, zorder=0)
    middles = [row - 0.4 for row in range(len(levels))]
    axes.set_yticks(middles, [level.label for level in levels])
    axes.tick_params(axis='x', labelsize=8, length=2)
    axes.tick_params(axis='y', labelsize=8, length=0)
    axes.set_ylim(len(levels) - 0.9, -1)
    axes.grid(axis='x', alpha=0.25)
    axes.set_axisbelow(True)
    axes.set_title(_title(panel), fontsize=9)
    axes.spines[['top', 'right', 'left']].set_visible(False)


def _title(panel: TypePanel) -> str:
    """Name and accuracy; in two lines if the name is long."""
    name = panel.name.replace('_', ' ')
    if math.isnan(panel.accuracy):
        return name
    accuracy = f'{panel.accuracy:.2f}'
    if not math.isnan(panel.standard_error):
        accuracy += f' ± {panel.standard_error:.2f}'
    return ('\n' if len(name) > LONG_NAME else '   ').join([name, accuracy])


def _shares(scores: Sequence[float], edges: np.ndarray) -> np.ndarray:
    """Share of the scores in each bin; what is outside is in the outermost."""
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    return counts / max(1, len(scores))


def _colours(count: int) -> list[tuple[float, ...]]:
    return [COLOUR_MAP(place) for place in np.linspace(*COLOUR_SPAN, count)]


def _remove_empty(grid: np.ndarray, used: int) -> None:
    for place, axes in enumerate(grid.flat):
        below = place + grid.shape[1]
        if place >= used:
            axes.remove()
        elif below >= used:
            axes.tick_params(axis='x', labelbottom=True)


def _axis_label(metric: str, lower_better: bool, beyond: int, scores: int) -> str:
    direction = 'lower is better, axis reversed' if lower_better else 'higher is better'
    lines = [f'score of {metric} ({direction})', CAPTION]
    if beyond:
        lines.append(f'beyond the axis, so in its outermost bins: {beyond} of {scores}')
    return '\n'.join(lines)
