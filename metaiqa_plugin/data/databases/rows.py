"""What a reader returns: the labels of a database, in the database's own unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from metaiqa_plugin.errors import UserError

__all__ = ['LabelledRow', 'Labels', 'number']


class LabelledRow(NamedTuple):
    """One labelled image; what a database does not have is ``''`` or None.

    Attributes:
        image: path below the images folder with ``/``, or a bare name that may be
            anywhere below it; upper and lower case are not told apart.
        mos: finite, as published.
        source: file and row of the label, for messages.
        std: standard deviation of the opinions on this image.
        ref_name: file name of the pristine photo.
        distortion: type.
        level: severity, a whole number as text.
        subset: part of the database that was judged together.
        group: whatever must not be torn apart by a split.
        official_split: ``train``, ``val`` or ``test``, if the authors publish one.
    """

    image: str
    mos: float
    source: str
    std: float | None = None
    ref_name: str = ''
    distortion: str = ''
    level: str = ''
    subset: str = ''
    group: str = ''
    official_split: str = ''


@dataclass(frozen=True)
class Labels:
    """All labels of a database.

    Attributes:
        rows: one an image.
        unscored: images that the database leaves without a label on purpose.
        mos_range: where it differs from that of the database's description.
        notes: what the user should know about the files read.
    """

    rows: Sequence[LabelledRow]
    unscored: Sequence[str] = ()
    mos_range: tuple[float, float] | None = None
    notes: Sequence[str] = ()


def number(value: Any, column: str, source: str) -> float:
    """A finite number from a cell.

    Raises:
        UserError: it is none; names the column, the value and ``source``.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise UserError(f'{source}: {column}={value!r} is no number')
    return result
