"""What is known of an image once it has been scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metaiqa_plugin.errors import one_line

__all__ = ['ScoreRow', 'columns', 'row_of']

PATH, WIDTH, HEIGHT, ERROR = 'path', 'width', 'height', 'error'


@dataclass(frozen=True)
class ScoreRow:
    """An image.

    Attributes:
        path: of the image as it was given, or what else names it.
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
    path: str, size: tuple[int, int] | None, results: Sequence[float | Exception]
) -> ScoreRow:
    """A row; scores that are not finite are errors, and each error is told once.

    Args:
        path: of the image, or what else names it.
        size: width and height, if known.
        results: of each metric its score, or what it or loading the image raised.
    """
    scores, raised, odd = [], [], []
    for result in results:
        finite = not isinstance(result, Exception) and math.isfinite(result)
        scores.append(result if finite else None)
        if isinstance(result, Exception):
            raised.append(one_line(result))
        elif not finite:
            odd.append(f'the score is {result}')
    errors = '; '.join(dict.fromkeys(raised + odd))
    return ScoreRow(path, tuple(scores), *(size or (None, None)), errors)
