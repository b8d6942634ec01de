"""Cut the training part of a split into five, to choose a recipe within it.

    python studies/recipe_parts.py data/LIVEC/meta_info_LIVEC.csv

Writes ``meta_info_parts.csv`` beside the table: the rows that split 1 trains on, with
five splits of them, each of which tests on another fifth. Nothing in it is of split 1's
test part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from shared import write_frame

from metaiqa_plugin.cli.common import add_overwrite, add_seed
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import check_output

COLUMN = 'ratio802_seed123_split_{:02d}'
PARTS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table', type=Path)
    parser.add_argument('--split', type=int, default=1)
    add_seed(parser)
    add_overwrite(parser, 'replace meta_info_parts.csv')
    options = parser.parse_args(arguments)
    path = options.table.with_name('meta_info_parts.csv')
    check_output(path, options.overwrite)
    parts = parts_of(pd.read_csv(options.table), options.split, options.seed)
    write_frame(path, parts, digits=None)
    print(f'{path}: {len(parts)} rows, {PARTS} splits')


def parts_of(table: pd.DataFrame, split: int, seed: int) -> pd.DataFrame:
    """The rows that ``split`` trains on, with ``PARTS`` splits of their own."""
    rows = table[table[COLUMN.format(split)] == 'train']
    kept = [name for name in rows.columns if not name.startswith('ratio')]
    parts = rows[kept].reset_index(drop=True)
    order = np.random.default_rng(seed).permutation(len(parts))
    for number, tested in enumerate(np.array_split(order, PARTS), start=1):
        flags = np.full(len(parts), 'train', dtype=object)
        flags[tested] = 'test'
        parts[COLUMN.format(number)] = flags
    return parts


if __name__ == '__main__':
    sys.exit(run(main))
