"""Make a file that ships of a trained checkpoint, and print the figures of its card.

    python studies/ship_checkpoint.py CHECKPOINT NAME --table TABLE --images DIR \
        [--split 1]

Writes metaiqa_plugin/weights/NAME.safetensors and scores LIVE Challenge with it: the
photos that the split tests on, or all of them. Numbers are float16 on disk, unless that
changes a score by more than a thousandth; then they are float32.
``make weights``, ``weights-prior``, ``weights-rankiqa`` and ``weights-hyperiqa`` train
the checkpoints first.

Exit code 1: the file has more than 12 MB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from torch import nn

from metaiqa_plugin.archs.checkpoint import read_state_dict, write_state_dict
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.files import sha256_of
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.photos import carried_photos
from metaiqa_plugin.score import correlate, open_metric, score_network

WEIGHTS = Path('metaiqa_plugin/weights')
GOLDEN = ('01.webp', '08.webp', '20.webp', '23.webp')
LARGEST_CHANGE = 1e-3
LARGEST_FILE = 12e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('name')
    parser.add_argument('--table', required=True)
    parser.add_argument('--images', required=True)
    parser.add_argument('--split', type=int, help='its test photos; without it: all')
    options = parser.parse_args()
    keep_freed_memory()
    block = DatabaseOptions(
        options.table, options.images, (0, 100), split_index=options.split
    )
    rows = read_rows(block, 'test')
    livec = [rows.path(index) for index in range(len(rows))]
    kodak = list(carried_photos())
    target = WEIGHTS / f'{options.name}.safetensors'
    trained = score_network(_network(options.checkpoint), livec + kodak, 'as trained')
    state = read_state_dict(options.checkpoint)
    write_state_dict(target, state, half=True, overwrite=True)
    shipped = score_network(_network(str(target)), livec + kodak, 'in float16')
    change = np.abs(trained - shipped).max()
    print(f'largest change of a score by float16: {change:.6f}')
    if change > LARGEST_CHANGE:
        write_state_dict(target, state, overwrite=True)
        shipped = trained
        print('that is too much: float32 on disk')
    for label, scores in (('as trained', trained), ('as shipped', shipped)):
        found = correlate(scores[: len(livec)], rows.mos.tolist())
        print(f'{label}: SROCC {found.srocc:.4f} PLCC {found.plcc:.4f}')
    parts = {'LIVE Challenge': shipped[: len(livec)], 'Kodak': shipped[len(livec) :]}
    for name, scores in parts.items():
        print(
            f'{len(scores)} photos of {name}: mean {scores.mean():.3f} sd '
            f'{scores.std():.3f} from {scores.min():.3f} to {scores.max():.3f}'
        )
    of_kodak = zip(kodak, parts['Kodak'], strict=True)
    print(
        'golden:', {p.name: round(float(s), 4) for p, s in of_kodak if p.name in GOLDEN}
    )
    size = target.stat().st_size
    print(f'bytes: {size}, sha256: {sha256_of(target)}')
    return int(size > LARGEST_FILE)


def _network(path: str) -> nn.Module:
    return open_metric(path).net


if __name__ == '__main__':
    sys.exit(main())
