"""Make a file that ships of a trained checkpoint, and print the figures of its card.

    python benchmarks/ship_checkpoint.py CHECKPOINT NAME --livec DIR

Writes metaiqa_plugin/weights/NAME.safetensors, float16 on disk, and tests it on
LIVE Challenge's split 1 (DIR as ``metaiqa prepare livec`` leaves it) before and after.
``make weights-rankiqa`` and ``make weights-hyperiqa`` train the checkpoints first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from torch import nn

from metaiqa_plugin.checkpoint import read_state_dict, sha256_of, write_state_dict
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.scoring import correlate, open_checkpoint, score_network

WEIGHTS = Path('metaiqa_plugin/weights')
PHOTOS = Path('metaiqa_plugin/photos/kodak24')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('name')
    parser.add_argument('--livec', type=Path, default=Path('datasets/livec'))
    options = parser.parse_args()
    table = str(options.livec / 'meta_info_livec.csv')
    images = str(options.livec / 'Images')
    rows = read_rows(DatabaseOptions(table, images, (0, 100), split_index=1), 'test')
    paths = [rows.path(index) for index in range(len(rows))]
    target = WEIGHTS / f'{options.name}.safetensors'
    before = score_network(_network(options.checkpoint), paths, 'as trained')
    state = read_state_dict(options.checkpoint)
    write_state_dict(target, state, half=True, overwrite=True)
    shipped = _network(str(target))
    after = score_network(shipped, paths, 'as shipped')
    for label, scores in (('as trained', before), ('as shipped', after)):
        found = correlate(scores, rows.mos.tolist())
        print(f'{label}: SROCC {found.srocc:.4f} PLCC {found.plcc:.4f}')
    print(f'largest change of a score by float16: {np.abs(before - after).max():.6f}')
    print(
        f'scores on the test photos: mean {after.mean():.3f} sd {after.std():.3f} '
        f'from {after.min():.3f} to {after.max():.3f}'
    )
    photos = [PHOTOS / name for name in ('01.webp', '08.webp', '20.webp', '23.webp')]
    golden = zip(photos, score_network(shipped, photos), strict=True)
    print('golden:', {photo.name: round(float(score), 4) for photo, score in golden})
    print(f'bytes: {target.stat().st_size}, sha256: {sha256_of(target)}')


def _network(path: str) -> nn.Module:
    return open_checkpoint(path).net


if __name__ == '__main__':
    main()
