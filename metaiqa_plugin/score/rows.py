"""What is known of an image once it has been scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ['Row', 'columns', 'row_of']

PATH, WIDTH, HEIGHT, ERROR = 'path', 'width', 'height', 'error'


@dataclass(frozen=True)
class Row:
    """An image.

    Attributes:
        path: as it was given.
        scores: one for each metric; None where there is none, and then there is an
            error.
        width, height: pixels of the file; None where it could not be read.
        error: what was wrong, one line; empty where nothing was.
    """

    path: str
    scores: tuple[float | None, ...]
    width: int | None = None
    height: int | None = None
    error: str = ''


def columns(metrics: Sequence[str]) -> list[str]:
    """Names of the columns of a table with these metrics."""
    return [PATH, *metrics, WIDTH, HEIGHT, ERROR]


def row_of(
    path: str,
    size: tuple[int, int] | None,
    scores: Sequence[float | None],
    errors: Sequence[str],
) -> Row:
    """A row; scores that are not finite are errors.

    Args:
        size: width and height.
        errors: of any metric, or of reading; each is told once.
    """
    kept, faults = [], list(errors)
    for score in scores:
        finite = score is not None and math.isfinite(score)
        if score is not None and not finite:
            faults.append(f'the score is {score}')
        kept.append(score if finite else None)
    width, height = size or (None, None)
    return Row(path, tuple(kept), width, height, '; '.join(dict.fromkeys(faults)))
