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

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from tqdm import tqdm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score.agreement import correlate

COUNTS = (10, 20, 50, 100, 200)
SPLITS = 10
PENALTY = 0.1
HEADER = ('labels', 'from', 'srocc', 'sd_of_splits', 'splits_ahead_of_imagenet')
IMAGENET, PRIOR, WITH_SCORE = 'ImageNet', 'prior', 'prior and its score'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table')
    parser.add_argument('images')
    parser.add_argument('--draws', type=int, default=20)
    parser.add_argument('--out', type=Path, default=Path())
    options = parser.parse_args()
    keep_freed_memory()
    rows = read_rows(DatabaseOptions(options.table, options.images, (0, 100)))
    paths = [rows.path(index) for index in range(len(rows))]
    prior = MetaIQA(pretrained='prior')
    given = {name: getattr(prior.config, name) for name in ('backbone', 'levels')}
    imagenet = MetaIQA(**given, input_size=500, pretrained='imagenet')
    features = {IMAGENET: _features(imagenet, paths), PRIOR: _features(prior, paths)}
    with torch.no_grad():
        score = prior.head(torch.from_numpy(features[PRIOR]))[:, 0].double().numpy()
    features = {name: _standardised(of) for name, of in features.items()}
    mos = rows.mos.astype(float)
    found = _all_splits(options, paths, features, score, mos)
    write_table(options.out / 'few_labels.csv', HEADER, _summary(found))


def _features(network: MetaIQA, paths: list[Path]) -> np.ndarray:
    """(images, features) float32: what the head takes."""
    network.eval()
    rows = []
    with torch.inference_mode():
        for path in tqdm(paths, 'features', unit='image'):
            pixels = torch.from_numpy(np.array(read_photo(path)))
            image = pixels.permute(2, 0, 1)[None].float().div_(255)
            views = network.normalised(network.views(image))
            rows.append(network.backbone(views)[0].numpy())
    return np.stack(rows)


def _standardised(features: np.ndarray) -> np.ndarray:
    """By all photos: no label goes into it."""
    deviation = np.maximum(features.std(0, ddof=1), 1e-3)
    return ((features - features.mean(0)) / deviation).astype(float)


def _all_splits(options, paths, features, score, mos) -> dict[tuple, np.ndarray]:
    """SROCC (splits,), mean of the draws, by labels and by what is learned from."""
    place = {path: index for index, path in enumerate(paths)}
    found: dict[tuple, np.ndarray] = {}
    for split in range(SPLITS):
        where = DatabaseOptions(
            options.table, options.images, (0, 100), split_index=split + 1
        )
        part = read_rows(where, 'test')
        test = np.array([place[part.path(index)] for index in range(len(part))])
        pool = np.setdiff1d(np.arange(len(mos)), test)
        for draw in range(options.draws):
            order = np.random.default_rng([split, draw]).permutation(pool)
            for count in COUNTS:
                chosen = order[:count]
                for name, predicted in _predictions(
                    features, score, mos[chosen], chosen, test
                ):
                    srocc = correlate(predicted, mos[test]).srocc
                    each = found.setdefault((count, name), np.zeros(SPLITS))
                    each[split] += srocc / options.draws
    return found


def _predictions(features, score, labels, chosen, test):
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


def _summary(found: dict[tuple, np.ndarray]) -> list[tuple]:
    rows = []
    for (count, name), sroccs in sorted(found.items()):
        ahead = int((sroccs > found[count, IMAGENET]).sum())
        srocc, spread = sroccs.mean(), sroccs.std(ddof=1)
        rows.append((count, name, f'{srocc:.4f}', f'{spread:.4f}', ahead))
        print(*rows[-1], sep='\t')
    return rows


if __name__ == '__main__':
    main()
