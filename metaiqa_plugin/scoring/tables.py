"""Small tables, written at once."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from metaiqa_plugin.files import replacing

__all__ = ['write_table']


def write_table(path: str | os.PathLike, header: Sequence[str], rows: Iterable) -> None:
    """A csv, written at once."""
    with (
        replacing(Path(path)) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)
