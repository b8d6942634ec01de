"""Which subsets of BIQ2021 teach what holds elsewhere, and which way of training does.

    python studies/authentic_subsets.py datasets/biq2021/meta_info_biq2021.csv \
        datasets/biq2021/Images --features biq2021.npy --out docs/results

Leave one subset out, with heads alone: features are those of stages 5 and 6 with
ImageNet's weights at 500 pixels, computed once into --features (half an hour on two
cores). A head learns from the photos of the official training part of some subsets,
jointly or through the closed-form step (`update: exact`), and is tested on 1,500
training photos of the subset left out: without a label of it, and after the fit of
`metaiqa adapt` to labels of 70% of them, tested on the others, five draws. `own photos`
is a support vector regression from 1,000 photos of a subset to 500 others. No photo of
the official test part is used. Ten minutes on a core.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from shared import RowFile, features_of, paths_of, study_parser, target
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.errors import run
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import correlate
from metaiqa_plugin.train.adapt import train_head
from metaiqa_plugin.train.ridge import PENALTY, Labelled, fit_layer, ridge_change
from metaiqa_plugin.train.settings import HeadFirst

HEADER = ('left_out', 'learned_from', 'learner', 'seed', 'labels', 'srocc')
TESTED, DRAWS, COUNTS = 1500, 5, (0, 10, 50, 200)
STEPS, BATCH, RATE, DECAY = 500, 320, 3e-4, 0.01
TASKS, SUPPORT, QUERY = 4, 20, 60
JOBS = [
    ('ss01', ('ss03',), 'joint'),
    ('ss01', ('ss02', 'ss03'), 'joint'),
    ('ss01', ('ss03',), 'exact'),
    ('ss03', ('ss01',), 'joint'),
    ('ss03', ('ss01', 'ss02'), 'joint'),
    ('ss03', ('ss01',), 'exact'),
    ('ss02', ('ss01', 'ss03'), 'joint'),
    ('ss02', ('ss01', 'ss03'), 'exact'),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    parser.add_argument('--features', type=Path, required=True, help='.npy to keep')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    options = parser.parse_args(arguments)
    path = target(options, 'authentic_subsets.csv')
    keep_freed_memory()
    rows = read_rows(
        DatabaseOptions(
            options.table,
            options.images,
            split_index='official_split',
            task_column='subset',
            reference_column='img_name',
        )
    )
    subset = np.array([rows.tasks[task] for task in rows.task_of])
    features = torch.from_numpy(_features(options.features, rows))
    mos = torch.from_numpy(np.asarray(rows.mos, dtype=np.float32)).view(-1, 1)
    file = RowFile(path, HEADER, keys=4, resume=False)
    for name in np.unique(subset):
        file.add([_own_photos(features, mos, subset, name)])
    for seed in options.seeds:
        for left_out, learned, learner in JOBS:
            head = _head(features, mos, subset, learned, learner, seed)
            tested = _some(subset == left_out, TESTED)
            found = _tested(head, features[tested], mos[tested])
            key = (left_out, '+'.join(learned), learner, seed)
            file.add([(*key, count, round(found[count], 4)) for count in COUNTS])
            print(*key, *(f'{found[count]:.3f}' for count in COUNTS), flush=True)


def _features(path: Path, rows) -> np.ndarray:
    if not path.exists():
        network = MetaIQA(
            'tf_efficientnet_lite0',
            levels=(5, 6),
            input_size=500,
            pretrained='imagenet',
        )
        np.save(path, features_of(network, paths_of(rows), 'features'))
    return np.load(path)


def _some(where: np.ndarray, count: int) -> np.ndarray:
    return np.random.default_rng(7).permutation(np.flatnonzero(where))[:count]


def _own_photos(features: Tensor, mos: Tensor, subset: np.ndarray, name: str) -> tuple:
    places = _some(subset == name, TESTED)
    learned, tested = places[:1000], places[1000:]
    model = make_pipeline(StandardScaler(), SVR(C=0.3, epsilon=0.02))
    model.fit(features[learned].numpy(), mos[learned, 0].numpy())
    scores = model.predict(features[tested].numpy())
    srocc = correlate(scores, mos[tested, 0].numpy()).srocc
    print(name, 'own photos', f'{srocc:.3f}', flush=True)
    return name, name, 'own photos', 0, len(learned), round(srocc, 4)


def _head(features, mos, subset, learned, learner: str, seed: int) -> nn.Module:
    places = np.flatnonzero(np.isin(subset, learned))
    torch.manual_seed(seed)
    network = MetaIQA(
        'tf_efficientnet_lite0',
        levels=(5, 6),
        frozen=5,
        standardised=True,
        hidden=256,
        dropout=0.3,
        pretrained=False,
        input_size=500,
    )
    if learner == 'joint':
        settings = HeadFirst(STEPS, batch_size=BATCH, lr=RATE, weight_decay=DECAY)
        train_head(network, features[places], mos[places, 0].tolist(), settings, seed)
    else:
        network.head.restandardise(features[places])
        tasks = [np.flatnonzero(subset == name) for name in learned]
        _train_through_the_step(network.head, features, mos, tasks, seed)
    return network.head.eval()


def _train_through_the_step(head, features, mos, tasks, seed: int) -> None:
    generator = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    head.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(TASKS):
            task = tasks[generator.integers(len(tasks))]
            drawn = generator.choice(task, SUPPORT + QUERY, replace=False)
            hidden = head.hidden(features[drawn])
            given = Labelled(hidden, head.last(hidden), mos[drawn])
            support = Labelled(*(part[:SUPPORT] for part in given))
            query = Labelled(*(part[SUPPORT:] for part in given))
            change = ridge_change(support, PENALTY, slope=False)
            scores = torch.sigmoid(change.of(query.hidden, query.logits))
            (functional.mse_loss(scores, query.mos) / TASKS).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _tested(head: nn.Module, features: Tensor, mos: Tensor) -> dict[int, float]:
    hidden = head.hidden(features)
    found = dict.fromkeys(COUNTS, 0.0)
    for draw in range(DRAWS):
        order = np.random.default_rng([0, draw]).permutation(len(features))
        pool, asked = np.split(order, [int(0.7 * len(order))])
        for count in COUNTS:
            layer = copy.deepcopy(head.last)
            if count:
                fit_layer(layer, hidden[pool[:count]], mos[pool[:count]])
            scores = torch.sigmoid(layer(hidden[asked]))[:, 0].numpy()
            found[count] += correlate(scores, mos[asked, 0].numpy()).srocc / DRAWS
    return found


if __name__ == '__main__':
    sys.exit(run(main))
