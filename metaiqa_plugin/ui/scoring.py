"""The metrics that a page offers, and the scores of its photos, one by one."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import decoded, read_rgb, turn_of
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import MetricScorer, open_metric
from metaiqa_plugin.ui.sessions import MEGA, Photo, Session

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    'COMPUTING',
    'MY_TASTE',
    'Metrics',
    'can_adapt',
    'check_pixels',
    'jpeg',
    'score_waiting',
    'upright',
]

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
        self._opened = {path: open_metric(path) for path in checkpoints}
        self._names = list(dict.fromkeys([*self._opened, *BUILT_IN]))

    @property
    def default(self) -> str:
        """Name of the metric that a new page scores with."""
        return self._names[0]

    def choices(self, session: Session) -> list[tuple[str, str]]:
        """What the page offers, as (shown, name)."""
        own = [(name, name) for name in session.checkpoints]
        return own + [(Path(name).name, name) for name in self._names]

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


def score_waiting(
    session: Session, metric: nn.Module, max_megapixels: int
) -> Iterator[Photo]:
    """Score what waits on a page until nothing does; yields each photo when it is done.

    A photo that cannot be scored has an error. Two at once share the work.
    """
    scorer = MetricScorer(session.metric, metric, metric.lower_better)
    while (taken := session.take()) is not None:
        photo, of_round = taken
        item = Item(photo.name, partial(_load, photo, max_megapixels))
        with COMPUTING:
            (row,) = score_items([item], [scorer], workers=1)
        session.finish(photo, of_round, row.scores[0], _in_words(row.error, photo))
        yield photo


def _load(photo: Photo, max_megapixels: int) -> Image.Image:
    if photo.thumbnail:
        return read_rgb(photo.path)
    check_pixels(photo.path, max_megapixels)
    image = read_rgb(photo.path)
    seen = upright(image, photo.path)
    photo.width, photo.height = seen.size
    seen.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    photo.thumbnail = jpeg(seen)
    return image


def _in_words(error: str, photo: Photo) -> str:
    """For a list where the photo's name stands before it, without the path."""
    path = repr(str(photo.path))
    return error.removeprefix(f'image {path} ').replace(path, repr(photo.name))


def check_pixels(path: Path, max_megapixels: int) -> None:
    """Refuse an image by the size in its header, before a pixel is decoded.

    A file whose header cannot be read is left to whoever decodes it.

    Raises:
        UserError: more than ``max_megapixels`` 10^6 pixels, or so many that Pillow
            takes it for a decompression bomb.
    """
    way_out = 'the limit can be raised with --max-megapixels'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UserError(
            f'it claims more pixels than any photo has; at most {max_megapixels} '
            f'megapixels are taken; {way_out}'
        ) from error
    except Exception:
        return
    if width * height > max_megapixels * MEGA:
        raise UserError(
            f'{width}x{height} pixels are more than {max_megapixels} megapixels; '
            f'{way_out}'
        )


def upright(image: Image.Image, path: Path) -> Image.Image:
    """A copy of an image turned as the EXIF orientation of a file says."""
    turn = decoded(path, turn_of)
    return image.copy() if turn is None else image.transpose(turn)


def jpeg(image: Image.Image) -> bytes:
    """An RGB image as a JPEG file without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=85, exif=b'')
    return buffer.getvalue()
