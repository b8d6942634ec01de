"""Predictions of one split, looked at image by image."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metaiqa_plugin.benchmark.records import CellRecord, Experiment, Predictions
from metaiqa_plugin.benchmark.report import charts
from metaiqa_plugin.benchmark.report.statistics import rank_differences, spearman
from metaiqa_plugin.benchmark.report.summaries import method_names

__all__ = ['BadImage', 'Sample', 'find_sample', 'image_folder', 'predictions_of']
__all__ += ['scatter_plots', 'worst_images']

WORST = 5
MOST_METHODS = 24
THUMBNAIL_SIDE = 128


@dataclass(frozen=True)
class Sample:
    """Predictions of one split, by method; the first seed that is finished.

    Attributes:
        split, test, database: what was predicted.
        predictions: by method, of the first ``MOST_METHODS`` that have any.
        more: how many others have some.
    """

    split: str
    test: str
    database: str
    predictions: Mapping[str, Predictions]
    more: int


@dataclass(frozen=True)
class BadImage:
    """An image that a method ranks far from where its MOS does.

    Attributes:
        image: its name.
        mos: in [0, 1].
        score: of the method.
        off: difference of ranks, as a share of the most possible; above 0: overrated.
        jpeg: its thumbnail; None where the image is not to be had.
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


def find_sample(experiment: Experiment) -> Sample | None:
    """The split that most methods have predictions of; the first of those."""
    few_shot = experiment.plan['protocol'] == 'few_shot'
    by_split: dict[str, dict[str, CellRecord]] = {}
    for cell in experiment.finished:
        if cell.tests:
            by_split.setdefault(cell.split, {}).setdefault(cell.method, cell)

    def rank(split: str) -> tuple[int, float]:
        (cell, *_) = by_split[split].values()
        labels = cell.facets.get('labels') or 0
        return len(by_split[split]), labels if few_shot else -labels

    for split in sorted(by_split, key=rank, reverse=True):
        (cell, *_) = by_split[split].values()
        test = next(iter(cell.tests))
        found = {
            method: predictions
            for method in method_names(experiment)
            if method in by_split[split]
            and (predictions := predictions_of(by_split[split][method], test))
        }
        if found:
            shown = dict(list(found.items())[:MOST_METHODS])
            more = len(found) - len(shown)
            return Sample(split, test, cell.tests[test].database, shown, more)
    return None


def predictions_of(cell: CellRecord, test: str) -> Predictions | None:
    """None where they are not on disk."""
    try:
        return cell.predictions(test)
    except FileNotFoundError:
        return None


def scatter_plots(sample: Sample, anchor: str) -> list[charts.Picture]:
    """Scores against MOS, one for each method."""
    panels = []
    for index, (method, shown) in enumerate(sample.predictions.items()):
        srocc = spearman(shown.mos, shown.scores)
        title = f'{method}: SROCC {srocc:.3f}'.replace('nan', 'NaN')
        name = f'{anchor}-scatter-{index + 1}'
        panels.append(charts.scatter(name, title, shown.mos, shown.scores, index))
    return panels


def worst_images(sample: Sample, folder: Path) -> dict[str, list[BadImage]]:
    """By method, those ranked farthest from where their MOS is."""
    seen: dict[str, bytes | None] = {}
    worst: dict[str, list[BadImage]] = {}
    for method, shown in sample.predictions.items():
        off = rank_differences(shown.mos, shown.scores)
        known = [index for index in range(len(off)) if abs(off[index]) > 0]
        known.sort(key=lambda index: (-abs(off[index]), shown.images[index]))
        worst[method] = []
        for index in known[:WORST]:
            image = shown.images[index]
            if image not in seen:
                seen[image] = charts.thumbnail(folder / image, THUMBNAIL_SIDE)
            numbers = (shown.mos[index], shown.scores[index], off[index])
            worst[method].append(BadImage(image, *map(float, numbers), seen[image]))
    return worst


def image_folder(experiment: Experiment, database: str) -> Path:
    """Where the images of a database are."""
    known = (experiment.plan.get('databases') or {}).get(database) or {}
    return Path(known.get('dataroot_target') or '.')
