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
import copy
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_resized
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.option_yaml import dump
from metaiqa_plugin.score import correlate
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt
from metaiqa_plugin.train.options import read_options

BASE = 'options/train/MetaIQA/metaiqa_kodak.yml'
IMAGE_STEPS = 6400
K = 5
LABELS = 50
DRAWS = 2
RESIZE, CROP = 160, 128
SLOW = {'alpha': 1e-4, 'alpha_head': 1e-3}
FAST = {'alpha': 3e-4, 'alpha_head': 3e-3}
"""Eq. 8 averages over k tasks what joint training does one after the other."""
BEST_OUTER = {'type': 'SGD', 'lr': 1.0}

PAPER = {
    'alpha': 1e-4,
    'alpha_head': None,
    'steps': 6,
    'steps_see': 'whole',
    'weight_decay': 1e-5,
}

VARIANTS: dict[str, dict] = {
    'ImageNet only': {'image_steps': 0},
    'bilevel': {},
    'bilevel, alpha 1e-4': {'meta': {'alpha': 1e-4, 'alpha_head': 1e-3}},
    'bilevel, alpha 1e-3': {'meta': {'alpha': 1e-3, 'alpha_head': 1e-2}},
    'joint': {'meta': {'update': 'joint'}},
    'single': {'meta': {'update': 'single'}},
    'paper': {
        'image_steps_per_update': K * 6 * (16 + 16),
        'meta': PAPER,
        'optim': {'type': 'SGD', 'lr': 1e-2},
    },
    'bilevel, frozen BatchNorm': {'meta': {'batchnorm': 'frozen'}},
    'bilevel, alpha 1e-3, frozen BatchNorm': {
        'meta': {'alpha': 1e-3, 'alpha_head': 1e-2, 'batchnorm': 'frozen'}
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
    'paper, beta 1': {
        'image_steps_per_update': K * 6 * (16 + 16),
        'meta': PAPER,
    },
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
    'variant',
    'seed',
    'updates',
    'image_steps',
    'choose',
    'val_srocc',
    'val_srocc_in_type',
    'val_srocc_50_labels',
    'livec_srocc',
    'livec_srocc_50_labels',
    'train_seconds',
)


def write_options(name: str, change: dict, seed: int, arguments, folder: Path) -> tuple:
    """The option file of a variant; also its updates and image-steps."""
    options = plain(read_options(BASE))
    per_update = change.get('image_steps_per_update', K * (16 + 16))
    updates = change.get('image_steps', IMAGE_STEPS) // per_update
    sets = change.get('sets', 16)
    options['name'] = 'run'
    options['manual_seed'] = seed
    options['datasets']['train'] |= {
        'meta_info_file': str(
            arguments.kodak / f'meta_info_{arguments.kodak.name}.csv'
        ),
        'dataroot_target': str(arguments.kodak / 'images'),
        'store': True,
        'support_size': sets,
        'query_size': sets,
        'tasks_per_epoch': K * max(1, updates // 15),
        'batch_size_per_gpu': K,
        'resize': RESIZE,
        'crop_size': CROP,
        'seed': seed,
    }
    del options['datasets']['val'], options['val']
    options['network']['input_size'] = RESIZE
    train = options['train']
    del train['total_epoch']
    train['total_iter'] = updates
    update = change.get('meta', {}).get('update', 'bilevel')
    train['meta'] = {
        **(SLOW if update in ('joint', 'single') else FAST),
        'steps': 2,
        'precision': 'fp32',
    } | copy.deepcopy(change.get('meta', {}))
    train['optim'] = dict(change.get('optim', BEST_OUTER))
    if 'metric_loss_opt' in change:
        train['metric_loss_opt'] = change['metric_loss_opt']
    options['logger']['use_tb_logger'] = False
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'options.yml'
    path.write_text(dump(options), encoding='utf-8')
    return path, updates, updates * per_update


def plain(value):
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def train_variant(path: Path, folder: Path) -> float:
    command = [sys.executable, '-m', 'metaiqa_plugin.train', '-opt', str(path)]
    started = time.monotonic()
    subprocess.run([*command, '--root', str(folder), '--resume'], check=True)
    return time.monotonic() - started


class Target:
    """Labelled images, resized once."""

    def __init__(
        self, table: Path, images: Path, mos_range: tuple, every: int = 1
    ) -> None:
        rows = read_rows(DatabaseOptions(str(table), str(images), mos_range), 'train')
        taken = range(0, len(rows), every)
        self.paths = [rows.path(index) for index in taken]
        self.mos = np.asarray(rows.mos, dtype=float)[::every]
        self.types = np.array([rows.tasks[task] for task in rows.task_of])[::every]
        self.references = np.asarray(rows.reference_of)[::every]
        self.pixels = [
            read_resized(path, RESIZE) for path in tqdm(self.paths, str(images))
        ]

    def scores(self, network: MetaIQA, where: np.ndarray | None = None) -> np.ndarray:
        where = np.arange(len(self.pixels)) if where is None else where
        network.eval()
        with torch.inference_mode():
            return np.array([network(_tensor(self.pixels[i])).item() for i in where])

    def srocc(self, scores: np.ndarray, where=slice(None)) -> float:
        return correlate(scores, self.mos[where]).srocc

    def within_types(self, scores: np.ndarray) -> float:
        names = sorted(set(self.types))
        return float(
            np.mean(
                [self.srocc(scores[self.types == n], self.types == n) for n in names]
            )
        )

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

    def after_adaptation(self, fresh) -> float:
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


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def evaluate(fresh, validation: Target, test: Target) -> dict[str, float]:
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


def fresh_network(weights: Path | None):
    def fresh(seed: int) -> MetaIQA:
        torch.manual_seed(seed)
        if weights is None:
            return MetaIQA(pretrained='imagenet', input_size=RESIZE)
        return MetaIQA(pretrained_model_path=str(weights))

    return fresh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kodak', type=Path, default=Path('data/kodak'))
    parser.add_argument('--unseen', type=Path, default=Path('data/unseen'))
    parser.add_argument('--livec', type=Path, default=Path('datasets/livec'))
    parser.add_argument('--out', type=Path, default=Path('variants'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[123])
    parser.add_argument('--only', nargs='+', choices=list(VARIANTS))
    arguments = parser.parse_args()
    validation = Target(
        arguments.unseen / f'meta_info_{arguments.unseen.name}.csv',
        arguments.unseen / 'images',
        (1, 5),
    )
    table = next(arguments.livec.glob('meta_info_*.csv'))
    test = Target(table, arguments.livec / 'Images', (0, 100), every=2)
    results = arguments.out / 'variants.csv'
    arguments.out.mkdir(parents=True, exist_ok=True)
    known = set()
    if results.exists():
        with results.open() as file:
            known = {(row['variant'], int(row['seed'])) for row in csv.DictReader(file)}
    for seed in arguments.seeds:
        for name in arguments.only or VARIANTS:
            if (name, seed) in known:
                continue
            folder = arguments.out / f'{name}-{seed}'.replace(' ', '_')
            path, updates, steps = write_options(
                name, VARIANTS[name], seed, arguments, folder
            )
            weights, seconds = None, 0.0
            if updates:
                seconds = train_variant(path, folder)
                weights = folder / 'experiments' / 'run' / 'models' / 'net_latest.pth'
            row = {'variant': name, 'seed': seed, 'updates': updates}
            row |= {'image_steps': steps, 'train_seconds': round(seconds)}
            row |= evaluate(fresh_network(weights), validation, test)
            new = not results.exists()
            with results.open('a', newline='') as file:
                writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
                if new:
                    writer.writeheader()
                writer.writerow(row)
                os.fsync(file.fileno())
            print(row, flush=True)


if __name__ == '__main__':
    main()
