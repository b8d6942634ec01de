"""Csv files of scores that grow while images are scored."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import write_table
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import Scorer

__all__ = ['ScoreTable']


class ScoreTable:
    """One row an image; images come in groups, whose rows are written at once.

    Args:
        path: csv to write.
        columns: of what is known of an image; the first ``keys`` name its group.
        keys: how many.
        scorers: each has a column. Others are ``width``, ``height`` and ``error``.
        resume: keep the groups that the csv has, but for the last, which may not be
            whole; else begin anew.

    Raises:
        UserError: the csv has other columns.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        keys: int,
        scorers: Sequence[Scorer],
        resume: bool = False,
    ) -> None:
        self._path, self._keys, self._scorers = path, keys, scorers
        names = [scorer.name for scorer in scorers]
        self._header = [*columns, 'width', 'height', *names, 'error']
        kept = self._whole_groups() if resume and path.exists() else []
        self._done = {tuple(row[:keys]) for row in kept}
        write_table(path, self._header, kept)

    def has(self, *key: str) -> bool:
        """Whether the group is there."""
        return key in self._done

    def add(self, *key: str, images: Iterable[tuple[Sequence, Image.Image]]) -> None:
        """Score a group: what is known of each image beyond its key, and its pixels.

        An image that a metric can not score has an ``error``, and no score there.
        """
        rows = []
        images = [(list(known), image) for known, image in images]
        items = [
            Item(', '.join((*key, *map(str, known))), image.copy)
            for known, image in images
        ]
        scored = score_items(items, self._scorers)
        for (known, image), row in zip(images, scored, strict=True):
            shown = ['' if s is None else f'{s:.8g}' for s in row.scores]
            rows.append([*key, *known, *image.size, *shown, row.error])
            if row.error:
                print(f'metaiqa: no score of {row.path}: {row.error}', file=sys.stderr)
        self._append(key, rows)

    def add_unread(self, *key: str, error: str) -> None:
        """Note that a group could not be read."""
        print(f'metaiqa: skipped: {error}', file=sys.stderr)
        blank = [''] * (len(self._header) - self._keys - 1)
        self._append(key, [[*key, *blank, error]])

    def read(self) -> tuple[pd.DataFrame, int]:
        """All rows, keys as text; and how many have an error."""
        text = {name: str for name in (*self._header[: self._keys], 'error')}
        table = pd.read_csv(self._path, dtype=text, keep_default_na=False, na_values='')
        return table, int(table['error'].notna().sum())

    def _append(self, key: tuple[str, ...], rows: Sequence[Sequence]) -> None:
        with self._path.open('a', encoding='utf-8', newline='') as file:
            csv.writer(file, lineterminator='\n').writerows(rows)
        self._done.add(key)

    def _whole_groups(self) -> list[list[str]]:
        with self._path.open(encoding='utf-8', newline='') as file:
            header, *rows = csv.reader(file)
        if header != self._header:
            raise UserError(
                f'{str(self._path)!r} has the columns {header}, not {self._header}; go '
                'on without --resume, or with another --scores'
            )
        last = rows[-1][: self._keys] if rows else None
        return [row for row in rows if row[: self._keys] != last]
