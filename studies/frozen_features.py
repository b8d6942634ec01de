"""What an untrained backbone knows of quality: its stages, image sizes, statistics.

    python studies/frozen_features.py data/LIVEC/meta_info_parts.csv \
        data/LIVEC/Images --out docs/results

Features are means and standard deviations of the maps of each stage with ImageNet's
weights, at several sizes of the image. A support vector regression (RBF kernel, C = 3,
epsilon = 0.02, features standardised) learns MOS from them; its predictions for the
parts of the table (see recipe_parts.py), each left out once, are put together and
compared with MOS. Twenty minutes on a core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from tqdm import tqdm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import correlate

BACKBONE = 'tf_efficientnet_lite0'
STAGES = 7
SIZES = (224, 352, 500, 640)
PARTS = 5
POOLED = ('mean', 'deviation')
CHOICES = [
    *(((stage,), POOLED) for stage in range(1, STAGES + 1)),
    *((stages, POOLED) for stages in ((3, 4, 5, 6, 7), (4, 5, 6), (5, 6), (5, 7))),
    ((5, 6), ('mean',)),
    ((5, 6), ('deviation',)),
]
HEADER = ('size', 'stages', 'pooled', 'srocc', 'plcc')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table')
    parser.add_argument('images')
    parser.add_argument('--sizes', type=int, nargs='+', default=SIZES)
    parser.add_argument('--out', type=Path, default=Path())
    options = parser.parse_args()
    keep_freed_memory()
    rows = read_rows(DatabaseOptions(options.table, options.images, (0, 100)))
    paths = [rows.path(index) for index in range(len(rows))]
    mos = rows.mos.astype(float)
    parts = _parts(options.table, options.images, paths)
    found = []
    for size in options.sizes:
        features = _features(paths, size)
        for stages, pooled in CHOICES:
            chosen = [features[stage, name] for stage in stages for name in pooled]
            agreement = _left_out(np.concatenate(chosen, axis=1), mos, parts)
            label = '+'.join(str(stage) for stage in stages)
            found.append((size, label, '+'.join(pooled), *agreement))
            print(*found[-1], sep='\t', flush=True)
        write_table(options.out / 'frozen_features.csv', HEADER, found)


def _parts(table: str, images: str, paths: Sequence[Path]) -> list[np.ndarray]:
    """Places of the images that each split tests on."""
    place = {path: index for index, path in enumerate(paths)}
    parts = []
    for number in range(1, PARTS + 1):
        options = DatabaseOptions(table, images, (0, 100), split_index=number)
        rows = read_rows(options, 'test')
        parts.append(np.array([place[rows.path(i)] for i in range(len(rows))]))
    return parts


def _features(paths: Sequence[Path], size: int) -> dict[tuple[int, str], np.ndarray]:
    """(images, channels) of each stage and statistic."""
    network = MetaIQA(
        BACKBONE,
        levels=range(1, STAGES + 1),
        pretrained='imagenet',
        input_size=size,
    ).eval()
    rows = []
    with torch.no_grad():
        for path in tqdm(paths, f'{size} pixels', unit='image'):
            pixels = torch.from_numpy(np.array(read_photo(path)))
            image = pixels.permute(2, 0, 1)[None].float().div_(255)
            views = network.normalised(network.views(image))
            rows.append(network.backbone(views)[0].numpy())
    features = np.stack(rows)
    named = {}
    start = 0
    for stage, width in enumerate(network.backbone.channels, start=1):
        for name in POOLED:
            named[stage, name] = features[:, start : start + width]
            start += width
    return named


def _left_out(
    features: np.ndarray, mos: np.ndarray, parts: Sequence[np.ndarray]
) -> tuple[float, float]:
    predicted = np.zeros(len(mos))
    for part in parts:
        learned = np.setdiff1d(np.arange(len(mos)), part)
        model = make_pipeline(StandardScaler(), SVR(C=3, epsilon=0.02))
        model.fit(features[learned], mos[learned])
        predicted[part] = model.predict(features[part])
    found = correlate(predicted, mos)
    return round(found.srocc, 4), round(found.plcc, 4)


if __name__ == '__main__':
    main()
