"""Which photos of a database show one scene: bursts, and one photo twice.

    metaiqa prepare biq2021 datasets/biq2021
    python studies/near_duplicates.py datasets/biq2021/meta_info_biq2021.csv \
        datasets/biq2021/Images --out groups.csv
    metaiqa prepare biq2021 datasets/biq2021 --groups groups.csv --overwrite

Photos whose perceptual hashes differ in few of 64 bits are near-duplicates; a group is
what such pairs connect. The csv has a row for each photo in a group of two or more, and
``metaiqa prepare`` keeps a group in one part of a split. Says for several distances how
many pairs and groups there are, how many pairs join two subsets (where photos are from
different sources these are mistakes, and about as many within subsets are, too), and
how many test photos of the official split have a near-duplicate among the training
photos. Half a minute on a core for 12,000 photos of 512x512.

The hash is that of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010: which of the 8x8 lowest frequencies of the DCT of the photo, gray and
at 32x32 pixels, are above their median. It forgives exposure, blur and noise, and
little movement of the camera: photos of one scene from elsewhere stay apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from metaiqa_plugin.cli.common import add_overwrite
from metaiqa_plugin.data.images import ImagesOnDisk, as_seen, decoded
from metaiqa_plugin.data.labels import CsvTable, image_and_mos
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import check_output, write_table
from metaiqa_plugin.parallel import available_cores, parallel_map

SIDE, LOWEST = 32, 8
DISTANCE = 8
SHOWN = (0, 2, 4, 6, 8, 10, 12)
AT_ONCE = 500


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table')
    parser.add_argument('images', type=Path)
    parser.add_argument('--distance', type=int, default=DISTANCE, metavar='BITS')
    parser.add_argument('--first', type=int, metavar='N', help='so many photos only')
    parser.add_argument('--out', type=Path, default=Path('groups.csv'))
    add_overwrite(parser)
    options = parser.parse_args(arguments)
    check_output(options.out, options.overwrite)
    table = CsvTable(options.table, 'table')
    cells = [row for _, row in table.rows()][: options.first]
    names = [row[image_and_mos(table)[0]] for row in cells]
    hashes = hashes_of(options.images, names)
    pairs, distances = near_pairs(hashes, max(*SHOWN, options.distance))
    subsets = _values(table, cells, 'subset')
    parts = _values(table, cells, 'official_split')
    print('bits  pairs  groups  photos  largest  across subsets  test with train')
    for most in sorted({*SHOWN, options.distance}):
        near = pairs[distances <= most]
        sizes = np.bincount(groups_of(near, len(names)))
        figures = (
            len(near),
            (sizes > 1).sum(),
            sizes[sizes > 1].sum(),
            sizes.max(),
            across(near, subsets),
            len(seen_in_training(near, parts)),
        )
        print(f'{most:4}', *(f'{figure:7}' for figure in figures))
    groups = groups_of(pairs[distances <= options.distance], len(names))
    write_table(options.out, ('img_name', 'group'), _rows(names, groups))


def hashes_of(folder: Path, names: Sequence[str]) -> np.ndarray:
    """(N,) uint64, the hash of each photo.

    Raises:
        UserError: a photo that is missing or cannot be read.
    """
    disk = ImagesOnDisk(folder)
    paths = [folder / (disk.find(name) or name) for name in names]
    return np.array(list(parallel_map(perceptual_hash, paths, available_cores())))


def perceptual_hash(path: Path) -> np.uint64:
    """The 64 bits of a photo; equal ones for photos that look alike when small."""
    gray = decoded(path, _small)
    lowest = cv2.dct(gray)[:LOWEST, :LOWEST].ravel()
    return np.packbits(lowest > np.median(lowest)).view(np.uint64)[0]


def _small(image: Image.Image) -> np.ndarray:
    image.draft('L', (4 * SIDE, 4 * SIDE))  # a JPEG is decoded no larger than needed
    gray = as_seen(image).convert('L').resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(gray, np.float32)


def near_pairs(hashes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(P, 2) places of the photos whose hashes differ in at most so many bits; (P,)."""
    pairs, distances = [], []
    for start in range(0, len(hashes), AT_ONCE):
        rows = hashes[start : start + AT_ONCE, None]
        bits = np.bitwise_count(rows ^ hashes[None, start:])
        first, second = np.nonzero(np.triu(bits <= most, k=1))
        pairs.append(np.stack([first, second], axis=1) + start)
        distances.append(bits[first, second])
    return np.concatenate(pairs), np.concatenate(distances)


def groups_of(pairs: np.ndarray, count: int) -> np.ndarray:
    """(count,) number of each photo's group, which pairs connect."""
    ones = np.ones(len(pairs))
    graph = coo_matrix((ones, tuple(pairs.T)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def across(pairs: np.ndarray, values: np.ndarray) -> int:
    """How many pairs have two values."""
    return int((values[pairs[:, 0]] != values[pairs[:, 1]]).sum())


def seen_in_training(pairs: np.ndarray, parts: np.ndarray) -> set[int]:
    """Places of the test photos in a pair with a training photo."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    here, there = parts[both[:, 0]] == 'test', parts[both[:, 1]] == 'train'
    return set(both[here & there, 0].tolist())


def _values(table: CsvTable, cells: Sequence[list[str]], column: str) -> np.ndarray:
    """Of a column, blank where there is none."""
    place = table.column(column, None, (column,))
    return np.array(['' if place is None else row[place] for row in cells])


def _rows(names: Sequence[str], groups: np.ndarray) -> list[tuple[str, str]]:
    """Name and group of each photo that is in one; a group is named by its first."""
    first = {}
    for name, group in zip(names, groups.tolist(), strict=True):
        first.setdefault(group, name)
    several = np.bincount(groups) > 1
    rows = zip(names, groups.tolist(), strict=True)
    named = [(name, first[group]) for name, group in rows if several[group]]
    return sorted(named, key=lambda row: row[::-1])


if __name__ == '__main__':
    sys.exit(run(main))
