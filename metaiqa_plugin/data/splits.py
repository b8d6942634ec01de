"""Seeded train and test splits, named as pyiqa names their columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

__all__ = ['split_columns', 'split_flags', 'subset_split_columns']

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
    return [_column(number) for number in range(1, SPLITS + 1)], flags


def split_columns(references: Sequence[str]) -> dict[str, dict[str, str]]:
    """:func:`split_flags` of sorted references, as ``{column: {ref: part}}``.

    Parts are ``'train'`` and ``'test'``.
    """
    ordered = sorted(references)
    names, flags = split_flags(len(ordered))
    return {
        column: _parts(ordered, {ordered[index] for index in np.flatnonzero(split)})
        for column, split in zip(names, flags, strict=True)
    }


def subset_split_columns(subsets: Sequence[str]) -> dict[str, dict[str, str]]:
    """Up to ten different splits, a third of the subsets to test, seeded.

    Six subsets give ten of the fifteen ways to train on four and test on two; fewer
    subsets give as many splits as there are ways, at most ten. Columns are named as
    those of :func:`split_columns`.
    """
    ordered = sorted(subsets)
    tests = max(1, round(len(ordered) / 3)) if len(ordered) > 1 else 0
    ways = list(combinations(ordered, tests))
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(ways))
    return {
        _column(number): _parts(ordered, set(ways[index]))
        for number, index in enumerate(shuffled[:SPLITS], start=1)
    }


def _column(number: int) -> str:
    return f'ratio802_seed{SPLIT_SEED}_split_{number:02d}'


def _parts(names: Sequence[str], tests: set[str]) -> dict[str, str]:
    return {name: 'test' if name in tests else 'train' for name in names}
