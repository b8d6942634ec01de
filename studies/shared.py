"""What several studies need: arguments, labels, features, growing tables, processes."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from metaiqa_plugin.cli.common import add_overwrite
from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import check_output, replacing

__all__ = [
    'RowFile',
    'features_of',
    'in_process',
    'livec',
    'markdown_row',
    'paths_of',
    'spread',
    'study_parser',
    'target',
    'tensor_of',
    'tested_places',
    'turns',
    'write_frame',
]


def study_parser(documentation: str, *positional: str) -> argparse.ArgumentParser:
    """A parser with these arguments, ``--out`` and ``--overwrite``."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    for name in positional:
        parser.add_argument(name)
    parser.add_argument('--out', type=Path, default=Path(), help='folder; default: .')
    add_overwrite(parser, 'replace what is in --out')
    return parser


def target(options: argparse.Namespace, name: str) -> Path:
    """The file in ``--out``; raises UserError where it must not be replaced."""
    path = check_output(options.out / name, options.overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def livec(
    table: str | os.PathLike,
    images: str | os.PathLike,
    split: int | None = None,
    phase: str = 'test',
) -> LabelledRows:
    """Photos of LIVE Challenge: all of a table's, or a part of a split."""
    return read_rows(DatabaseOptions(table, images, (0, 100), split_index=split), phase)


def paths_of(rows: LabelledRows) -> list[Path]:
    return [rows.path(index) for index in range(len(rows))]


def tested_places(table: str, images: str, split: int) -> np.ndarray:
    """Places of a split's test photos among all of the table's."""
    place = {image: index for index, image in enumerate(livec(table, images).images)}
    return np.array([place[name] for name in livec(table, images, split).images])


def tensor_of(image: np.ndarray | Image.Image) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1] of RGB bytes."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1)[None].float().div_(255)


@torch.inference_mode()
def features_of(network: nn.Module, paths: Sequence[Path], label: str) -> np.ndarray:
    """(images, features) float32 of a MetaIQA: what its head takes."""
    network.eval()
    rows = []
    for path in tqdm(paths, label, unit='image'):
        views = network.normalised(network.views(tensor_of(read_photo(path))))
        rows.append(network.backbone(views)[0].numpy())
    return np.stack(rows)


def write_frame(path: Path, frame: pd.DataFrame, digits: int | None = 6) -> None:
    """A csv of a table, real numbers with so many digits, or all."""
    shown = None if digits is None else f'%.{digits}f'
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format=shown)


def markdown_row(*cells: object) -> str:
    """A row of a table; real numbers with three digits, NaN blank."""
    shown = (f'{cell:.3f}' if isinstance(cell, float) else str(cell) for cell in cells)
    return f'| {" | ".join("" if cell == "nan" else cell for cell in shown)} |'


class RowFile:
    """A csv that grows while a study runs, by groups of rows.

    Args:
        path: of the csv.
        header: its columns.
        keys: how many of them, the first, name a group.
        resume: keep the groups that the csv has, but for one that was being written
            when a run was killed; else start again.

    Raises:
        UserError: the csv has other columns.
    """

    def __init__(
        self, path: Path, header: Sequence[str], keys: int, resume: bool = True
    ) -> None:
        self.path, self.header, self._keys = path, list(header), keys
        rows = self._kept() if resume and path.exists() else []
        self._done = {tuple(row[:keys]) for row in rows}
        with replacing(path) as temporary:
            temporary.write_text(_as_csv([self.header, *rows]), encoding='utf-8')

    def __contains__(self, key: Sequence[str]) -> bool:
        return tuple(key) in self._done

    def add(self, rows: Sequence[Sequence]) -> None:
        """The rows of one group, at once."""
        with self.path.open('a', encoding='utf-8', newline='') as file:
            file.write(_as_csv(rows))
            os.fsync(file.fileno())
        self._done.add(tuple(map(str, rows[0][: self._keys])))

    def read(self, text: Sequence[str] = ()) -> pd.DataFrame:
        """All rows; keys, and these columns, are text."""
        kinds = dict.fromkeys([*self.header[: self._keys], *text], str)
        return pd.read_csv(
            self.path, dtype=kinds, keep_default_na=False, na_values=['', 'nan']
        )

    def _kept(self) -> list[list[str]]:
        text = self.path.read_text(encoding='utf-8')
        whole, _, torn = text.rpartition('\n')
        header, *rows = csv.reader(whole.splitlines()) if whole else [self.header]
        if header != self.header:
            raise UserError(
                f'{str(self.path)!r} has the columns {header}, not {self.header}; go '
                'on without --resume, or in another folder'
            )
        unsure = rows[-1][: self._keys] if rows and torn else None
        return [row for row in rows if row[: self._keys] != unsure]


def _as_csv(rows: Iterable[Sequence]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows(rows)
    return file.getvalue()


def turns(
    *sides: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> np.ndarray:
    """(sides, rounds) seconds of each side, turn by turn, after a round to warm up."""

    def seconds(side: Callable[[], object]) -> float:
        started = clock()
        side()
        return clock() - started

    every = [[seconds(side) for side in sides] for _ in range(rounds + 1)]
    return np.array(every[1:]).T


def spread(values: np.ndarray) -> str:
    """Median (least to most)."""
    return f'{np.median(values):.3g} ({np.min(values):.3g} to {np.max(values):.3g})'


def in_process(script: str, *arguments: object, launcher: Sequence[str] = ()) -> object:
    """What a script prints last, as JSON, run in a process of its own."""
    command = [sys.executable, *launcher, script, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])
