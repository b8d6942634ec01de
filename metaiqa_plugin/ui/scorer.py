"""Scores the photos of a page, one after the other."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from PIL import Image

from metaiqa_plugin.data.images import decoded, read_rgb, turn_of
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.ui.limits import check_pixels

if TYPE_CHECKING:
    from torch import nn

    from metaiqa_plugin.ui.photo import Photo
    from metaiqa_plugin.ui.sessions import Session

__all__ = ['COMPUTING', 'jpeg', 'score_waiting', 'upright']

COMPUTING = threading.Lock()
"""One photo of all pages at a time: several would only wait for each other's cores."""
THUMBNAIL = 320


def score_waiting(
    session: Session, metric: nn.Module, max_megapixels: int
) -> Iterator[Photo]:
    """Score what waits on a page until nothing does; yields each photo when it is done.

    A photo that can not be scored has an error. Two at once share the work.
    """
    while (taken := session.take()) is not None:
        photo, of_round = taken
        score, error = None, ''
        try:
            with COMPUTING:
                score = _score(photo, metric, max_megapixels)
        except (UserError, RuntimeError, ValueError, AssertionError) as refused:
            error = _told(refused, photo)
        session.finish(photo, of_round, score, error)
        yield photo


def _score(photo: Photo, metric: nn.Module, max_megapixels: int) -> float:
    if not photo.thumbnail:
        check_pixels(photo.path, max_megapixels)
    image = read_rgb(photo.path)
    if not photo.thumbnail:
        seen = upright(image, photo.path)
        photo.width, photo.height = seen.size
        seen.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
        photo.thumbnail = jpeg(seen)
    score = metric(image).item()
    if not math.isfinite(score):
        raise UserError(f'its score is {score}')
    return score


def _told(error: Exception, photo: Photo) -> str:
    """A message on one line, for a list where the photo's name stands before it."""
    text = ' '.join(str(error).split()) or type(error).__name__
    path = repr(str(photo.path))
    return text.removeprefix(f'image {path} ').replace(path, repr(photo.name))


def upright(image: Image.Image, path) -> Image.Image:
    """A copy of an image turned as the EXIF orientation of a file says."""
    turn = decoded(path, turn_of)
    return image.copy() if turn is None else image.transpose(turn)


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """An RGB image as a JPEG file without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=quality, exif=b'')
    return buffer.getvalue()
