"""Ways to meta-train, weighed against each other at equal image-steps.

    python studies/meta_variants.py --kodak data/kodak --unseen data/unseen \
        --livec datasets/livec --out variants

Every variant trains the network of options/train/MetaIQA/metaiqa_kodak.yml on the same
synthetic database with the changes listed in VARIANTS, until IMAGE_STEPS images have
gone through forward and backward. Then, with no image of training:

- validation: other photos under distortions that training had not (TID2013's own types
  and sequences of types, see the header of the results): SROCC over all images, mean
  SROCC within a type, and SROCC after adaptation to LABELS labelled images of a third
  of the photos, tested on the others. ``choose`` is the mean of the first and the last.
- test: every second of LIVE Challenge's photos, 581; SROCC without a label of it, and
  after adaptation to LABELS of them, tested on the others. Nothing is chosen by it.

A row is written as soon as it is known; rows that are there are not computed again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from shared import RowFile, paths_of, tensor_of
from tqdm import tqdm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_resized
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.errors import run
from metaiqa_plugin.score import correlate
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt
from metaiqa_plugin.train.options import read_options
from metaiqa_plugin.train.run import train

BASE = Path(__file__).parents[1] / 'options/train/MetaIQA/metaiqa_kodak.yml'
IMAGE_STEPS = 6400
K = 5
LABELS = 50
DRAWS = 2
RESIZE, CROP = 160, 128
SLOW = {'alpha': 1e-4, 'alpha_head': 1e-3}
FASTEST = {'alpha': 1e-3, 'alpha_head': 1e-2}
FAST = {'alpha': 3e-4, 'alpha_head': 3e-3}
"""Eq. 8 averages over k tasks what joint training does one after the other."""
BEST_OUTER = {'type': 'SGD', 'lr': 1.0}

PAPER = {'alpha': 1e-4, 'alpha_head': None, 'steps': 6, 'steps_see': 'whole'}
PAPER |= {'weight_decay': 1e-5}
PAPER_STEPS = K * 6 * (16 + 16)

VARIANTS: dict[str, dict] = {
    'ImageNet only': {'image_steps': 0},
    'bilevel': {},
    'bilevel, alpha 1e-4': {'meta': SLOW},
    'bilevel, alpha 1e-3': {'meta': FASTEST},
    'joint': {'meta': {'update': 'joint'}},
    'single': {'meta': {'update': 'single'}},
    'paper': {
        'image_steps_per_update': PAPER_STEPS,
        'meta': PAPER,
        'optim': {'type': 'SGD', 'lr': 1e-2},
    },
    'bilevel, frozen BatchNorm': {'meta': {'batchnorm': 'frozen'}},
    'bilevel, alpha 1e-3, frozen BatchNorm': {
        'meta': {**FASTEST, 'batchnorm': 'frozen'}
    },
    'joint, frozen BatchNorm': {'meta': {'update': 'joint', 'batchnorm': 'frozen'}},
    'single, frozen BatchNorm': {'meta': {'update': 'single', 'batchnorm': 'frozen'}},
    'ANIL (inner: head)': {'meta': {'inner': 'head'}},
    'with a PLCC loss': {'metric_loss_opt': {'type': 'PLCCLoss', 'loss_weight': 0.1}},
    'with a ranking loss': {
        'metric_loss_opt': {'type': 'RankLoss', 'loss_weight': 0.5}
    },
    'EMA 0.9': {'meta': {'ema': 0.9}},
    'second-order MAML': {
        'meta': {'update': 'maml', 'alpha': 1e-2, 'alpha_head': None},
        'optim': {'type': 'Adam', 'lr': 3e-4},
    },
    'outer Adam 3e-4': {'optim': {'type': 'Adam', 'lr': 3e-4}},
    'paper, beta 1': {'image_steps_per_update': PAPER_STEPS, 'meta': PAPER},
    'S = 6, sets of 48': {
        'image_steps_per_update': K * (48 + 48),
        'meta': {'steps': 6},
        'sets': 48,
    },
    'S = 1': {'meta': {'steps': 1}},
    'bias correction': {'meta': {'bias_correction': True}},
    'moments per task': {'meta': {'moments': 'task'}},
    'moments carried': {'meta': {'moments': 'carried'}},
    'bilevel, running BatchNorm': {'meta': {'batchnorm': 'running'}},
}
FIELDS = (
    'variant seed updates image_steps choose val_srocc val_srocc_in_type '
    'val_srocc_50_labels livec_srocc livec_srocc_50_labels train_seconds'
).split()

Fresh = Callable[[int], MetaIQA]


def options_of(change: Mapping, seed: int, kodak: Path) -> tuple[dict, int]:
    """What a variant trains with; and its image-steps."""
    per_update = change.get('image_steps_per_update', K * (16 + 16))
    updates = change.get('image_steps', IMAGE_STEPS) // per_update
    sets = change.get('sets', 16)
    meta = change.get('meta', {})
    options = read_options(BASE)
    options |= {'name': 'run', 'manual_seed': seed}
    options['datasets']['train'] |= {
        'meta_info_file': str(kodak / f'meta_info_{kodak.name}.csv'),
        'dataroot_target': str(kodak / 'images'),
        'store': True,
        'support_size': sets,
        'query_size': sets,
        'tasks_per_epoch': K * max(1, updates // 15),
        'batch_size_per_gpu': K,
        'resize': RESIZE,
        'crop_size': CROP,
        'seed': seed,
    }
    del options['datasets']['val'], options['val'], options['train']['total_epoch']
    options['network']['input_size'] = RESIZE
    rates = SLOW if meta.get('update') in ('joint', 'single') else FAST
    options['train'] |= {
        'total_iter': updates,
        'meta': {**rates, 'steps': 2, 'precision': 'fp32', **meta},
        'optim': change.get('optim', BEST_OUTER),
    }
    if 'metric_loss_opt' in change:
        options['train']['metric_loss_opt'] = change['metric_loss_opt']
    options['logger']['use_tb_logger'] = False
    return options, updates * per_update


class Target:
    """Labelled images, resized once; every second of a table's, or all of them."""

    def __init__(
        self, table: Path, images: Path, mos_range: tuple, every: int = 1
    ) -> None:
        rows = read_rows(DatabaseOptions(table, images, mos_range))
        self.paths = paths_of(rows)[::every]
        self.mos = np.asarray(rows.mos, dtype=float)[::every]
        self.types = np.array([rows.tasks[task] for task in rows.task_of])[::every]
        self.references = rows.reference_of[::every]
        self.pixels = [
            read_resized(path, RESIZE) for path in tqdm(self.paths, str(images))
        ]

    def scores(self, network: MetaIQA, where: np.ndarray | None = None) -> np.ndarray:
        where = np.arange(len(self.pixels)) if where is None else where
        network.eval()
        with torch.inference_mode():
            return np.array([network(tensor_of(self.pixels[i])).item() for i in where])

    def srocc(self, scores: np.ndarray, where=slice(None)) -> float:
        return correlate(scores, self.mos[where]).srocc

    def within_types(self, scores: np.ndarray) -> float:
        parts = [self.types == name for name in np.unique(self.types)]
        return float(np.mean([self.srocc(scores[part], part) for part in parts]))

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices with a label, and those to test on: of other references."""
        generator = np.random.default_rng(seed)
        groups = np.unique(self.references)
        if (self.references < 0).all():
            order = generator.permutation(len(self.paths))
            return order[:LABELS], order[LABELS:]
        given = generator.choice(groups, len(groups) // 3, replace=False)
        pool = np.flatnonzero(np.isin(self.references, given))
        test = np.flatnonzero(~np.isin(self.references, given))
        return generator.choice(pool, LABELS, replace=False), test

    def after_adaptation(self, fresh: Fresh) -> float:
        found = []
        for seed in range(DRAWS):
            labelled, test = self.draw(seed)
            network = fresh(seed)
            images = LabelledImages(
                [self.paths[i] for i in labelled], self.mos[labelled].tolist()
            )
            settings = AdaptSettings(steps=40, seed=seed, resize=RESIZE, crop_size=CROP)
            adapt(network, images, settings, progress=False)
            found.append(self.srocc(self.scores(network, test), test))
        return float(np.mean(found))


def evaluate(fresh: Fresh, validation: Target, test: Target) -> dict[str, float]:
    scores = validation.scores(fresh(0))
    row = {
        'val_srocc': validation.srocc(scores),
        'val_srocc_in_type': validation.within_types(scores),
        'val_srocc_50_labels': validation.after_adaptation(fresh),
        'livec_srocc': test.srocc(test.scores(fresh(0))),
        'livec_srocc_50_labels': test.after_adaptation(fresh),
    }
    row['choose'] = (row['val_srocc'] + row['val_srocc_50_labels']) / 2
    return {name: round(value, 4) for name, value in row.items()}


def fresh_network(weights: Path | None) -> Fresh:
    def fresh(seed: int) -> MetaIQA:
        torch.manual_seed(seed)
        if weights is None:
            return MetaIQA(pretrained='imagenet', input_size=RESIZE)
        return MetaIQA(pretrained_model_path=str(weights))

    return fresh


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kodak', type=Path, default=Path('data/kodak'))
    parser.add_argument('--unseen', type=Path, default=Path('data/unseen'))
    parser.add_argument('--livec', type=Path, default=Path('datasets/livec'))
    parser.add_argument('--out', type=Path, default=Path('variants'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[123])
    parser.add_argument('--only', nargs='+', choices=VARIANTS, default=[*VARIANTS])
    options = parser.parse_args(arguments)
    table = options.unseen / f'meta_info_{options.unseen.name}.csv'
    validation = Target(table, options.unseen / 'images', (1, 5))
    table = next(options.livec.glob('meta_info_*.csv'))
    test = Target(table, options.livec / 'Images', (0, 100), every=2)
    results = RowFile(options.out / 'variants.csv', FIELDS, keys=2)
    jobs = [(name, seed) for seed in options.seeds for name in options.only]
    for name, seed in jobs:
        if (name, str(seed)) in results:
            continue
        folder = options.out / f'{name}-{seed}'.replace(' ', '_')
        training, steps = options_of(VARIANTS[name], seed, options.kodak)
        updates = training['train']['total_iter']
        weights, started = None, time.monotonic()
        if updates:
            train(training, root=folder, resume=True)
            weights = folder / 'experiments' / 'run' / 'models' / 'net_latest.pth'
        row = {'variant': name, 'seed': seed, 'updates': updates, 'image_steps': steps}
        row['train_seconds'] = round(time.monotonic() - started)
        row |= evaluate(fresh_network(weights), validation, test)
        results.add([[row[field] for field in FIELDS]])
        print(row, flush=True)


if __name__ == '__main__':
    sys.exit(run(main))
