"""An image beside the maps of what a metric sees in it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torchvision.transforms.functional import gaussian_blur

from metaiqa_plugin.errors import one_of
from metaiqa_plugin.files import replacing
from metaiqa_plugin.study.explain.maps import METHODS, SIGNED

__all__ = ['Panel', 'draw_sheet', 'map_picture']

matplotlib.use('Agg')

DPI = 120
COLUMNS = {1: 1, 2: 2, 4: 2}
"""Of so many panels; else three."""
WIDTH = 4.85
"""Inches of a panel with its colour bar; so are all lengths below."""
PICTURE = 3.9
LEAST_HEIGHT, MOST_HEIGHT = 1.6, 5.5
HEADING, TITLE = 0.75, 0.5
BRIGHTEST = 99.5
"""Percentile of a map that gets the last colour: few pixels are far above the rest."""
SMOOTHING = 0.004
"""Gaussian that integrated gradients are drawn with, as a part of the longer side.

Their neighbours have changing signs; what stays is the sum of a few pixels.
"""
TITLES = {
    'gradient': ('gradient', 'where small changes move the score'),
    'smooth': ('smooth gradient', 'the same, mean of noisy copies'),
    'integrated': ('integrated gradients', 'what the pixels add to a baseline'),
    'cam': ('class activation', 'where the last features move the score'),
    'quality': ('quality map', 'scores of overlapping patches'),
}


@dataclass(frozen=True)
class Panel:
    """A map to draw.

    Attributes:
        method: of ``maps.METHODS``.
        values: (H, W); of a quality map NaN where the metric has no score.
        note: second line of its title; empty: what the method shows.
    """

    method: str
    values: np.ndarray
    note: str = ''


def draw_sheet(
    path: str | os.PathLike,
    image: np.ndarray,
    panels: Sequence[Panel],
    title: str,
    note: str,
    lower_better: bool = False,
) -> None:
    """The image first, then its maps, at most three panels a row.

    Args:
        path: PNG to write.
        image: (H, W, 3) uint8.
        panels: its maps, at least one.
        title: of the sheet.
        note: a line below the title.
        lower_better: direction of the metric; bright is good in quality maps.

    Raises:
        UserError: a panel's method is unknown.
    """
    height, width = image.shape[:2]
    tall = min(max(PICTURE * height / width, LEAST_HEIGHT), MOST_HEIGHT)
    columns = COLUMNS.get(len(panels) + 1, 3)
    rows = math.ceil((len(panels) + 1) / columns)
    size = columns * WIDTH, rows * (tall + HEADING) + TITLE
    figure = Figure(figsize=size)
    places = [
        (0.1 + place % columns * WIDTH, size[1] - TITLE - (place // columns + 1) * tall)
        for place in range(len(panels) + 1)
    ]
    boxes = [
        (left, bottom - (place // columns + 1) * HEADING + 0.15, PICTURE, tall)
        for place, (left, bottom) in enumerate(places)
    ]
    _draw_image(_axes(figure, boxes[0]), image)
    for box, panel in zip(boxes[1:], panels, strict=True):
        _draw_panel(figure, box, panel, lower_better)
    style = {'va': 'top', 'parse_math': False}
    figure.text(
        0.1 / size[0], 1 - 0.1 / size[1], title, size=14, weight='bold', **style
    )
    figure.text(0.1 / size[0], 1 - 0.42 / size[1], note, size=9, color='0.35', **style)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=DPI)


def map_picture(
    method: str, values: np.ndarray, lower_better: bool = False
) -> np.ndarray:
    """A map in the colours of the sheet, (H, W, 3) uint8, for other pages.

    Args:
        method: of ``maps.METHODS``.
        values: as of :class:`Panel`.
        lower_better: direction of the metric.

    Raises:
        UserError: the method is unknown.
    """
    values = _shown(method, values)
    colours = _colours(method, values, lower_better)
    return colours.to_rgba(values, bytes=True)[..., :3]


def _shown(method: str, values: np.ndarray) -> np.ndarray:
    if method != 'integrated':
        return values
    sigma = SMOOTHING * max(values.shape)
    reach = min(math.ceil(3 * sigma), min(values.shape) - 1)
    pixels = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return gaussian_blur(pixels, 2 * reach + 1, max(sigma, 0.1))[0, 0].numpy()


def _colours(method: str, values: np.ndarray, lower_better: bool) -> ScalarMappable:
    """Black to yellow; blue raises and red lowers the score; bright is good."""
    one_of('method', method, METHODS)
    if method == 'quality':
        scored = values[np.isfinite(values)]
        low, high = (
            (float(scored.min()), float(scored.max())) if scored.size else (0, 0)
        )
        norm = Normalize(low, high if high > low else low + 1)
        return ScalarMappable(norm, 'viridis_r' if lower_better else 'viridis')
    reach = float(np.percentile(np.abs(values), BRIGHTEST)) or 1.0
    if method in SIGNED:
        return ScalarMappable(Normalize(-reach, reach), 'RdBu')
    return ScalarMappable(Normalize(0, reach), 'inferno')


def _axes(figure: Figure, box: Sequence[float]) -> Axes:
    size = tuple(figure.get_size_inches()) * 2
    axes = figure.add_axes(np.divide(box, size), anchor='NW')
    axes.set_axis_off()
    return axes


def _draw_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image)
    axes.set_title('image', loc='left', size=11, weight='bold')


def _draw_panel(
    figure: Figure, box: Sequence[float], panel: Panel, lower_better: bool
) -> None:
    values = _shown(panel.method, panel.values)
    colours = _colours(panel.method, values, lower_better)
    axes = _axes(figure, box)
    axes.imshow(
        values,
        cmap=colours.cmap,
        norm=colours.norm,
        interpolation_stage='data',
    )
    name, meaning = TITLES[panel.method]
    axes.set_title(panel.note or meaning, loc='left', size=8.5, color='0.35', pad=9)
    axes.annotate(
        name,
        (0, 1),
        (0, 22),
        xycoords='axes fraction',
        textcoords='offset points',
        size=11,
        weight='bold',
    )
    axes.apply_aspect()
    shown = axes.get_position()
    width = figure.get_size_inches()[0]
    place = (shown.x1 + 0.08 / width, shown.y0, 0.11 / width, shown.height)
    bar = figure.colorbar(colours, cax=figure.add_axes(place))
    bar.ax.tick_params(labelsize=7, length=2, pad=2)
    low, high = colours.get_clim()
    if panel.method == 'quality':
        direction = 'lower' if lower_better else 'higher'
        bar.set_label(f'score, {direction} is better', size=7)
    elif panel.method in SIGNED:
        bar.set_ticks([low, 0, high], labels=['lowers', '0', 'raises'])
    else:
        bar.set_ticks([low, high], labels=['0', 'most'])
