"""What faster scoring does to scores: the change of each and of SROCC.

    python studies/score_accuracy.py meta_info_LIVEC.csv Images --out docs/results

On LIVE Challenge: all photos, and the test photos of split 01 of the table, which must
be that of the metric's training. JPEGs decoded at reduced scale are
those photos enlarged ``ENLARGED`` times (Lanczos) and saved at quality 95, because the
data set's own are too small to be reduced: the change is between the two ways to decode
the same file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from shared import livec, paths_of, study_parser, target, tested_places
from tqdm import tqdm

from metaiqa_plugin.cli.common import add_metric
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.score import correlate
from metaiqa_plugin.score.pipeline import score_images
from metaiqa_plugin.score.scorers import min_side, open_scorers
from metaiqa_plugin.score.sources import Reader

ENLARGED = 3
REDUCED = 'reduced JPEGs'
WAYS = {
    'torch fp32': ('torch', 'fp32'),
    'openvino fp32': ('openvino', 'fp32'),
    'torch bf16': ('torch', 'bf16'),
    'openvino bf16': ('openvino', 'bf16'),
}
HEADER = ('images', 'way', 'count', 'srocc', 'srocc_change', 'plcc', 'plcc_change')
HEADER += ('largest_change', 'mean_change', 'sd_of_change')


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    add_metric(parser)
    options = parser.parse_args(arguments)
    path = target(options, 'score_accuracy.csv')
    every = livec(options.table, options.images)
    paths = [str(photo) for photo in paths_of(every)]
    tested = tested_places(options.table, options.images, 1)
    scores = {name: _scored(paths, options.metric, name) for name in WAYS}
    rows = []
    for label, part in (('all', np.arange(len(every))), ('test, split 01', tested)):
        for name in WAYS:
            before, after = scores['torch fp32'][part], scores[name][part]
            rows.append((label, name, *_change(before, after, every.mos[part])))
    with tempfile.TemporaryDirectory() as folder:
        large = _enlarged([paths[place] for place in tested], folder)
        before = _scored(large, options.metric, 'openvino fp32')
        after = _scored(large, options.metric, 'openvino fp32', shrink=True)
    label = f'test, split 01, enlarged {ENLARGED} times'
    rows.append((label, REDUCED, *_change(before, after, every.mos[tested])))
    write_table(path, HEADER, rows)
    for row in rows:
        print(*row, sep='\t')


def _scored(
    paths: Sequence[str], metric: str, way: str, shrink: bool = False
) -> np.ndarray:
    engine, precision = WAYS[way]
    scorers = open_scorers([metric], engine=engine, precision=precision, device='cpu')
    reader = Reader(min_side=min_side(scorers) if shrink else None)
    scores = []
    for row in tqdm(score_images(paths, scorers, reader=reader), way, len(paths)):
        if row.error:
            raise UserError(f'{row.path} has no score: {row.error}')
        scores += row.scores
    return np.array(scores)


def _change(before: np.ndarray, after: np.ndarray, mos: np.ndarray) -> list:
    one, two = correlate(before, mos), correlate(after, mos)
    apart = after - before
    numbers = (two.srocc, two.srocc - one.srocc, two.plcc, two.plcc - one.plcc)
    numbers += (np.abs(apart).max(), apart.mean(), apart.std())
    return [len(mos), *(f'{number:.6f}' for number in numbers)]


def _enlarged(paths: Sequence[str], folder: str) -> list[str]:
    made = []
    for number, path in enumerate(tqdm(paths, 'enlarge')):
        photo = read_rgb(path)
        size = [ENLARGED * side for side in photo.size]
        made.append(str(Path(folder, f'{number:04}.jpg')))
        photo.resize(size, Image.Resampling.LANCZOS).save(made[-1], quality=95)
    return made


if __name__ == '__main__':
    sys.exit(run(main))
