"""Jobs of a few seconds for measure.py and record.py, and how they are spelt.

The only file of this folder to change when a verb or an option is spelt otherwise.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

COMMANDS = {
    'synthesize': 'synthesize {photos} {out} --max-side 96 --workers 1'
    ' --types gaussian_blur jpeg white_noise',
    'score': 'score {photos} --engine torch --workers 1 --out {out} {metrics}',
    'train': 'train -opt {options} --root {root}',
    'benchmark': 'benchmark -opt {options} --root {root}',
    'report': 'report {root} --out {out}',
}
METRIC_FLAG = '--metric'
CLI_MODULE = 'cli'
"""Below the package; its ``main`` takes the arguments."""
PHOTOS = 'photos/kodak24'
"""Below the package."""
TRAINED = 'experiments/{name}/models/net_latest.pth'
CURVE = 'experiments/{name}/learning_curve.csv'
"""Both below the root of a training."""

NETWORK = {
    'type': 'MetaIQA',
    'backbone': 'test_efficientnet',
    'hidden': 8,
    'dropout': 0.5,
    'input_size': 40,
    'pretrained': False,
}
VALIDATION = {
    'val_freq': 1000000,
    'save_img': False,
    'pbar': False,
    'key_metric': 'srcc',
    'metrics': {
        'srcc': {'type': 'calculate_srcc'},
        'plcc': {'type': 'calculate_plcc'},
    },
}
LOGGER = {
    'print_freq': 5,
    'save_checkpoint_freq': 1000000,
    'save_latest_freq': 100,
    'use_tb_logger': False,
}


def command(verb: str, **values: object) -> list[str]:
    """Arguments of the ``metaiqa`` command; no value may hold a blank."""
    return COMMANDS[verb].format(**values).split()


def copy_photos(package: Path, out: Path, count: int) -> Path:
    """The first carried photos, in a folder of their own."""
    out.mkdir(parents=True)
    for path in sorted((package / PHOTOS).glob('*.webp'))[:count]:
        shutil.copy(path, out)
    return out


def write_options(path: Path, options: dict) -> Path:
    """JSON, which is YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(options, indent=1) + '\n', encoding='utf-8')
    return path


def database(folder: Path) -> dict:
    """Options of the database that ``synthesize`` made in ``folder``."""
    return {
        'meta_info_file': str(folder / f'meta_info_{folder.name}.csv'),
        'dataroot_target': str(folder / 'images'),
        'mos_range': [1, 5],
    }


def meta_training(folder: Path) -> dict:
    """Four updates of three tasks."""
    train = {
        'name': 'small',
        'type': 'EpisodeDataset',
        'support_size': 4,
        'query_size': 4,
        'images_per_reference': 2,
        'tasks_per_epoch': 4,
    }
    return _training('tiny', 'MetaIQAModel', folder, train, 3) | {
        'train': {
            'total_epoch': 3,
            'meta': {'alpha': 0.01, 'steps': 2, 'precision': 'fp32'},
            'optim': {'type': 'SGD', 'lr': 1.0},
            'scheduler': {'type': 'StepLR', 'step_size': 2, 'gamma': 0.5},
            'mos_loss_opt': {'type': 'MSELoss'},
        }
    }


def adaptation(folder: Path) -> dict:
    """Two epochs of Adam."""
    train = {'name': 'small', 'type': 'LabelledDataset', 'split_index': 1}
    return _training('tiny_adapt', 'IQAModel', folder, train, 4) | {
        'train': {
            'total_epoch': 2,
            'optim': {'type': 'Adam', 'lr': 0.001},
            'scheduler': {'type': 'CosineAnnealingLR', 'T_max': 2},
            'mos_loss_opt': {'type': 'MSELoss'},
        }
    }


def _training(name: str, model: str, folder: Path, train: dict, batch: int) -> dict:
    size = {'resize': 40, 'crop_size': 32, 'seed': 3, 'num_worker_per_gpu': 0}
    test = {'type': 'LabelledDataset', 'split_index': 1, 'override_phase': 'test'}
    return {
        'name': name,
        'model_type': model,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': database(folder) | train | size | {'batch_size_per_gpu': batch},
            'val': database(folder) | {'name': 'small_test'} | test,
        },
        'network': dict(NETWORK),
        'path': {'pretrain_network': None},
        'val': VALIDATION,
        'logger': LOGGER,
    }


def one_cell(folder: Path, work: Path) -> dict:
    """A benchmark of one network, trained from scratch on one split."""
    adapt = write_options(work / 'adapt.yml', adaptation(folder))
    return {
        'name': 'one',
        'protocol': {'type': 'authentic', 'target': 'small', 'splits': 1},
        'databases': {'small': database(folder)},
        'seeds': [3],
        'methods': {'from scratch': {'adapt': str(adapt)}},
    }


def small_grid(folder: Path, work: Path) -> dict:
    """Two methods, one type left out, without and with a few labels of it."""
    prior = write_options(work / 'prior.yml', meta_training(folder))
    adapt = write_options(work / 'adapt.yml', adaptation(folder))
    return {
        'name': 'grid',
        'protocol': {
            'type': 'leave_one_distortion_out',
            'database': 'small',
            'types': ['jpeg'],
            'labels': 4,
            'references': 2,
        },
        'databases': {'small': database(folder)},
        'seeds': [3],
        'curve': False,
        'methods': {
            'MetaIQA': {'prior': str(prior), 'adapt': str(adapt)},
            'BRISQUE + SVR': {'features': 'brisque'},
        },
    }
