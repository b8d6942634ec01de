"""The metrics that a page offers, and the scores of its photos, one by one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import as_rgb, decoded, read_rgb, turn_of
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.score.contact_sheet import jpeg
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import MetricScorer, open_metric
from metaiqa_plugin.ui.sessions import MEGA, Photo, Session

if TYPE_CHECKING:
    from torch import nn

__all__ = ['COMPUTING', 'MY_TASTE', 'Metrics', 'can_adapt', 'score_waiting']

BUILT_IN = ('metaiqa', 'rankiqa', 'hyperiqa-lite0')
MY_TASTE = 'my taste'
MAX_CHECKPOINTS = 5
COMPUTING = threading.Lock()
"""One photo of all pages at a time: several would only wait for each other's cores."""
THUMBNAIL = 320


class Metrics:
    """Metrics by the names they are offered under, each opened once.

    Args:
        checkpoints: paths of checkpoints to offer to all pages, before ours.

    Raises:
        CheckpointError: one of them is not there, or not one of ours.
    """

    def __init__(self, checkpoints: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        at_once = list(checkpoints) or BUILT_IN[:1]
        self._opened = {path: open_metric(path) for path in at_once}
        self._names = list(dict.fromkeys([*self._opened, *BUILT_IN]))
        self.default = self._names[0]  # what a new page scores with

    def choices(self, session: Session) -> list[tuple[str, str]]:
        """What the page offers, as (name, shown)."""
        own = [(name, name) for name in session.checkpoints]
        return own + [(name, Path(name).name) for name in self._names]

    def get(self, session: Session, name: str) -> nn.Module:
        """The metric of a name that the page offers.

        Raises:
            CheckpointError: the file was damaged, or the page does not offer it.
        """
        with self._lock:
            if name in session.opened:
                return session.opened[name]
            if name not in self._names:
                raise CheckpointError(f'metric {name!r} is not on this page')
            if name not in self._opened:
                self._opened[name] = open_metric(name)
            return self._opened[name]

    def offer(self, session: Session, name: str, path: Path) -> None:
        """Offer a checkpoint to a page, and open it; one of the same name is replaced.

        Raises:
            CheckpointError: it is not one of ours, or the page has too many; then
                nothing is offered.
        """
        taken = {*session.checkpoints} - {name, MY_TASTE}
        if len(taken) >= MAX_CHECKPOINTS:
            raise CheckpointError(
                f'{name!r}: a page takes at most {MAX_CHECKPOINTS} checkpoints; '
                'reload it to start over'
            )
        try:
            metric = open_metric(str(path))
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(path), name)) from error
        with self._lock:
            session.opened[name] = metric
            session.checkpoints[name] = path


def can_adapt(metric: nn.Module) -> bool:
    """Whether the metric's network is one that ``adapt`` trains."""
    return isinstance(metric.net, MetaIQA)


def score_waiting(session: Session, metrics: Metrics, max_megapixels: int) -> None:
    """Score what waits on a page until nothing does.

    A photo that cannot be scored has an error.
    """
    while (taken := session.take()) is not None:
        photo, of_round = taken
        item = Item(photo.name, partial(_load, photo, session.folder, max_megapixels))
        try:
            metric = metrics.get(session, session.metric)
            scorer = MetricScorer(session.metric, metric, metric.lower_better)
            with COMPUTING:
                (row,) = score_items([item], [scorer], workers=1)
            score, error = row.scores[0], _in_words(row.error, photo)
        except UserError as refusal:  # the metric's file was damaged meanwhile
            score, error = None, str(refusal)
        session.finish(photo, of_round, score, error)


def _load(photo: Photo, folder: Path, max_megapixels: int) -> Image.Image:
    """The photo; the first time it is also measured, and has a thumbnail."""

    def convert(image: Image.Image) -> tuple[Image.Image, Image.Image]:
        width, height = image.size
        if width * height > max_megapixels * MEGA:
            raise ValueError(
                f'{width}x{height} pixels are more than {max_megapixels} megapixels; '
                'the limit can be raised with --max-megapixels'
            )
        turn, rgb = turn_of(image), as_rgb(image)
        return rgb, rgb.copy() if turn is None else rgb.transpose(turn)

    if photo.thumbnail:
        return read_rgb(photo.path)
    image, seen = decoded(photo.path, convert)
    photo.width, photo.height = seen.size
    seen.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    small = folder / f'{photo.key}.thumbnail'
    small.write_bytes(jpeg(seen))
    photo.thumbnail = small
    return image


def _in_words(error: str, photo: Photo) -> str:
    """For a list where the photo's name stands before it, without the path."""
    path = repr(str(photo.path))
    return error.removeprefix(f'image {path} ').replace(path, repr(photo.name))
