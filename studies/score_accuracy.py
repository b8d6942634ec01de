"""What faster scoring does to scores: the change of each and of SROCC.

    python studies/score_accuracy.py meta_info_LIVEC.csv Images --out docs/results

On LIVE Challenge: all photos, and the test photos of split 01 of the table, which must
be that of the metric's training. JPEGs decoded at reduced scale are
those photos enlarged ``ENLARGED`` times (Lanczos) and saved at quality 95, because the
data set's own are too small to be reduced: the change is between the two ways to decode
the same file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.files import write_table
from metaiqa_plugin.score import correlate
from metaiqa_plugin.score.pipeline import score_images
from metaiqa_plugin.score.scorers import min_side, open_scorers
from metaiqa_plugin.score.sources import Reader

SPLIT = 'ratio802_seed123_split_01'
TEST = 'test'
ENLARGED = 3
WAYS = {
    'torch fp32': ('torch', 'fp32'),
    'openvino fp32': ('openvino', 'fp32'),
    'torch bf16': ('torch', 'bf16'),
    'openvino bf16': ('openvino', 'bf16'),
}
HEADER = ('images', 'way', 'count', 'srocc', 'srocc_change', 'plcc', 'plcc_change')
HEADER += ('largest_change', 'mean_change', 'sd_of_change')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table', type=Path)
    parser.add_argument('images', type=Path)
    parser.add_argument('--metric', default='metaiqa')
    parser.add_argument('--out', default='.')
    options = parser.parse_args()
    table, images = options.table, options.images
    every = read_rows(DatabaseOptions(str(table), str(images), (0, 100)))
    tested = _tested(table, every)
    paths = [str(images / row.image) for row in every]
    scores = {
        name: _scored(paths, options.metric, *way, label=name)
        for name, way in WAYS.items()
    }
    mos = np.array([row.mos for row in every])
    rows = []
    for label, part in (('all', np.full(len(every), True)), ('test, split 01', tested)):
        for name in WAYS:
            before, after = scores['torch fp32'][part], scores[name][part]
            rows.append((label, name, *_change(before, after, mos[part])))
    with tempfile.TemporaryDirectory() as folder:
        large = _enlarged(
            [path for path, test in zip(paths, tested, strict=True) if test], folder
        )
        way = WAYS['openvino fp32']
        before = _scored(large, options.metric, *way, label='enlarged')
        after = _scored(large, options.metric, *way, label='reduced', shrink=True)
    label = f'test, split 01, enlarged {ENLARGED} times'
    rows.append((label, 'reduced JPEGs', *_change(before, after, mos[tested])))
    write_table(Path(options.out, 'score_accuracy.csv'), HEADER, rows)
    for row in rows:
        print(*row, sep='\t')


def _tested(table: Path, every) -> np.ndarray:
    import pandas as pd

    flags = pd.read_csv(table).set_index('img_name')[SPLIT]
    return np.array([flags[row.image] == TEST for row in every])


def _scored(
    paths: list[str],
    metric: str,
    engine: str,
    precision: str,
    label: str,
    shrink: bool = False,
) -> np.ndarray:
    scorers = open_scorers([metric], engine=engine, precision=precision, device='cpu')
    reader = Reader(min_side=min_side(scorers) if shrink else None)
    rows = tqdm(score_images(paths, scorers, reader=reader), label, len(paths))
    return np.array([row.scores[0] for row in rows])


def _change(before: np.ndarray, after: np.ndarray, mos: np.ndarray) -> list:
    one, two = correlate(before, mos), correlate(after, mos)
    apart = after - before
    numbers = (two.srocc, two.srocc - one.srocc, two.plcc, two.plcc - one.plcc)
    numbers += (np.abs(apart).max(), apart.mean(), apart.std())
    return [len(mos), *(f'{number:.6f}' for number in numbers)]


def _enlarged(paths: list[str], folder: str) -> list[str]:
    made = []
    for number, path in enumerate(tqdm(paths, 'enlarge')):
        photo = read_rgb(path)
        size = [ENLARGED * side for side in photo.size]
        made.append(str(Path(folder, f'{number:04}.jpg')))
        photo.resize(size, Image.Resampling.LANCZOS).save(made[-1], quality=95)
    return made


if __name__ == '__main__':
    main()
