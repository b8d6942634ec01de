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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from shared import livec, paths_of

from metaiqa_plugin import weights
from metaiqa_plugin.archs.checkpoint import read_state_dict, write_state_dict
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import sha256_of
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.photos import carried_photos
from metaiqa_plugin.score import correlate, open_metric, score_network

WEIGHTS = Path(weights.__file__).parent
GOLDEN = ('01.webp', '08.webp', '20.webp', '23.webp')
LARGEST_CHANGE = 1e-3
LARGEST_FILE = 12e6


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('name')
    parser.add_argument('--table', required=True)
    parser.add_argument('--images', required=True)
    parser.add_argument('--split', type=int, help='its test photos; without it: all')
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rows = livec(options.table, options.images, options.split)
    kodak = carried_photos()
    photos = [*paths_of(rows), *kodak]
    target = WEIGHTS / f'{options.name}.safetensors'
    trained = score_network(open_metric(options.checkpoint).net, photos, 'as trained')
    state = read_state_dict(options.checkpoint)
    write_state_dict(target, state, half=True, overwrite=True)
    shipped = score_network(open_metric(str(target)).net, photos, 'in float16')
    change = np.abs(trained - shipped).max()
    print(f'largest change of a score by float16: {change:.6f}')
    if change > LARGEST_CHANGE:
        write_state_dict(target, state, overwrite=True)
        shipped = trained
        print('that is too much: float32 on disk')
    for label, scores in (('as trained', trained), ('as shipped', shipped)):
        found = correlate(scores[: len(rows)], rows.mos)
        print(f'{label}: SROCC {found.srocc:.4f} PLCC {found.plcc:.4f}')
    parts = {'LIVE Challenge': shipped[: len(rows)], 'Kodak': shipped[len(rows) :]}
    for name, scores in parts.items():
        print(
            f'{len(scores)} photos of {name}: mean {scores.mean():.3f} sd '
            f'{scores.std():.3f} from {scores.min():.3f} to {scores.max():.3f}'
        )
    of_kodak = dict(zip((photo.name for photo in kodak), parts['Kodak'], strict=True))
    print('golden:', {name: round(float(of_kodak[name]), 4) for name in GOLDEN})
    size = target.stat().st_size
    print(f'bytes: {size}, sha256: {sha256_of(target)}')
    return int(size > LARGEST_FILE)


if __name__ == '__main__':
    sys.exit(run(main))
