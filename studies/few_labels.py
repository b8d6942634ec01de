"""What a few labels are worth: the fit of `metaiqa adapt`, from each start.

    python studies/few_labels.py data/LIVEC/meta_info_LIVEC.csv data/LIVEC/Images \
        --start metaiqa-prior [CHECKPOINT ...] --out docs/results

In each of the ten given splits some training photos are drawn, the last layer of the
start is fitted to their MOS as `metaiqa adapt` does it with fewer than 200 labels, and
the split's test photos are scored. The control, `ImageNet`, learns from the same labels
alone: a kernel ridge regression (RBF, gamma 1 / features, penalty .1, nothing searched)
on stages 5 and 6 with ImageNet's weights, standardised by all photos. A start that has
seen LIVE Challenge has seen the test photos. Five minutes on two cores for each start.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from shared import (
    features_of,
    livec,
    paths_of,
    study_parser,
    target,
    tested_places,
)
from sklearn.kernel_ridge import KernelRidge

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import correlate, open_metric
from metaiqa_plugin.train.ridge import fit_layer

COUNTS = (0, 5, 10, 20, 50, 100, 200)
SPLITS = 10
PENALTY = 0.1
HEADER = ('start', 'labels', 'srocc', 'plcc', 'sd_of_splits', 'splits_not_below_start')
CONTROL = 'ImageNet'

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Scores of the photos asked for, from the labels of those drawn: both as places."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    parser.add_argument('--start', nargs='+', default=['metaiqa-prior'])
    parser.add_argument('--draws', type=int, default=3)
    options = parser.parse_args(arguments)
    path = target(options, 'few_labels.csv')
    keep_freed_memory()
    rows = livec(options.table, options.images)
    mos = rows.mos.astype(float)
    found = []
    for start in (*options.start, CONTROL):
        make = _control if start == CONTROL else _fitted
        predict = make(start, paths_of(rows), mos)
        found += _all_splits(start, predict, mos, options)
        write_table(path, HEADER, found)


def _fitted(start: str, paths: Sequence, mos: np.ndarray) -> Predict:
    network = open_metric(start).net
    hidden = torch.from_numpy(features_of(network, paths, start))
    with torch.no_grad():
        hidden = network.head.hidden(hidden)
    labels = torch.from_numpy(mos).view(-1, 1)

    @torch.no_grad()
    def predict(drawn: np.ndarray, asked: np.ndarray) -> np.ndarray:
        layer = copy.deepcopy(network.head.last)
        if len(drawn):
            fit_layer(layer, hidden[drawn], labels[drawn])
        return torch.sigmoid(layer(hidden[asked]))[:, 0].numpy()

    return predict


def _control(_, paths: Sequence, mos: np.ndarray) -> Predict:
    network = MetaIQA(
        'tf_efficientnet_lite0', levels=(5, 6), input_size=500, pretrained='imagenet'
    )
    features = features_of(network, paths, CONTROL).astype(float)
    features -= features.mean(0)
    features /= np.maximum(features.std(0), 1e-3)

    def predict(drawn: np.ndarray, asked: np.ndarray) -> np.ndarray:
        if not len(drawn):
            return np.full(len(asked), np.nan)
        model = KernelRidge(alpha=PENALTY, kernel='rbf', gamma=1 / features.shape[1])
        mean = mos[drawn].mean()
        model.fit(features[drawn], mos[drawn] - mean)
        return mean + model.predict(features[asked])

    return predict


def _all_splits(start: str, predict: Predict, mos: np.ndarray, options) -> list[tuple]:
    agreement = np.zeros((len(COUNTS), SPLITS, 2))
    for split in range(SPLITS):
        test = tested_places(options.table, options.images, split + 1)
        pool = np.setdiff1d(np.arange(len(mos)), test)
        for draw in range(options.draws):
            order = np.random.default_rng([split, draw]).permutation(pool)
            for place, count in enumerate(COUNTS):
                found = correlate(predict(order[:count], test), mos[test])
                agreement[place, split] += [found.srocc, found.plcc]
    agreement /= options.draws
    rows = []
    for count, of_splits in zip(COUNTS, agreement, strict=True):
        srocc, plcc = of_splits.mean(0)
        ahead = int((of_splits[:, 0] >= agreement[0, :, 0]).sum())
        spread = of_splits[:, 0].std(ddof=1)
        numbers = (f'{number:.4f}' for number in (srocc, plcc, spread))
        rows.append((start, count, *numbers, ahead))
        print(*rows[-1], sep='\t', flush=True)
    return rows


if __name__ == '__main__':
    sys.exit(run(main))
