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

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from shared import (
    features_of,
    livec,
    paths_of,
    study_parser,
    target,
    tested_places,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import correlate

BACKBONE = 'tf_efficientnet_lite0'
STAGES = range(1, 8)
SIZES = (224, 352, 500, 640)
PARTS = 5
POOLED = ('mean', 'deviation')
CHOICES = [
    *(((stage,), POOLED) for stage in STAGES),
    *((stages, POOLED) for stages in ((3, 4, 5, 6, 7), (4, 5, 6), (5, 6), (5, 7))),
    ((5, 6), ('mean',)),
    ((5, 6), ('deviation',)),
]
HEADER = ('size', 'stages', 'pooled', 'srocc', 'plcc')


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    parser.add_argument('--sizes', type=int, nargs='+', default=SIZES)
    options = parser.parse_args(arguments)
    path = target(options, 'frozen_features.csv')
    keep_freed_memory()
    rows = livec(options.table, options.images)
    mos = rows.mos.astype(float)
    splits = range(1, PARTS + 1)
    parts = [tested_places(options.table, options.images, split) for split in splits]
    found = []
    for size in options.sizes:
        features = _features(paths_of(rows), size)
        for stages, pooled in CHOICES:
            chosen = [features[stage, name] for stage in stages for name in pooled]
            agreement = _left_out(np.concatenate(chosen, axis=1), mos, parts)
            label = '+'.join(str(stage) for stage in stages)
            found.append((size, label, '+'.join(pooled), *agreement))
            print(*found[-1], sep='\t', flush=True)
        write_table(path, HEADER, found)


def _features(paths: Sequence[Path], size: int) -> dict[tuple[int, str], np.ndarray]:
    """(images, channels) of each stage and statistic."""
    network = MetaIQA(BACKBONE, levels=STAGES, pretrained='imagenet', input_size=size)
    features = features_of(network, paths, f'{size} pixels')
    widths = np.repeat(network.backbone.channels, len(POOLED))
    parts = np.split(features, np.cumsum(widths)[:-1], axis=1)
    names = [(stage, name) for stage in STAGES for name in POOLED]
    return dict(zip(names, parts, strict=True))


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
    sys.exit(run(main))
