"""``metaiqa explain``: sheets of images beside the maps of what a metric sees."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur, to_tensor
from tqdm import tqdm

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import (
    LONGEST_NAME,
    UserError,
    one_line,
    one_of,
    whole_number,
)
from metaiqa_plugin.files import (
    ANY_NAME,
    check_output,
    replacing,
    same_settings,
    sha256_of,
    write_settings,
    write_table,
)
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import MetricScorer, Scorer, open_metric
from metaiqa_plugin.study.explain.gradient_maps import baseline_image
from metaiqa_plugin.study.explain.maps import (
    METHODS,
    SIGNED,
    MapSettings,
    compute_map,
    usable_methods,
)

__all__ = ['ALL', 'ExplainSettings', 'Panel', 'draw_sheet', 'write_explanations']

matplotlib.use('Agg')

ALL = 'all'
HEADER = ('image', 'score', 'width', 'height', 'score_of_maps', 'sheet', 'error')
DPI = 120
COLUMNS = {1: 1, 2: 2, 4: 2}
"""Of so many panels; else three."""
WIDTH = 4.85
"""Inches of a panel with its colour bar; so are all lengths below."""
PICTURE = 3.9
MIN_HEIGHT, MAX_HEIGHT = 1.6, 5.5
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
class ExplainSettings:
    """What to do with every image.

    Attributes:
        maps: of ``maps.METHODS``; or ``'all'`` that the metric has.
        longest: pixels of the longer side, larger images are shrunk; 0: never.
        arrays: write the maps as they are, too: (H, W) float32.
        how: they are computed.
    """

    maps: Sequence[str] = ('quality',)
    longest: int = 1024
    arrays: bool = False
    how: MapSettings = field(default_factory=MapSettings)

    def __post_init__(self) -> None:
        for name in self.maps:
            one_of('maps', name, (*METHODS, ALL))
        whole_number('longest', self.longest, minimum=0)


def write_explanations(
    paths: Sequence[str],
    metric: str,
    settings: ExplainSettings,
    out: str | os.PathLike,
    overwrite: bool = False,
    resume: bool = False,
) -> int:
    """Write a sheet for each image, and ``explain.csv`` with a row for each.

    The table grows row by row. ``explain.json`` says what the sheets depend on.

    Args:
        paths: of the images.
        metric: name of a metric, or a checkpoint of ours.
        settings: which maps, and how.
        out: folder to write to.
        overwrite: it may have files, which are replaced.
        resume: keep the sheets and rows that an earlier run left.

    Returns:
        how many images have an error in place of a sheet.

    Raises:
        UserError: an argument is wrong, ``out`` is in use, cannot be written or was
            begun with other settings, or the metric lacks a method.
    """
    out = check_output(out, overwrite or resume, folder=True, inputs=paths)
    opened = open_metric(metric)
    methods = _methods(opened, settings.maps, metric)
    explainer = _Explainer(os.path.basename(metric), opened, methods, settings, out)
    told = sha256_of(metric) if os.path.isfile(metric) else metric
    kept = _kept(out, {'metric': told, **asdict(settings)}, resume)
    table = out / 'explain.csv'
    write_table(table, HEADER, kept.values())
    rows = []
    with table.open('a', newline='', buffering=1, **ANY_NAME) as file:
        growing = csv.writer(file, lineterminator='\n')
        for row in _rows(explainer, paths, kept):
            rows.append(row)
            if row is not kept.get(row[0]):
                growing.writerow(row)
    write_table(table, HEADER, rows)
    failed = sum(bool(row[-1]) for row in rows)
    sheets = len(rows) - failed
    print(f'{out}: {sheets} sheet{"s" if sheets != 1 else ""}, explain.csv')
    return failed


def _methods(metric: nn.Module, asked: Sequence[str], name: str) -> list[str]:
    """Those asked for, each once in the usual order."""
    if {*asked} == {'quality'}:
        return ['quality']  # which every metric has
    usable = usable_methods(metric.net, metric.device)
    missing = [method for method in METHODS if method not in usable]
    refused = [method for method in asked if method in missing]
    if refused:
        raise UserError(
            f'maps={refused}: metric {name!r} has only {list(usable)}; gradients '
            'need a differentiable metric, cam a network of this package'
        )
    if ALL in asked and missing:
        print(f'metaiqa: note: {name} has no {", ".join(missing)}', file=sys.stderr)
    return [method for method in usable if ALL in asked or method in asked]


def _kept(out: Path, settings: dict[str, Any], resume: bool) -> dict[str, list[str]]:
    """Rows of an earlier run with a sheet, by image; notes the settings.

    Raises:
        UserError: it had others.
    """
    record, table, kept = out / 'explain.json', out / 'explain.csv', {}
    if resume and record.is_file() and table.is_file():
        same_settings(record, settings)
        with table.open(newline='', **ANY_NAME) as file:
            rows = [row for row in csv.reader(file) if len(row) == len(HEADER)]
        kept = {row[0]: row for row in rows[1:] if not row[-1]}
    write_settings(record, settings)
    return {path: row for path, row in kept.items() if (out / row[-2]).is_file()}


def _rows(
    explainer: _Explainer, paths: Sequence[str], kept: dict[str, list[str]]
) -> Iterator[Sequence]:
    """A row of the table for each image, with a bar on stderr."""
    names = _sheet_names(paths)
    for path in tqdm(paths, 'explain', unit='image'):
        if path in kept and kept[path][-2] == names[path]:
            yield kept[path]
            continue
        try:
            yield (path, *explainer.explain(path, names[path]), '')
        except OSError as error:
            raise UserError(
                f'out={str(explainer.out)!r} cannot be written ({one_line(error)}); '
                'mend that and continue with --resume'
            ) from error
        except Exception as error:  # metrics of pyiqa refuse images with any of them
            reason = one_line(error)
            tqdm.write(f'metaiqa: skipped {path}: {reason}', sys.stderr)
            yield (path, *[''] * (len(HEADER) - 2), reason)


def _sheet_names(paths: Sequence[str]) -> dict[str, str]:
    """Names below the folder of results: as much of the ends of paths as tells apart.

    With the whole name of the file, so that no two images have the same.
    """
    parts = {path: Path(os.path.abspath(path)).parts[1:] for path in paths}
    for length in range(1, max(map(len, parts.values())) + 1):
        names = {path: '/'.join(each[-length:]) for path, each in parts.items()}
        if len(set(names.values())) == len(names):
            break
    return {path: f'{_short(name)}.png' for path, name in names.items()}


def _short(name: str) -> str:
    """The name of a file, with a hash in place of an end that is too long."""
    folder, slash, last = name.rpartition('/')
    content = os.fsencode(last)
    if len(content) > LONGEST_NAME:
        digest = hashlib.sha256(content).hexdigest()[:12]
        last = f'{content[:150].decode(errors="ignore")}-{digest}'
    return f'{folder}{slash}{last}'


@dataclass(frozen=True)
class _Explainer:
    """A metric, by its short name, and what to do with every image."""

    name: str
    metric: nn.Module
    methods: Sequence[str]
    settings: ExplainSettings
    out: Path

    def explain(self, path: str, name: str) -> tuple[str, int, int, str, str]:
        """Write the sheet ``name`` of an image, and its maps where asked for.

        Returns:
            score; width, height and score of the image that the maps are of; ``name``.

        Raises:
            UserError: the image cannot be read, it has no finite score, or a method
                refuses it.
        """
        photo = read_rgb(path)
        seen = _bounded(photo, self.settings.longest)
        scorer = MetricScorer(self.name, self.metric, self.metric.lower_better)
        score = _score(scorer, photo)
        score_seen = score if seen is photo else _score(scorer, seen)
        pixels = to_tensor(seen).unsqueeze(0).to(self.metric.device)
        title = os.path.basename(path).encode(errors='replace').decode()
        panels = []
        for method in self.methods:
            found = compute_map(method, self.metric.net, pixels, self.settings.how)
            values = found.float().numpy()
            note = self._note(pixels, found) if method == 'integrated' else ''
            panels.append(Panel(method, values, note))
            if self.settings.arrays:
                target = self.out / f'{name.removesuffix(".png")}.{method}.npy'
                with replacing(target) as temporary:
                    np.save(temporary, values)
        draw_sheet(
            self.out / name,
            np.asarray(seen),
            panels,
            f'{title}: {score:.4g} by {self.name}',
            self._size_note(photo, seen, score_seen),
            self.metric.lower_better,
        )
        return f'{score:.6f}', *seen.size, f'{score_seen:.6f}', name

    def _size_note(self, photo: Image.Image, seen: Image.Image, score: float) -> str:
        direction = 'lower' if self.metric.lower_better else 'higher'
        size = f'{photo.width}x{photo.height}'
        if seen is photo:
            return f'{direction} is better; {size} pixels'
        return (
            f'{direction} is better; maps of a copy of {seen.width}x{seen.height} '
            f'pixels, which scores {score:.4g}; the photo has {size}'
        )

    def _note(self, image: Tensor, found: Tensor) -> str:
        """How near integrated gradients come to what they should sum to."""
        name = self.settings.how.baseline
        baseline = baseline_image(image, name).clamp(0, 1)
        with torch.inference_mode():
            apart = self.metric(image).item() - self.metric(baseline).item()
        return f'against {name}: sum {found.sum():+.3f} of {apart:+.3f}'


def _bounded(photo: Image.Image, longest: int) -> Image.Image:
    longer = max(photo.size)
    if not longest or longer <= longest:
        return photo
    size = [max(1, round(side * longest / longer)) for side in photo.size]
    return photo.resize(size, Image.Resampling.LANCZOS)


def _score(scorer: Scorer, image: Image.Image) -> float:
    (row,) = score_items([Item('image', lambda: image)], [scorer], workers=1)
    if row.error:
        raise UserError(row.error)
    return row.scores[0]


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
    """The image first, then its maps, at most three panels per row.

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
    tall = min(max(PICTURE * height / width, MIN_HEIGHT), MAX_HEIGHT)
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
    axes = _axes(figure, boxes[0])
    axes.imshow(image)
    _head(axes, 'image', 'what the metric is given')
    for box, panel in zip(boxes[1:], panels, strict=True):
        _draw_panel(figure, box, panel, lower_better)
    style = {'va': 'top', 'parse_math': False}
    figure.text(
        0.1 / size[0], 1 - 0.1 / size[1], title, size=14, weight='bold', **style
    )
    figure.text(0.1 / size[0], 1 - 0.42 / size[1], note, size=9, color='0.35', **style)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


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
        scored = values[np.isfinite(values)] if np.isfinite(values).any() else [0.0]
        low, high = float(np.min(scored)), float(np.max(scored))
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


def _head(axes: Axes, name: str, note: str) -> None:
    """Two lines above a picture, at the same height above all of them."""
    for text, above, style in (
        (name, 22, {'size': 11, 'weight': 'bold'}),
        (note, 9, {'size': 8.5, 'color': '0.35'}),
    ):
        style |= {'xycoords': 'axes fraction', 'textcoords': 'offset points'}
        axes.annotate(text, (0, 1), (0, above), annotation_clip=False, **style)


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
    _head(axes, name, panel.note or meaning)
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
