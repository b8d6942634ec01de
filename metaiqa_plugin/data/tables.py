"""Reading labelled tables: a csv with image names and opinion scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from metaiqa_plugin.data.labels import low_high
from metaiqa_plugin.errors import UserError

__all__ = ['normalise_mos', 'read_table', 'require_files']


def read_table(path: str | os.PathLike, argument: str) -> pd.DataFrame:
    """The csv as text columns; numbers are parsed where they are used.

    Raises:
        UserError: missing, unreadable or empty file; names ``argument``.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        raise UserError(f'{argument}={name!r}: no such file')
    try:
        table = pd.read_csv(name, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UserError(f'{argument}={name!r} is no readable csv: {error}') from error
    if table.empty:
        raise UserError(f'{argument}={name!r} has no row')
    return table


def normalise_mos(
    scores: Sequence[str],
    images: Sequence[str],
    mos_range: Sequence[float],
    lower_better: bool,
    source: str,
) -> np.ndarray:
    """Scores as float64 in [0, 1], higher better.

    Args:
        scores: text of numbers, as read from ``source``.
        images: their image names, for messages.
        mos_range: worst-to-best scale of the study as (low, high).
        lower_better: flip the direction.

    Raises:
        UserError: a score is no finite number or outside ``mos_range``.
    """
    low, high = low_high(mos_range)
    values = pd.to_numeric(pd.Series(list(scores)), errors='coerce').to_numpy(float)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f'{source}: score {scores[row]!r} of image {images[row]!r} (row {row + 2}) '
            'is no number'
        )
    outside = (values < low) | (values > high)
    if outside.any():
        row = int(np.argmax(outside))
        raise UserError(
            f'{source}: score {scores[row]} of image {images[row]!r} (row {row + 2}) '
            f'is outside the range {low:g} to {high:g}; give the range of the study '
            '(mos_range, --score-range)'
        )
    normalised = (values - low) / (high - low)
    return 1 - normalised if lower_better else normalised


def require_files(folder: str | os.PathLike, names: Sequence[str], source: str) -> None:
    """Every name is a file below ``folder``.

    Raises:
        UserError: names the folder, or the first missing file and how many miss.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'{source}: image folder {str(folder)!r} does not exist')
    here = {entry.name for entry in os.scandir(folder)}
    missing = [
        name for name in names if name not in here and not (folder / name).is_file()
    ]
    if missing:
        raise UserError(
            f'{source}: {len(missing)} of {len(names)} images are not in '
            f'{str(folder)!r}, the first is {missing[0]!r}'
        )
