"""What a few labels are worth: a kernel ridge head on features that are not trained.

    python studies/few_labels.py data/LIVEC/meta_info_LIVEC.csv data/LIVEC/Images \
        --out docs/results

Features are what the heads of two networks take: stages 5 and 6 of ImageNet's weights,
and of `metaiqa-prior`. In each of the ten given splits some training photos are drawn,
and a kernel ridge regression (RBF, gamma 1 / features, penalty .1, nothing searched)
learns their MOS, from the prior also beside its own score: a line through the labels'
scores, and the regression on what that leaves. Tested on the split's test part. Five
minutes on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

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
from metaiqa_plugin.score import correlate

COUNTS = (10, 20, 50, 100, 200)
SPLITS = 10
PENALTY = 0.1
HEADER = ('labels', 'from', 'srocc', 'sd_of_splits', 'splits_ahead_of_imagenet')
IMAGENET, PRIOR, WITH_SCORE = 'ImageNet', 'prior', 'prior and its score'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    parser.add_argument('--draws', type=int, default=20)
    options = parser.parse_args(arguments)
    path = target(options, 'few_labels.csv')
    keep_freed_memory()
    rows = livec(options.table, options.images)
    prior = MetaIQA(pretrained='prior')
    given = {name: getattr(prior.config, name) for name in ('backbone', 'levels')}
    imagenet = MetaIQA(**given, input_size=500, pretrained='imagenet')
    networks = {IMAGENET: imagenet, PRIOR: prior}
    features = {
        name: features_of(network, paths_of(rows), name)
        for name, network in networks.items()
    }
    with torch.no_grad():
        score = prior.head(torch.from_numpy(features[PRIOR]))[:, 0].double().numpy()
    features = {name: _standardised(of) for name, of in features.items()}
    found = _all_splits(options, features, score, rows.mos.astype(float))
    write_table(path, HEADER, _summary(found))


def _standardised(features: np.ndarray) -> np.ndarray:
    """By all photos: no label goes into it."""
    deviation = np.maximum(features.std(0, ddof=1), 1e-3)
    return ((features - features.mean(0)) / deviation).astype(float)


def _all_splits(options, features, score, mos) -> dict[tuple, np.ndarray]:
    """SROCC (splits,), mean of the draws, by labels and by what is learned from."""
    found: dict[tuple, np.ndarray] = {}
    for split in range(SPLITS):
        test = tested_places(options.table, options.images, split + 1)
        pool = np.setdiff1d(np.arange(len(mos)), test)
        for draw in range(options.draws):
            order = np.random.default_rng([split, draw]).permutation(pool)
            for count in COUNTS:
                chosen = order[:count]
                predictions = _predictions(features, score, mos[chosen], chosen, test)
                for name, predicted in predictions:
                    srocc = correlate(predicted, mos[test]).srocc
                    each = found.setdefault((count, name), np.zeros(SPLITS))
                    each[split] += srocc / options.draws
    return found


def _predictions(
    features: Mapping[str, np.ndarray],
    score: np.ndarray,
    labels: np.ndarray,
    chosen: np.ndarray,
    test: np.ndarray,
) -> Iterator[tuple[str, np.ndarray]]:
    for name, of in features.items():
        yield name, labels.mean() + _ridge(of[chosen], of[test], labels - labels.mean())
    line = np.polynomial.Polynomial.fit(score[chosen], labels, 1)
    of = features[PRIOR]
    rest = labels - line(score[chosen])
    yield WITH_SCORE, line(score[test]) + _ridge(of[chosen], of[test], rest)


def _ridge(learned: np.ndarray, tested: np.ndarray, labels: np.ndarray) -> np.ndarray:
    gamma = 1 / learned.shape[1]
    model = KernelRidge(alpha=PENALTY, kernel='rbf', gamma=gamma)
    return model.fit(learned, labels).predict(tested)


def _summary(found: Mapping[tuple, np.ndarray]) -> list[tuple]:
    rows = []
    for (count, name), sroccs in sorted(found.items()):
        ahead = int((sroccs > found[count, IMAGENET]).sum())
        srocc, spread = sroccs.mean(), sroccs.std(ddof=1)
        rows.append((count, name, f'{srocc:.4f}', f'{spread:.4f}', ahead))
        print(*rows[-1], sep='\t')
    return rows


if __name__ == '__main__':
    sys.exit(run(main))
