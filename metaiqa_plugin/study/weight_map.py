"""The map of generated weights: images at the places of their weights."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

from metaiqa_plugin.files import replacing
from metaiqa_plugin.study.hyper_weights import spaced_out

__all__ = ['draw_map']

matplotlib.use('Agg')

DPI = 150
WIDTH, HEIGHT = 11.0, 9.2
"""Inches; so are all lengths below."""
MAP = (0.3, 0.3, 9.4, 7.6)
"""Left, bottom, width, height of the map; that of the colour bar follows."""
BAR = (9.9, 0.3, 0.18, 7.6)
THUMBNAIL = 0.62
SPACING = 0.69
MARKERS = 'os^DvPX*'


def draw_map(
    path: str | os.PathLike,
    places: np.ndarray,
    scores: Sequence[float],
    contents: Sequence[str],
    versions: Sequence[str],
    picture: Callable[[int], Image.Image],
    title: str,
    explanation: str = '',
) -> None:
    """A dot for each image; thumbnails where they do not overlap.

    Colours of dots and borders are scores, shapes of dots are versions, and lines join
    the first version of a photo with its others. Images of the first version are the
    first to get a thumbnail.

    Args:
        path: PNG to write.
        places: (N, 2); both directions have the same scale in the picture.
        scores: (N,).
        contents: (N,) the photo that each shows.
        versions: (N,) what was done to it; the first of all is the first version.
        picture: gives the image at a position, for a thumbnail.
        title: of the picture.
        explanation: one or two lines below it.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes(_fractions(MAP))
    unit = _fit(axes, places)
    colours = ScalarMappable(Normalize(min(scores), max(scores)), 'viridis')
    kinds = list(dict.fromkeys(versions))
    _draw_lines(axes, places, contents, [kinds.index(version) for version in versions])
    order = sorted(range(len(places)), key=lambda at: kinds.index(versions[at]))
    for position in spaced_out(places, SPACING * unit, order):
        border = colours.to_rgba(scores[position])
        _draw_thumbnail(axes, places[position], picture(position), border)
    _draw_dots(axes, places, scores, versions, kinds, colours)
    bar = figure.colorbar(colours, cax=figure.add_axes(_fractions(BAR)))
    bar.set_label('score of the image, higher is better')
    style = {'va': 'top', 'parse_math': False}
    figure.text(0.3 / WIDTH, 1 - 0.2 / HEIGHT, title, size=14, weight='bold', **style)
    figure.text(0.3 / WIDTH, 1 - 0.55 / HEIGHT, explanation, size=9, **style)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _fractions(box: Sequence[float]) -> np.ndarray:
    return np.divide(box, (WIDTH, HEIGHT) * 2)


def _fit(axes: Axes, places: np.ndarray) -> float:
    """Show all thumbnails whole, both directions alike; units of ``places`` an inch."""
    size = np.array(MAP[2:])
    low, high = places.min(axis=0), places.max(axis=0)
    unit = ((high - low) / (size - 1.3 * THUMBNAIL)).max()
    middle, half = (low + high) / 2, size * unit / 2
    (left, bottom), (right, top) = middle - half, middle + half
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    return float(unit)


def _draw_lines(
    axes: Axes, places: np.ndarray, contents: Sequence[str], ranks: Sequence[int]
) -> None:
    photos = defaultdict(list)
    for position, content in enumerate(contents):
        photos[content].append(position)
    lines = []
    for positions in photos.values():
        first = min(positions, key=lambda at: ranks[at])
        lines += [(places[first], places[at]) for at in positions if at != first]
    axes.add_collection(
        LineCollection(lines, colors='0.6', linewidths=0.7, zorder=1), autolim=False
    )


def _draw_thumbnail(
    axes: Axes, place: np.ndarray, image: Image.Image, border: tuple
) -> None:
    pixels = round(THUMBNAIL * DPI)
    image = image.copy()
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    longest = THUMBNAIL * 72 / max(image.size)
    shown = OffsetImage(np.asarray(image), zoom=longest, dpi_cor=True)
    frame = {'edgecolor': border, 'linewidth': 2.5}
    axes.add_artist(
        AnnotationBbox(shown, tuple(place), pad=0, bboxprops=frame, zorder=2)
    )


def _draw_dots(
    axes: Axes,
    places: np.ndarray,
    scores: Sequence[float],
    versions: Sequence[str],
    kinds: Sequence[str],
    colours: ScalarMappable,
) -> None:
    handles = []
    for number, kind in enumerate(kinds):
        marker = MARKERS[number % len(MARKERS)]
        here = [at for at, version in enumerate(versions) if version == kind]
        style = {'marker': marker, 'edgecolors': 'white', 'linewidths': 0.7}
        faces = colours.to_rgba(np.asarray(scores, float)[here])
        axes.scatter(*places[here].T, s=30, c=faces, zorder=3, **style)
        handles.append(Line2D([], [], marker=marker, color='0.3', linestyle=''))
    if len(kinds) > 1:
        style = {'loc': 'lower left', 'bbox_to_anchor': (0, 1), 'ncols': len(kinds)}
        axes.legend(handles, kinds, frameon=False, fontsize=9, **style)
