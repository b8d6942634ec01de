"""Runs of a few updates on a tiny network and real photos; one that many tests read."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from started import Started

from metaiqa_plugin.cli import main
from metaiqa_plugin.option_yaml import dump
from metaiqa_plugin.train.run import train

COMMAND = [sys.executable, '-m', 'metaiqa_plugin.train']


def ten_updates(database):
    dataset = {
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
    }
    return {
        'name': 'tiny',
        'model_type': 'MetaIQAModel',
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': dataset
            | {
                'name': 'small',
                'type': 'EpisodeDataset',
                'support_size': 4,
                'query_size': 4,
                'images_per_reference': 2,
                'tasks_per_epoch': 10,
                'resize': 40,
                'crop_size': 32,
                'seed': 3,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 3,
            },
            'val': dataset
            | {
                'name': 'small_test',
                'type': 'LabelledDataset',
                'split_index': 1,
                'override_phase': 'test',
            },
        },
        'network': {
            'type': 'MetaIQA',
            'backbone': 'test_efficientnet',
            'hidden': 8,
            'dropout': 0.5,
            'input_size': 40,
            'pretrained': False,
        },
        'path': {'pretrain_network': None},
        'train': {
            'total_iter': 10,
            'meta': {'alpha': 1e-2, 'steps': 2, 'precision': 'fp32'},
            'optim': {'type': 'SGD', 'lr': 1.0},
            'scheduler': {'type': 'StepLR', 'step_size': 2, 'gamma': 0.5},
            'mos_loss_opt': {'type': 'MSELoss'},
        },
        'val': {
            'val_freq': 3,
            'save_img': False,
            'key_metric': 'srcc',
            'metrics': {
                'srcc': {'type': 'calculate_srcc'},
                'plcc': {'type': 'calculate_plcc'},
            },
        },
        'logger': {
            'print_freq': 5,
            'save_latest_freq': 2,
            'keep_states': 3,
            'use_tb_logger': False,
        },
    }


@pytest.fixture
def meta_options(database):
    """Ten updates of three tasks; the options as a dict to change."""
    return ten_updates(database)


@pytest.fixture
def adapt_options(meta_options):
    """Adaptation of the same network by Adam, ten batches of four."""
    train = meta_options['datasets']['train']
    for name in ('support_size', 'query_size', 'images_per_reference'):
        del train[name]
    del train['tasks_per_epoch']
    train |= {'type': 'LabelledDataset', 'split_index': 1, 'batch_size_per_gpu': 4}
    meta_options['model_type'] = 'IQAModel'
    del meta_options['train']['meta']
    meta_options['train']['optim'] = {'type': 'Adam', 'lr': 1e-3}
    return meta_options


def command(options, root, *more):
    """The command of a run below ``root``."""
    Path(root).mkdir(parents=True, exist_ok=True)
    path = Path(root) / 'options.yml'
    path.write_text(dump(options))
    return [*COMMAND, '-opt', str(path), '--root', str(root), *more]


def run(options, root, resume=False):
    """Run to its end in this process."""
    return train(options, root, resume)


def folder(root, name='tiny'):
    """Where a run writes."""
    return Path(root) / 'experiments' / name


def weights(root, label='latest'):
    """The weights of a run."""
    path = folder(root) / 'models' / f'net_{label}.pth'
    return torch.load(path, weights_only=True)['params']


def figures(root):
    """The csv files of a run, as text."""
    return {path.name: path.read_text() for path in folder(root).glob('*.csv')}


def rows(root, name):
    """The rows of a csv file of a run."""
    with (folder(root) / name).open() as file:
        return list(csv.DictReader(file))


def same(first, second):
    """Whether two state dicts agree bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def kill_at(
    options, root, iteration, number=signal.SIGKILL, deadline=600, only_readers=False
):
    """Start a run; signal it and its processes once it has logged ``iteration``."""
    process = Started(command(options, root), stderr=subprocess.PIPE)
    curve = folder(root) / 'learning_curve.csv'
    until = time.monotonic() + deadline
    while not curve.exists() or len(curve.read_text().splitlines()) <= iteration:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.002)
    if only_readers:
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children')
        os.kill(int(children.read_text().split()[-1]), number)
    else:
        os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


@pytest.fixture(scope='session')
def runs():
    """The functions above."""
    functions = (command, run, kill_at, folder, weights, figures, rows, same)
    return SimpleNamespace(**{function.__name__: function for function in functions})


@pytest.fixture(scope='session')
def whole_run(database, tmp_path_factory):
    """Root of ten updates of the bi-level training, by the command; to be read only."""
    root = tmp_path_factory.mktemp('whole')
    arguments = command(ten_updates(database), root, '--resume')[3:]
    assert main(['train', *arguments]) == 0
    return root


@pytest.fixture
def whole(whole_run, tmp_path):
    """A copy of it, to damage or to resume."""
    return Path(shutil.copytree(whole_run, tmp_path / 'copy'))
