"""The folders of cells: what is done there, and making them ready."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.plan import Cell, fingerprint
from metaiqa_plugin.benchmark.records import read_json, write_json
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['CELL', 'ERROR', 'LOG', 'RESULT', 'prepare', 'state_of', 'unfinished']

CELL, RESULT, ERROR, LOG = 'cell.json', 'result.json', 'error.txt', 'log.txt'


def state_of(root: str | os.PathLike, cell: Cell) -> str:
    """``'finished'``, ``'failed'``, ``'begun'``, ``'open'`` or ``'other options'``."""
    folder = Path(root) / cell.folder
    if not (folder / CELL).is_file():
        return 'open'
    same = fingerprint(read_json(folder / CELL)) == cell.fingerprint
    if (folder / RESULT).is_file():
        return 'finished' if same else 'other options'
    if not same:
        return 'open'
    if (folder / ERROR).is_file():
        return 'failed'
    return 'begun' if (folder / LOG).is_file() else 'open'


def prepare(root: Path, cell: Cell, redo: bool = False) -> None:
    """Make its folder, with nothing in it but its tables or part of the very same work.

    Raises:
        UserError: it was finished under other options, and ``redo`` is not set.
    """
    folder, state = root / cell.folder, state_of(root, cell)
    known = folder / CELL
    if state == 'other options' and not redo:
        before = read_json(known)
        different = sorted(_differences('', cell.description, before))
        raise UserError(
            f'{cell.label}: finished under other options ({"; ".join(different[:3])}); '
            'give the experiment another name, or --overwrite what is different'
        )
    same = known.is_file() and fingerprint(read_json(known)) == cell.fingerprint
    if folder.is_dir() and not same:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in cell.tables.items():
        if not (folder / name).is_file():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding='utf-8')
    if not same:
        write_json(known, cell.description)


def _differences(where: str, now: Any, before: Any) -> Iterator[str]:
    if isinstance(now, dict) and isinstance(before, dict):
        for key in {*now, *before} - {'label'}:
            yield from _differences(f'{where}.{key}', now.get(key), before.get(key))
    elif now != before:
        yield f'{where.strip(".")}: {before!r} -> {now!r}'


def unfinished(root: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Those without a result."""
    return [cell for cell in cells if not (root / cell.folder / RESULT).is_file()]
