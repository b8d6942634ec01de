"""Seeded train and test splits, named as pyiqa names their columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

__all__ = ['split_columns', 'split_flags']

SPLITS = 10
SPLIT_SEED = 123


def split_flags(count: int) -> tuple[list[str], np.ndarray]:
    """Ten random 80/20 splits of ``count`` things, seeded.

    Returns:
        the columns' names, ``ratio802_seed123_split_01`` ... ``_10``; and (10, count)
        bool, true for the test part, which has at least one where there are two.
    """
    generator = np.random.default_rng(SPLIT_SEED)
    tests = max(1, round(0.2 * count)) if count > 1 else 0
    flags = np.zeros((SPLITS, count), dtype=bool)
    for split in flags:
        split[generator.permutation(count)[:tests]] = True
    numbers = range(1, SPLITS + 1)
    return [f'ratio802_seed{SPLIT_SEED}_split_{n:02d}' for n in numbers], flags


def split_columns(
    names: Sequence[str], of_subsets: bool = False
) -> dict[str, dict[str, str]]:
    """Splits of sorted names, as ``{column: {name: 'train' or 'test'}}``.

    They are :func:`split_flags`; of subsets, up to ten different splits, a third of
    them to test, seeded: six subsets give ten of the fifteen ways to train on four and
    test on two; fewer subsets give as many splits as there are ways, at most ten.
    """
    ordered = sorted(names)
    columns, flags = split_flags(len(ordered))
    if of_subsets:
        tests = max(1, round(len(ordered) / 3)) if len(ordered) > 1 else 0
        ways = list(combinations(range(len(ordered)), tests))
        chosen = np.random.default_rng(SPLIT_SEED).permutation(len(ways))[:SPLITS]
        flags = [np.isin(range(len(ordered)), ways[way]) for way in chosen]
        columns = columns[: len(flags)]
    parts = np.where(flags, 'test', 'train').tolist()
    return {
        column: dict(zip(ordered, part, strict=True))
        for column, part in zip(columns, parts, strict=True)
    }
