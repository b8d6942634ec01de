"""How often a metric puts the levels of a distortion in people's order.

After Liu, van de Weijer, Bagdanov, "RankIQA: Learning from Rankings for No-reference
Image Quality Assessment", ICCV 2017: distorting a photo more and more gives a ranking
that needs no opinions. Accuracies are counts over such rankings, and histograms show,
as theirs do, whether scores tell the levels apart. Which level is milder is decided by
``data.versions.severity``.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from pyiqa.metrics.correlation_coefficient import calculate_srcc
from tqdm import tqdm

from metaiqa_plugin.data.images import read_photo, walk_images
from metaiqa_plugin.data.synthesis import Synthesis
from metaiqa_plugin.data.versions import (
    PRISTINE_SEVERITY,
    at_working_size,
    severity,
    version_of,
)
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.files import ANY_NAME, check_output, replacing, write_table
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import MetricScorer, Scorer, open_metric

__all__ = [
    'PRISTINE',
    'RankingAccuracy',
    'VersionScore',
    'count_pairs',
    'draw_histograms',
    'order_agreement',
    'ranking_accuracy',
    'write_ranking',
]

matplotlib.use('Agg')

PRISTINE = 'pristine'
HEADER = ('photo', 'type', 'level', 'severity', 'score', 'error')
ACCURACY_HEADER = ('type', 'photos', 'pairs', 'accuracy', 'standard_error', 'srocc')
MAX_COLUMNS = 5
BINS = 40
PRISTINE_COLOUR = '0.6'
COLOURS = matplotlib.colormaps['plasma_r']
COLOUR_SPAN = (0.12, 0.95)
"""Part of the colour map that is taken; its ends are too near to white and black."""
OUTSIDE = 0.5
"""Per cent of the scores, at either end, that need not fit on the x axis."""
LONG_NAME = 24
CAPTION = (
    'a row: shares of its photos, by score; in the headings: pairs of levels\n'
    'in the right order ± standard error'
)


@dataclass(frozen=True)
class VersionScore:
    """A row of the table of scores.

    Attributes:
        photo: its name below the folder.
        type: of the distortion, or `PRISTINE`.
        level: 1 to 5, or 0 for the pristine photo.
        severity: see ``data.versions.severity``.
        score: finite, as the metric gives it; NaN where there is an error.
        error: why there is no score, one line; empty if there is one.
    """

    photo: str
    type: str
    level: float
    severity: float
    score: float = math.nan
    error: str = ''

    def cells(self) -> tuple[str, ...]:
        """The row as text; no digit of the score is lost."""
        score = '' if self.error else repr(self.score)
        return (
            *(self.photo, self.type, f'{self.level:g}', f'{self.severity:.4f}'),
            *(score, self.error),
        )


@dataclass(frozen=True)
class RankingAccuracy:
    """Agreement of scores with the severity of distortions.

    Attributes:
        photos: with at least one pair.
        pairs: two levels of different severity of one photo and type.
        accuracy: share of the pairs in which the milder one has the strictly better
            score; 0.5 is chance, 1 perfect. Equal scores count as wrong.
        standard_error: of the accuracy, over photos: standard deviation (n - 1) of
            the accuracy of each photo, over the root of their number; NaN for one
            photo.
        srocc: mean of `order_agreement` over photos and types, 1 perfect.

    Accuracy and SROCC are NaN where there is no pair.
    """

    photos: int
    pairs: int
    accuracy: float
    standard_error: float
    srocc: float

    def cells(self, unknown: str) -> list[str]:
        """As text, ``unknown`` for NaN."""
        figures = (self.accuracy, self.standard_error, self.srocc)
        written = [unknown if math.isnan(one) else f'{one:.4f}' for one in figures]
        return [str(self.photos), str(self.pairs), *written]


def write_ranking(
    photos: str | os.PathLike,
    metric: str,
    settings: Synthesis,
    out: str | os.PathLike,
    limit: int | None = None,
    overwrite: bool = False,
) -> int:
    """Score all versions of photos; write the tables and the picture.

    In ``out``: ``scores.csv``, which grows row by row, and at the end ``accuracy.csv``,
    the least accurate type first, and ``levels.png``. Prints the accuracies, and on
    stderr what could not be scored.

    Args:
        photos: folder of pristine photos.
        metric: name of a metric, or a checkpoint of ours.
        settings: types, levels, working size and seed.
        out: folder to write to.
        limit: only the first so many photos.
        overwrite: ``out`` may have files, which are replaced.

    Returns:
        how many images could not be scored.

    Raises:
        UserError: a bad argument, ``out`` in use, or nothing could be scored.
    """
    if limit is not None:
        whole_number('limit', limit)
    if len(settings.levels) < 2:
        raise UserError(f'levels={[*settings.levels]}: a ranking takes at least two')
    names = walk_images(photos, 'photos')[:limit]
    files = [Path(photos) / name for name in names]
    out = check_output(out, overwrite, folder=True, inputs=[photos, metric, *files])
    opened = open_metric(metric)
    lower_better = bool(opened.lower_better)
    scorer = MetricScorer(Path(metric).name, opened, lower_better)
    out.mkdir(parents=True, exist_ok=True)
    table = out / 'scores.csv'
    rows = []
    growing = replacing(table) if table.exists() else contextlib.nullcontext(table)
    with (
        growing as path,
        path.open('w', newline='', buffering=1, **ANY_NAME) as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(HEADER)
        for row in score_versions(Path(photos), names, settings, scorer):
            writer.writerow(row.cells())
            rows.append(row)
    failed = [row for row in rows if row.error]
    _report(failed)
    accuracies = _accuracies(rows, settings.distortions, lower_better)
    if not any(accuracy.pairs for accuracy in accuracies.values()):
        raise UserError(
            f'photos={str(photos)!r}: no two levels could be scored; the reasons are '
            f'in {table}'
        )
    cells = [[kind, *found.cells('')] for kind, found in accuracies.items()]
    write_table(out / 'accuracy.csv', ACCURACY_HEADER, cells)
    draw_histograms(out / 'levels.png', rows, accuracies, scorer.name, lower_better)
    _print_table(accuracies | {'all': ranking_accuracy(rows, lower_better)})
    print(f'{out}: scores.csv, accuracy.csv, levels.png')
    return len(failed)


def score_versions(
    folder: Path, names: Sequence[str], settings: Synthesis, scorer: Scorer
) -> Iterator[VersionScore]:
    """Score each photo and the versions that ``metaiqa synthesize`` would make of it.

    A photo that cannot be read has one row. Shows a bar on stderr.
    """
    to_score, to_name = itertools.tee(_versions(folder, names, settings))
    items = (Item(row.photo, load) for row, load in to_score)
    for (row, _), result in zip(to_name, score_items(items, [scorer]), strict=True):
        (score,) = result.scores
        score = math.nan if score is None else score
        yield replace(row, score=score, error=result.error)


def _versions(
    folder: Path, names: Sequence[str], settings: Synthesis
) -> Iterator[tuple[VersionScore, Callable[[], Image.Image]]]:
    """Rows without scores, and what makes their images."""

    def read(name: str) -> Image.Image:
        return at_working_size(read_photo(folder / name), settings.max_side)

    for name in tqdm(names, 'ranking', unit='photo'):
        pristine = VersionScore(name, PRISTINE, 0, PRISTINE_SEVERITY)
        try:
            photo = read(name)
        except UserError:
            yield pristine, partial(read, name)
            continue
        yield pristine, photo.copy
        make = partial(_version, np.asarray(photo), os.path.splitext(name)[0], settings)
        for kind, level in settings.versions(os.path.splitext(name)[0]):
            row = VersionScore(name, kind, level, severity(kind, level))
            yield row, partial(make, kind, level)


def _version(
    pixels: np.ndarray, stem: str, settings: Synthesis, kind: str, level: float
) -> Image.Image:
    return Image.fromarray(version_of(pixels, stem, kind, level, settings.seed))


def _report(failed: Sequence[VersionScore]) -> None:
    for photo, rows in itertools.groupby(failed, lambda row: row.photo):
        first, *others = rows
        version = f' ({first.type} at level {first.level:g})'
        which = photo + (version if first.type != PRISTINE else '')
        more = f', {len(others)} more of it' if others else ''
        print(f'metaiqa: not scored: {which}{more}: {first.error}', file=sys.stderr)


def _accuracies(
    rows: Sequence[VersionScore], types: Sequence[str], lower_better: bool
) -> dict[str, RankingAccuracy]:
    """By type, the least accurate first, types without pairs last."""
    found = {
        kind: ranking_accuracy([row for row in rows if row.type == kind], lower_better)
        for kind in types
    }

    def order(kind: str) -> tuple[bool, float, str]:
        return math.isnan(found[kind].accuracy), found[kind].accuracy, kind

    return {kind: found[kind] for kind in sorted(found, key=order)}


def _print_table(accuracies: Mapping[str, RankingAccuracy]) -> None:
    rows = [[kind, *found.cells('-')] for kind, found in accuracies.items()]
    lines = [ACCURACY_HEADER, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *figures in lines:
        aligned = zip(figures, widths[1:], strict=True)
        cells = [figure.rjust(width) for figure, width in aligned]
        print('  '.join([name.ljust(widths[0]), *cells]))


def ranking_accuracy(
    rows: Sequence[VersionScore], lower_better: bool = False
) -> RankingAccuracy:
    """The accuracy of one type, or of several together.

    Pairs are formed among versions of one photo and type; all types of a photo are one
    photo of the standard error. Rows with an error are left out.
    """
    sign = -1 if lower_better else 1
    groups = defaultdict(list)
    for row in rows:
        if not row.error:
            groups[row.photo, row.type].append((row.severity, sign * row.score))
    right, pairs, agreements = defaultdict(int), defaultdict(int), []
    for (photo, _), levels in groups.items():
        ranked = np.transpose(levels)
        counted = count_pairs(*ranked)
        if counted[1]:
            right[photo] += counted[0]
            pairs[photo] += counted[1]
            agreements.append(order_agreement(*ranked))
    if not pairs:
        return RankingAccuracy(0, 0, math.nan, math.nan, math.nan)
    shares = [right[photo] / pairs[photo] for photo in pairs]
    error = math.nan
    if len(shares) > 1:
        error = float(np.std(shares, ddof=1) / math.sqrt(len(shares)))
    return RankingAccuracy(
        photos=len(pairs),
        pairs=sum(pairs.values()),
        accuracy=sum(right.values()) / sum(pairs.values()),
        standard_error=error,
        srocc=float(np.mean(agreements)),
    )


def count_pairs(severity: Sequence[float], quality: Sequence[float]) -> tuple[int, int]:
    """Pairs (in the right order, all) of levels that differ in severity.

    Args:
        severity: (L,) higher worse.
        quality: (L,) higher better.
    """
    severity, quality = np.asarray(severity, float), np.asarray(quality, float)
    milder = severity[:, None] < severity[None, :]
    better = quality[:, None] > quality[None, :]
    return int((milder & better).sum()), int(milder.sum())


def order_agreement(severity: Sequence[float], quality: Sequence[float]) -> float:
    """SROCC of mildness and quality: 1 if the order is the same, -1 if opposite.

    0 where one of them is constant, since then it gives no order. Arguments as of
    :func:`count_pairs`.
    """
    severity, quality = np.asarray(severity, float), np.asarray(quality, float)
    if not np.ptp(severity) or not np.ptp(quality):
        return 0.0
    return float(calculate_srcc(-severity, quality))


def draw_histograms(
    path: str | os.PathLike,
    rows: Sequence[VersionScore],
    accuracies: Mapping[str, RankingAccuracy],
    metric: str,
    lower_better: bool = False,
) -> None:
    """Histograms of scores, a panel for each type and in it a row for each level.

    Rows go from the pristine photos, in grey, down to the most severe level, the
    darkest; bars are shares of the scores of their row. All panels share the x axis,
    on which better is to the right. Where a few scores are far out the axis does not
    reach them: its outermost bins count them and its label tells how many they are.

    Args:
        path: PNG to write.
        rows: those with an error are left out; at least one is left.
        accuracies: by type, in the order to be drawn in.
        metric: name, for the label of the axis.
        lower_better: the scores are lower where the image is better.
    """
    scores = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row.error:
            scores[row.type][row.severity, row.level].append(row.score)
    pristine = [one for level in scores.pop(PRISTINE, {}).values() for one in level]
    types = [kind for kind in accuracies if kind in scores]
    every = [
        one for kind in scores.values() for level in kind.values() for one in level
    ]
    every = np.array(pristine + every)
    low, high = _shared_range(every)
    edges = np.linspace(low, high, BINS + 1)
    columns = min(MAX_COLUMNS, math.ceil(math.sqrt(len(types))))
    count = math.ceil(len(types) / columns)
    levels = max(len(scores[kind]) for kind in types)
    size = (max(2.7 * columns, 5.5), (0.21 * (levels + 1) + 0.5) * count + 1)
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(count, columns, sharex=True, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(types):
            axes.remove()
            continue
        kind = types[place]
        found = {level: of for (_, level), of in sorted(scores[kind].items())}
        _draw_panel(axes, {0: pristine, **found}, edges)
        axes.set_title(_title(kind, accuracies[kind]), fontsize=9)
        axes.tick_params(axis='x', labelbottom=place + columns >= len(types))
    grid[0, 0].set_xlim((high, low) if lower_better else (low, high))
    beyond = int(((every < low) | (every > high)).sum())
    label = _axis_label(metric, lower_better, beyond, len(every))
    figure.supxlabel(label, fontsize=10)
    figure.supylabel('level, milder above', fontsize=10)
    handles = [
        Patch(color=PRISTINE_COLOUR, label='0: not distorted'),
        Patch(color=COLOURS(COLOUR_SPAN[0]), label='the mildest level'),
        Patch(color=COLOURS(COLOUR_SPAN[1]), label='the most severe'),
    ]
    style = {'loc': 'outside upper center', 'ncols': 3, 'frameon': False}
    style |= {'title': CAPTION, 'title_fontsize': 9}
    legend = figure.legend(handles=handles, fontsize=9, **style)
    legend.get_title().set_multialignment('center')
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _shared_range(scores: np.ndarray) -> tuple[float, float]:
    """The range of all scores but the few that are far from the rest."""
    low, high = np.percentile(scores, [OUTSIDE, 100 - OUTSIDE])
    reach = 0.25 * (high - low)
    lowest, highest = max(low - reach, scores.min()), min(high + reach, scores.max())
    margin = 0.04 * (highest - lowest) or 0.5
    return lowest - margin, highest + margin


def _draw_panel(
    axes: Axes, levels: Mapping[float, Sequence[float]], edges: np.ndarray
) -> None:
    """Scores of each level, the first of them the pristine photos."""
    shares = [_shares(scores, edges) for scores in levels.values()]
    tallest = max(1e-9, *(share.max() for share in shares))
    colours = [PRISTINE_COLOUR, *COLOURS(np.linspace(*COLOUR_SPAN, len(levels) - 1))]
    for row, (share, colour) in enumerate(zip(shares, colours, strict=True)):
        top = row - 0.92 * share / tallest
        axes.stairs(top, edges, baseline=row, fill=True, color=colour)
        axes.axhline(row, color='0.8', linewidth=0.5, zorder=0)
    middles = [row - 0.4 for row in range(len(levels))]
    axes.set_yticks(middles, [f'{level:g}' for level in levels])
    axes.tick_params(axis='x', labelsize=8, length=2)
    axes.tick_params(axis='y', labelsize=8, length=0)
    axes.set_ylim(len(levels) - 0.9, -1)
    axes.grid(axis='x', alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right', 'left']].set_visible(False)


def _shares(scores: Sequence[float], edges: np.ndarray) -> np.ndarray:
    """Share of the scores in each bin; what is outside is in the outermost."""
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    return counts / max(1, len(scores))


def _title(kind: str, found: RankingAccuracy) -> str:
    """Name and accuracy; in two lines if the name is long."""
    name = kind.replace('_', ' ')
    if math.isnan(found.accuracy):
        return name
    accuracy = f'{found.accuracy:.2f}'
    if not math.isnan(found.standard_error):
        accuracy += f' ± {found.standard_error:.2f}'
    return ('\n' if len(name) > LONG_NAME else '   ').join([name, accuracy])


def _axis_label(metric: str, lower_better: bool, beyond: int, scores: int) -> str:
    direction = 'lower is better, axis reversed' if lower_better else 'higher is better'
    label = f'score of {metric} ({direction})'
    if not beyond:
        return label
    return f'{label}\nbeyond the axis, so in its outermost bins: {beyond} of {scores}'
