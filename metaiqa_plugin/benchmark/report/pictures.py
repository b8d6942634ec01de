"""What each protocol says in lines and bars, and the predictions of one split."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from metaiqa_plugin.benchmark.records import Predictions
from metaiqa_plugin.benchmark.report import charts
from metaiqa_plugin.benchmark.report.charts import Line, Picture
from metaiqa_plugin.benchmark.report.results import RUNTIME
from metaiqa_plugin.benchmark.report.summaries import (
    Cells,
    Summary,
    measure,
    measured,
    srocc_of,
)
from metaiqa_plugin.data.images import as_seen, decoded
from metaiqa_plugin.errors import UserError

__all__ = ['BadImage', 'Sample', 'find_sample', 'rank_differences']
__all__ += ['result_pictures', 'scatter_plots', 'worst_images']

WORST = 5
MAX_METHODS = 24
THUMBNAIL_SIDE = 128


def result_pictures(cells: Cells, anchor: str) -> Iterator[Picture]:
    """Those of its protocol, of what is finished; names begin with ``anchor``."""
    protocol, finished = cells.protocol, cells.finished
    alike, labelled = _alike(finished)
    if protocol == 'runtime':
        yield from _runtime_pictures(finished, anchor)
    for test, where in cells.by_test():
        name = f'{anchor}-{re.sub("[^a-z0-9]+", "-", test.lower()).strip("-") or "x"}'
        if protocol == 'few_shot':
            yield _few_shot_picture(finished, test, f'{name}-labels', where)
        if protocol == 'parameters':
            yield from _sweep_pictures(finished, test, f'{name}-sweep', where)
        if finished.left_out:
            yield _unseen_picture(alike, test, f'{name}-types')
        else:
            where += f': mean over splits{labelled}'
            yield from _type_pictures(alike, test, f'{name}-types', where)
    yield from _learning_pictures(alike, f'{anchor}-learning', labelled)


def _alike(finished: Cells) -> tuple[Cells, str]:
    """Cells with the most labels; on unseen types: with the fewest. And what to say."""
    labels = finished.values('labels')
    if not labels:
        return finished, ''
    chosen = labels[-1 if finished.protocol == 'few_shot' else 0]
    return finished.where('facets.labels', chosen), (
        f', {chosen} labels' if chosen else ''
    )


def _runtime_pictures(finished: Cells, anchor: str) -> Iterator[Picture]:
    for name, (title, _) in RUNTIME.items():
        found = {
            method: finished.of(method).summary(measured(name)).numbers
            for method in finished.methods
        }
        values = {method: numbers for method, numbers in found.items() if numbers}
        if values and name != 'parameters':
            heading = f'{title[0].upper()}{title[1:]}: median and range'
            yield charts.ranges(f'{anchor}-{name}', heading, values, title)


def _few_shot_picture(finished: Cells, test: str, name: str, where: str) -> Picture:
    points = finished.summaries_by('labels', measure(test, 'srocc'))
    rows = zip(finished.methods, zip(*points.values(), strict=True), strict=True)
    drawn = [_line(method, list(points), row) for method, row in rows]
    title = f'SROCC by number of labelled images{where}: mean ± SD over draws'
    return charts.lines(name, title, {'labelled images': drawn}, logarithmic=True)


def _sweep_pictures(
    finished: Cells, test: str, name: str, where: str
) -> Iterator[Picture]:
    """Lines along each parameter, all others being equal; single ones side by side."""
    names = finished.swept
    places = finished.table[[f'facets.{one}' for one in names]].set_axis(names, axis=1)
    numbers = places.map(lambda value: type(value) in (int, float) and value == value)
    numbers = numbers.all(axis=1)
    points = places[numbers].groupby(finished.table.method[numbers], sort=False).first()
    points['found'] = [
        finished.of(method).summary(measure(test, 'srocc')) for method in points.index
    ]
    panels = {}
    title = f'SROCC against {{}}{where}: mean ± SD over splits'
    for index, varied in enumerate(names):
        fixed = [one for one in names if one != varied]
        ordered = points.sort_values(names)
        drawn = []
        for others, along in (
            ordered.groupby(fixed, sort=False) if fixed else [((), ordered)]
        ):
            if len(along) > 1:
                pairs = zip(fixed, others, strict=True)
                label = ', '.join(f'{one} = {value}' for one, value in pairs)
                drawn.append(_line(label, list(along[varied]), list(along['found'])))
        if len(drawn) == 1:
            panels[f'{varied} ({drawn[0].label})' if fixed else varied] = drawn
        elif drawn:
            place = f'{name}-{index + 1}'
            yield charts.lines(place, title.format(varied), {varied: drawn})
    if panels:
        yield charts.lines(name, title.format(', '.join(names)), panels, legend=False)


def _unseen_picture(cells: Cells, test: str, name: str) -> Picture:
    by_type = cells.summaries_by('type', measure(test, 'srocc'))
    means = [[item.mean for item in row] for row in by_type.values()]
    found = dict(zip(cells.methods, zip(*means, strict=True), strict=True))
    title = f'SROCC on unseen {cells.left_out}s'
    return charts.bars(name, title, found, list(by_type))


def _type_pictures(cells: Cells, test: str, name: str, where: str) -> Iterator[Picture]:
    """SROCC within each type of distortion, where test images have several."""
    rows = []
    for cell in cells:
        shown = cell.predictions(test) if test in cell.tests else None
        kinds = dict.fromkeys(shown.types) if shown else {}
        for kind in kinds if len(kinds) > 1 else ():
            chosen = np.array(shown.types) == kind
            srocc = srocc_of(shown.mos[chosen], shown.scores[chosen])
            rows.append((cell.method, kind, cell.split, srocc))
    if not rows:
        return
    found = pd.DataFrame(rows, columns=['method', 'type', 'split', 'srocc'])
    means = _over_splits(found, ['method', 'type'])['mean'].unstack()
    types = list(found['type'].unique())
    values = means.loc[found['method'].unique(), types].T.to_dict('list')
    yield charts.bars(name, f'SROCC by type of distortion{where}', values, types)


def _learning_pictures(cells: Cells, name: str, labelled: str) -> Iterator[Picture]:
    rows = [
        (cell.method, point['epoch'], cell.split, point['srocc'])
        for cell in cells
        for point in cell.curve()
    ]
    if not rows:
        return
    found = pd.DataFrame(rows, columns=['method', 'epoch', 'split', 'srocc'])
    drawn = []
    for method, own in found.groupby('method', sort=False):
        points = _over_splits(own, ['epoch']).reset_index()
        drawn.append(Line(method, *(list(points[name]) for name in points)))
    title = 'SROCC on the test images while training: mean ± SD over splits'
    yield charts.lines(name, title + labelled, {'epoch': drawn})


def _over_splits(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """``mean`` and ``sd`` over splits of the means over seeds; NaN if one is NaN."""
    means = found.groupby([*by, 'split'])['srocc'].agg(lambda x: x.mean(skipna=False))
    groups = means.groupby(by)
    each = {
        'mean': lambda x: x.mean(skipna=False),
        'sd': lambda x: x.std(skipna=False),
    }
    return pd.DataFrame({name: groups.agg(of) for name, of in each.items()})


def _line(label: str, x: Sequence[float], points: Sequence[Summary]) -> Line:
    return Line(label, x, [item.mean for item in points], [item.sd for item in points])


@dataclass(frozen=True)
class Sample:
    """Predictions of one split, by method; the first seed that is finished.

    Attributes:
        split, test: what was predicted.
        folder: where the images of the test set are.
        predictions: by method, of the first ``MAX_METHODS`` that have any.
        more: how many others have some.
    """

    split: str
    test: str
    folder: Path
    predictions: Mapping[str, Predictions]
    more: int


@dataclass(frozen=True)
class BadImage:
    """An image that a method ranks far from where its MOS does.

    Attributes:
        image: its name.
        mos: in [0, 1].
        score: of the method.
        off: difference of ranks, as a share of the largest possible; above 0:
            overrated.
        jpeg: its thumbnail; None where the image cannot be read.
    """

    image: str
    mos: float
    score: float
    off: float
    jpeg: bytes | None

    @property
    def data_uri(self) -> str:
        return f'data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}'

    @property
    def file(self) -> str:
        return f'{hashlib.sha256(self.jpeg).hexdigest()[:16]}.jpg'


def find_sample(cells: Cells) -> Sample | None:
    """The split that most methods have predictions of; the first of those."""
    tested = cells.table[[len(cell.tests) > 0 for cell in cells]]
    first = tested.drop_duplicates(['split', 'method'])

    def rank(split: str) -> tuple[int, float]:
        of = first[first.split == split]
        labels = of['cell'].iloc[0].facets.get('labels') or 0
        return len(of), labels if cells.protocol == 'few_shot' else -labels

    for split in sorted(first.split.unique(), key=rank, reverse=True):
        of = first[first.split == split].set_index('method')['cell']
        test, record = next(iter(of.iloc[0].tests.items()))
        found = {method: cell.predictions(test) for method, cell in of.items()}
        found = {method: shown for method, shown in found.items() if shown}
        if found:
            known = (cells.plan.get('databases') or {}).get(record.database) or {}
            folder = Path(known.get('dataroot_target') or '.')
            shown = dict(list(found.items())[:MAX_METHODS])
            return Sample(split, test, folder, shown, len(found) - len(shown))
    return None


def scatter_plots(sample: Sample, anchor: str) -> list[Picture]:
    """Scores against MOS, one for each method."""
    panels = []
    for index, (method, shown) in enumerate(sample.predictions.items()):
        srocc = srocc_of(shown.mos, shown.scores)
        title = f'{method}: SROCC {srocc:.3f}'.replace('nan', 'NaN')
        name = f'{anchor}-scatter-{index + 1}'
        panels.append(charts.scatter(name, title, shown.mos, shown.scores, index))
    return panels


def worst_images(sample: Sample) -> dict[str, list[BadImage]]:
    """By method, those ranked farthest from where their MOS is."""
    thumbnails: dict[str, bytes | None] = {}
    worst: dict[str, list[BadImage]] = {}
    for method, shown in sample.predictions.items():
        columns = {name: getattr(shown, name) for name in ('images', 'mos', 'scores')}
        rows = pd.DataFrame(columns)
        rows['off'] = rank_differences(shown.mos, shown.scores)
        rows['far'] = -rows.off.abs()
        worst[method] = []
        rows = rows[rows.far < 0].sort_values(['far', 'images'])[:WORST]
        for image, *numbers, _ in rows.itertuples(index=False):
            if image not in thumbnails:
                thumbnails[image] = _thumbnail(sample.folder / image)
            worst[method].append(BadImage(image, *numbers, thumbnails[image]))
    return worst


def _thumbnail(path: Path) -> bytes | None:
    """A small JPEG, upright by EXIF; None of a file that cannot be read."""

    def decode(image: Image.Image) -> Image.Image:
        image.draft('RGB', (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        return as_seen(image)

    try:
        small = decoded(path, decode)
    except UserError:
        return None
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, 'JPEG', quality=70, optimize=True)
    return buffer.getvalue()


def rank_differences(mos: Sequence[float], scores: Sequence[float]) -> np.ndarray:
    """Rank among the scores minus rank among the MOS, as shares of the largest.

    1 is the image of the worst MOS scored as the best; it needs no fit of one scale to
    the other. Images without a finite score get NaN and no rank.
    """
    known = pd.DataFrame({'mos': mos, 'scores': scores}, dtype=float)
    known = known[np.isfinite(known.scores)]
    ranks = known.rank()
    off = (ranks.scores - ranks.mos) / (len(known) - 1 or np.nan)
    return off.reindex(range(len(mos))).to_numpy()
