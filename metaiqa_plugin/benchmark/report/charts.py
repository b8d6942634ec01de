"""The pictures of the report: SVG that takes its ink from the page.

Colours are those of Okabe and Ito (2008) that stand out from both a white and a dark
page (their blue a little lighter), each with a marker of its own; text, axes and grid
are ``currentColor``.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ['Line', 'Picture', 'bars', 'lines', 'ranges', 'scatter']

INK = '#0a0b0c'
COLORS = ('#2786C9', '#E69F00', '#009E73', '#CC79A7', '#D55E00', '#56B4E9')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
MAX_BARS = 4
MAX_POINTS = 400
"""Points above which a scatter plot holds them as pixels, to keep the page small."""
INKED = 'text.color axes.labelcolor axes.edgecolor xtick.color ytick.color grid.color'
STYLE = dict.fromkeys(INKED.split(), INK) | {
    'svg.fonttype': 'none',
    'svg.hashsalt': 'same bytes each time',
    'text.parse_math': False,
    'font.family': 'DejaVu Sans',
    'font.size': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'grid.alpha': 0.15,
    'axes.grid': True,
    'axes.axisbelow': True,
    'legend.frameon': False,
}
HEAD = Markup(
    '<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="{0:.0f}pt" '
    'viewBox="0 0 {0:g} {1:g}" stroke-linejoin="round" role="img" aria-label="{2}">'
    '<title>{2}</title>'
)
POINT_PIXELS = 160
LEGEND_INCHES = 6.5
LONGEST_NAME = 32


@dataclass(frozen=True)
class Picture:
    """An SVG element, its name (also the prefix of all ids in it) and its title."""

    name: str
    title: str
    svg: Markup

    @property
    def file(self) -> str:
        """A file of its own: dark on white, as it has no page to take its ink from."""
        own = (
            '<svg xmlns="http://www.w3.org/2000/svg" '
            'style="color: #222; background: #fff"'
        )
        return str(self.svg).replace('<svg', own, 1)


@dataclass(frozen=True)
class Line:
    """Points of one line, and the half width of the band around each (NaN: none)."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[float]


@matplotlib.rc_context({**STYLE, 'font.size': 9})
def scatter(
    name: str, title: str, mos: np.ndarray, scores: np.ndarray, color: int = 0
) -> Picture:
    """Scores against MOS of one method; scores that are not finite are left out."""
    finite = np.isfinite(scores)
    figure = Figure(figsize=(2.9, 2.5))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.27, right=0.97, bottom=0.19, top=0.97)
    axes.plot(
        mos[finite],
        scores[finite],
        **_points(color, markersize=4, markeredgewidth=0, alpha=0.75),
        rasterized=int(finite.sum()) > MAX_POINTS,
    )
    axes.set(xlim=(-0.03, 1.03), xlabel='MOS', ylabel='score')
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return _picture(figure, name, title)


@matplotlib.rc_context(STYLE)
def lines(
    name: str,
    title: str,
    panels: Mapping[str, Sequence[Line]],
    logarithmic: bool = False,
    legend: bool = True,
) -> Picture:
    """SROCC in lines with bands, a panel for each label of an x axis.

    Args:
        name: of the picture.
        title: what it shows.
        panels: lines by label of the x axis.
        logarithmic: x axis, with ticks at the values there are; 0 has a place too.
        legend: names the lines below the panels.
    """
    labels = [line.label for line in max(panels.values(), key=len)]
    rows = _legend_rows(labels) if legend else 0
    size = (max(6.6, 3.6 * len(panels)), 3.3 + 0.22 * rows)
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (x_label, shown) in zip(grid, panels.items(), strict=True):
        handles = [_line(axes, line, index) for index, line in enumerate(shown)]
        axes.set_xlabel(x_label)
        _x_axis(axes, shown, logarithmic)
        if legend and len(handles) == len(labels):
            _legend(figure, handles, labels)
            legend = False
    grid[0].set_ylabel('SROCC')
    return _picture(figure, name, title)


@matplotlib.rc_context(STYLE)
def bars(
    name: str, title: str, values: Mapping[str, Sequence[float]], types: Sequence[str]
) -> Picture:
    """SROCC: a row for each type, a bar for each method, or a dot if they are many."""
    count = len(values)
    slot = 0.8 / count if count <= MAX_BARS else 0
    height = 0.22 * max(1.2, count if slot else 1.4) * len(types)
    height += 0.8 + 0.22 * _legend_rows(list(values))
    figure = Figure(figsize=(6.8, height), layout='constrained')
    axes = figure.subplots()
    places = np.arange(len(types))
    handles: list[Artist] = []
    for index, row in enumerate(values.values()):
        if slot:
            middle = places + (index - (count - 1) / 2) * slot
            shown = axes.barh(middle, row, height=slot * 0.9, color=_color(index))
            handles.append(shown)
        else:
            handles += axes.plot(row, places, **_points(index, markersize=6))
    axes.axvline(0, color=INK, linewidth=0.8)
    _rows(axes, types, 'SROCC', grid=not slot)
    _legend(figure, handles, list(values))
    return _picture(figure, name, title)


@matplotlib.rc_context(STYLE)
def ranges(
    name: str, title: str, values: Mapping[str, Sequence[float]], x_label: str
) -> Picture:
    """A bar to the median of each method, with a line from lowest to highest."""
    figure = Figure(figsize=(6.8, 0.9 + 0.3 * len(values)), layout='constrained')
    axes = figure.subplots()
    for place, row in enumerate(values.values()):
        axes.barh(place, float(np.median(row)), height=0.6, color=_color(0))
        axes.plot([min(row), max(row)], [place] * 2, color=INK, linewidth=1.5)
    _rows(axes, list(values), x_label, grid=False)
    return _picture(figure, name, title)


def _line(axes: Axes, line: Line, index: int) -> Artist:
    x, y, band = (np.asarray(values, float) for values in (line.x, line.y, line.band))
    if np.isfinite(band).any():
        look = {'color': _color(index), 'alpha': 0.15, 'linewidth': 0}
        axes.fill_between(x, y - band, y + band, **look)
    style = _points(index, markersize=5)
    style['linestyle'] = '-' if index < len(COLORS) else '--'
    return axes.plot(x, y, **style)[0]


def _rows(axes: Axes, names: Sequence[str], x_label: str, grid: bool) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(x_label)
    axes.grid(visible=grid, axis='y')


def _x_axis(axes: Axes, shown: Sequence[Line], logarithmic: bool) -> None:
    values = sorted({value for line in shown for value in line.x})
    positive = [value for value in values if value > 0]
    if logarithmic and positive:
        linear = {} if positive == values else {'linthresh': positive[0]}
        axes.set_xscale('symlog' if linear else 'log', **linear)
    whole = all(float(value).is_integer() for value in values)
    if logarithmic or (whole and len(values) <= 8):
        axes.set_xticks(values, [f'{value:g}' for value in values])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    # matplotlib before 3.10 leaves out names with a leading underscore
    labels = [f'\u200b{_short(name)}' for name in names]
    look = {'loc': 'outside lower center', 'fontsize': 9}
    figure.legend(handles, labels, ncols=_legend_columns(names), **look)


def _legend_columns(names: Sequence[str]) -> int:
    longest = max(len(_short(name)) for name in names)
    return max(1, min(4, int(LEGEND_INCHES / (0.6 + 0.08 * longest))))


def _legend_rows(names: Sequence[str]) -> int:
    return -(-len(names) // _legend_columns(names))


def _short(name: str) -> str:
    """A long name without its middle, as names of variants differ at their ends."""
    if len(name) <= LONGEST_NAME:
        return name
    half = LONGEST_NAME // 2
    return f'{name[: half - 1]}…{name[-half:]}'


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _points(index: int, **style: Any) -> dict[str, Any]:
    marker = MARKERS[index % len(MARKERS)]
    return {'linestyle': 'none', 'marker': marker, 'color': _color(index), **style}


def _picture(figure: Figure, name: str, title: str) -> Picture:
    """The SVG with ids of its own and the ink and the fonts of the page."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # the page draws the text, with fonts of its own
        warnings.filterwarnings('ignore', message='Glyph .* missing from font')
        figure.savefig(
            buffer,
            format='svg',
            dpi=POINT_PIXELS,
            transparent=True,
            metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type')),
        )

    def for_page(found: re.Match) -> str:
        tag = re.sub(r'(\bid="|href="#|url\(#)', rf'\g<1>{name}-', found[0])
        tag = tag.replace(INK, 'currentColor')
        return tag.replace("'DejaVu Sans'", 'system-ui, sans-serif')

    svg = re.sub('<style.*?</style>', '', buffer.getvalue(), flags=re.DOTALL)
    body = svg[svg.index('>', svg.index('<svg')) + 1 :]
    body = re.sub('<[^>]+>', for_page, body)
    width, height = figure.get_size_inches() * 72
    return Picture(name, title, HEAD.format(width, height, title) + Markup(body))
