"""A photo of a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ['STARS', 'Photo']

STARS = (1, 2, 3, 4, 5)


@dataclass
class Photo:
    """A file that was dropped on the page.

    Attributes:
        key: number on its page, never used twice.
        name: as the user knows it; different for each photo of a page.
        path: where it lies; None: it was refused and not kept.
        bytes: its size.
        width, height: in pixels, as it is seen; None: not read yet.
        thumbnail: JPEG; empty: not read yet.
        score: by the metric of the page; None: not scored.
        error: why it has no score.
        rating: one of ``STARS``, five is best; None: not rated.
    """

    key: int
    name: str
    path: Path | None = None
    bytes: int = 0
    width: int | None = None
    height: int | None = None
    thumbnail: bytes = b''
    score: float | None = None
    error: str = ''
    rating: int | None = None
