"""Scores of pristine photos and their distorted versions, written as they come."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn
from tqdm import tqdm

from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.data.synthesis import Synthesis
from metaiqa_plugin.data.versions import (
    PRISTINE_SEVERITY,
    at_working_size,
    severity,
    version_of,
)
from metaiqa_plugin.errors import UserError

__all__ = ['PRISTINE', 'VersionScore', 'score_versions']

PRISTINE = 'pristine'
HEADER = ('photo', 'type', 'level', 'severity', 'score', 'error')


@dataclass(frozen=True)
class VersionScore:
    """A row of the table of scores.

    Attributes:
        photo: its name below the folder.
        type: of the distortion, or `PRISTINE`.
        level: 1 to 5, or 0 for the pristine photo.
        severity: see `metaiqa_plugin.data.versions.severity`.
        score: as the metric gives it; NaN where there is an error.
        error: why there is no score, one line; empty if there is one.
    """

    photo: str
    type: str
    level: float
    severity: float
    score: float = math.nan
    error: str = ''

    def cells(self) -> tuple[str, ...]:
        """The row as text; no digit of the score is lost."""
        score = '' if self.error else repr(self.score)
        return (
            *(self.photo, self.type, f'{self.level:g}', f'{self.severity:.4f}'),
            *(score, self.error),
        )


def score_versions(
    folder: str | os.PathLike,
    names: Sequence[str],
    settings: Synthesis,
    metric: nn.Module,
    table: Path,
) -> list[VersionScore]:
    """Score each photo and the versions that ``metaiqa synthesize`` would make of it.

    Every row is in ``table`` as soon as it is known, so an interrupted run leaves what
    it scored. Images that can not be scored have an error; a photo that can not be
    read has one row. Shows a bar on stderr.

    Args:
        folder: of the photos.
        names: below ``folder``.
        settings: types, levels, working size and seed.
        metric: of pyiqa, takes a PIL image.
        table: csv to write; its folder is made.

    Raises:
        UserError: the table can not be written.
    """
    rows = []
    each = settings.images_per_photo + 1
    with (
        _growing_table(table) as write,
        tqdm(total=len(names) * each, desc='ranking', unit='image') as bar,
    ):
        for done, name in enumerate(names, start=1):
            for row in _score_photo(Path(folder), name, settings, metric):
                write(row.cells())
                rows.append(row)
                bar.update()
            bar.update(done * each - bar.n)
    return rows


@contextmanager
def _growing_table(path: Path) -> Iterator[Callable[[Sequence[str]], object]]:
    """A function that appends a row to a new csv, whole and at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('w', encoding='utf-8', newline='', buffering=1) as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(HEADER)
            yield writer.writerow
    except OSError as error:
        raise UserError(
            f'{str(path)!r} can not be written: {error.strerror or error}'
        ) from error


def _score_photo(
    folder: Path, name: str, settings: Synthesis, metric: nn.Module
) -> Iterator[VersionScore]:
    pristine = (name, PRISTINE, 0, PRISTINE_SEVERITY)
    try:
        photo = at_working_size(read_photo(folder / name), settings.max_side)
    except UserError as error:
        yield VersionScore(*pristine, error=_one_line(error))
        return
    yield _scored(metric, photo, *pristine)
    pixels, stem = np.asarray(photo), os.path.splitext(name)[0]
    for kind, level in settings.versions(stem):
        made = version_of(pixels, stem, kind, level, settings.seed)
        yield _scored(
            metric, Image.fromarray(made), name, kind, level, severity(kind, level)
        )


def _scored(metric: nn.Module, image: Image.Image, *version) -> VersionScore:
    """Whatever a metric raises for an image that it does not take is in the row."""
    try:
        score = float(metric(image).item())
    except (AssertionError, RuntimeError, ValueError) as error:
        return VersionScore(*version, error=_one_line(error))
    if not math.isfinite(score):
        return VersionScore(*version, error=f'the score is {score}')
    return VersionScore(*version, score)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
