"""Meta-training through pyiqa's trainer, on a tiny backbone and real photos."""

import csv
import shutil
import subprocess
import sys
from copy import deepcopy

import pyiqa
import pytest
import torch
import yaml
from pyiqa.models import build_model
from started import finished
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.train.settings import MetaSettings

EPS = (
    1e-2  # large, so that rounding of tiny gradients does not decide the sign of a step
)


def run_options(database, root, **meta):
    """A run of four updates, as a dict that pyiqa's trainer takes."""
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
                'tasks_per_epoch': 4,
                'resize': 40,
                'crop_size': 32,
                'seed': 3,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 2,
            },
            'val': dataset
            | {
                'name': 'small_test',
                'type': 'GeneralNRDataset',
                'split_index': 1,
                'override_phase': 'test',
                'mos_normalize': True,
                'lower_better': False,
            },
        },
        'network': {
            'type': 'MetaIQA',
            'backbone': 'test_efficientnet',
            'hidden': 8,
            'dropout': 0.0,
            'input_size': 40,
            'pretrained': False,
        },
        'path': {'pretrain_network': None, 'experiments_root': str(root)},
        'train': {
            'total_epoch': 2,
            'meta': {'alpha': 1e-2, 'steps': 2, 'precision': 'fp32'} | meta,
            'optim': {'type': 'SGD', 'lr': 1.0},
            'scheduler': {'type': 'StepLR', 'step_size': 1, 'gamma': 0.5},
            'mos_loss_opt': {'type': 'MSELoss'},
        },
        'val': {
            'val_freq': 2,
            'save_img': False,
            'key_metric': 'srcc',
            'metrics': {
                'srcc': {'type': 'calculate_srcc'},
                'plcc': {'type': 'calculate_plcc'},
            },
        },
        'logger': {
            'print_freq': 1,
            'save_checkpoint_freq': 10**9,
            'save_latest_freq': 10**9,
            'use_tb_logger': False,
        },
    }


def trainer(database, root, change=None, **meta):
    options = run_options(database, root, **meta)
    options |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}
    options['train']['total_iter'] = 4
    if change:
        change(options)
    torch.manual_seed(0)
    return build_model(options)


def batch_of_tasks(tasks=2, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    data = {
        'task': [f't{index}' for index in range(tasks)],
        'place': torch.arange(tasks),
    }
    for part in ('support', 'query'):
        shape = (tasks, size, 3, 32, 32)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        data[f'{part}_img'] = images
        data[f'{part}_mos'] = torch.rand(tasks, size, 1, generator=generator)
    return data


def reference_update(network, data, alpha, steps, beta, batchnorm):
    """The update by deep copies of the module, one torch call after another."""
    network = deepcopy(network).train()
    if batchnorm == 'frozen':
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    results = []
    for task in range(len(data['task'])):
        copy = deepcopy(network)
        for part in ('support', 'query'):
            m = [torch.zeros_like(p) for p in copy.parameters()]
            v = [torch.zeros_like(p) for p in copy.parameters()]
            images = data[f'{part}_img'][task].chunk(steps)
            labels = data[f'{part}_mos'][task].chunk(steps)
            for image, label in zip(images, labels, strict=True):
                copy.zero_grad()
                nn.functional.mse_loss(copy(image.float() / 255), label).backward()
                with torch.no_grad():
                    for i, p in enumerate(copy.parameters()):
                        m[i] = 0.9 * m[i] + 0.1 * p.grad
                        v[i] = 0.99 * v[i] + 0.01 * p.grad**2
                        p -= alpha * m[i] / (v[i].sqrt() + EPS)
        results.append(dict(copy.state_dict()))
    expected = {}
    for name, start in network.state_dict().items():
        if start.is_floating_point():
            mean = sum(result[name] for result in results) / len(results)
            expected[name] = -beta * (start - mean)
    return expected


@pytest.mark.parametrize('batchnorm', ['averaged', 'frozen'])
def test_one_update_of_the_trainer_equals_a_naive_one(database, tmp_path, batchnorm):
    model = trainer(database, tmp_path, batchnorm=batchnorm, eps=EPS)
    model.optimizer.param_groups[0]['lr'] = 0.5
    model.optimizer.param_groups[0]['initial_lr'] = 0.5
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    data = batch_of_tasks(size=16)
    expected = reference_update(model.net, data, 1e-2, 2, 0.5, batchnorm)
    model.feed_data(data)
    model.optimize_parameters(1)
    moved = 0.0
    for name, change in expected.items():
        update = model.net.state_dict()[name] - before[name]
        torch.testing.assert_close(update, change, rtol=1e-3, atol=2e-6)
        moved = max(moved, update.abs().max().item())
    assert moved > 1e-3


def test_running_statistics_depend_on_the_order_of_tasks(database, tmp_path):
    def statistics(mode, order):
        model = trainer(database, tmp_path, batchnorm=mode)
        data = batch_of_tasks()
        data = {
            key: value if key == 'task' else value[list(order)]
            for key, value in data.items()
        }
        model.feed_data(data)
        model.optimize_parameters(1)
        return torch.cat([buffer.flatten() for buffer in model.network.statistics])

    averaged = statistics('averaged', (0, 1)), statistics('averaged', (1, 0))
    running = statistics('running', (0, 1)), statistics('running', (1, 0))
    torch.testing.assert_close(*averaged, rtol=1e-4, atol=1e-6)
    assert (running[0] - running[1]).abs().max() > 1e-3


def test_inner_rates_decay_with_the_outer_one(database, tmp_path):
    model = trainer(database, tmp_path, alpha_head=1e-1)
    network, learner = model.network, model.learner
    assert set(network.rates(learner.decay)) == {1e-2, 1e-1}
    model.optimizer.step()
    model.update_learning_rate(2)
    assert model.get_current_learning_rate() == [0.5]
    assert network.rates(learner.decay)[network.is_head.index(True)] == 5e-2


def test_whole_sets_are_seen_at_each_step(database, tmp_path):
    model = trainer(database, tmp_path, steps_see='whole', steps=3)
    model.feed_data(batch_of_tasks())
    assert len(model.tasks[0][0].support) == 3
    assert all(len(images) == 4 for images, _ in model.tasks[0][0].support)


def test_sets_that_can_not_be_cut_are_refused(database, tmp_path):
    model = trainer(database, tmp_path, steps=3)
    with pytest.raises(UserError, match=r'support_size=4 .*steps=3'):
        model.feed_data(batch_of_tasks())


def test_divergence_names_the_update_and_its_tasks(database, tmp_path):
    model = trainer(database, tmp_path)
    data = batch_of_tasks()
    data['query_mos'][1] = float('nan')
    model.feed_data(data)
    with pytest.raises(UserError, match="update 7: task 't1'"):
        model.optimize_parameters(7)


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ({'alfa': 1}, r"unknown option \['alfa'\]"),
        ({'alpha': '1e-4'}, r'train\.meta\.alpha=.*!!float 1e-4'),
        ({'steps': 0}, r'train\.meta\.steps=0'),
        ({'steps_see': 'all'}, r'train\.meta\.steps_see'),
        ({'mu1': 1.5}, 'mu1=1.5'),
        ({'batchnorm': 'off'}, r'train\.meta\.batchnorm'),
        ({'precision': 'fp16'}, r'train\.meta\.precision'),
    ],
)
def test_bad_settings_name_themselves(meta, message):
    with pytest.raises(UserError, match=message):
        MetaSettings.from_options(meta)


def test_two_devices_are_refused(database, tmp_path):
    with pytest.raises(UserError, match='num_gpu=2'):
        trainer(database, tmp_path, lambda options: options.update(num_gpu=2))


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_is_not_there_is_named(database, tmp_path):
    with pytest.raises(UserError, match='num_gpu=1'):
        trainer(database, tmp_path, lambda options: options.update(num_gpu=1))


def test_a_prior_of_another_network_is_refused(database, tmp_path):
    other = MetaIQA('test_resnet', pretrained=False)
    torch.save({'params': other.state_dict()}, tmp_path / 'other.pth')

    def change(options):
        options['path']['pretrain_network'] = str(tmp_path / 'other.pth')

    with pytest.raises(CheckpointError, match="backbone='test_resnet'"):
        trainer(database, tmp_path, change)


@pytest.fixture(scope='module')
def runs(database, tmp_path_factory):
    """The same option file by our command, twice, and by pyiqa's own module."""
    root = tmp_path_factory.mktemp('runs')
    options = run_options(database, root)
    del options['path']['experiments_root']
    (root / 'tiny.yml').write_text(yaml.safe_dump(options))
    pyiqa_train = (
        'import sys; from pyiqa.train import train_pipeline; '
        'train_pipeline(sys.argv.pop(1))'
    )
    commands = {
        'first': ['-m', 'metaiqa_plugin.cli', 'train', '--root', str(root / 'first')],
        'second': ['-m', 'metaiqa_plugin.cli', 'train', '--root', str(root / 'second')],
        'pyiqa': ['-c', pyiqa_train, str(root / 'pyiqa')],
    }
    for name, command in commands.items():
        done = finished([sys.executable, *command, '-opt', str(root / 'tiny.yml')])
        assert done.returncode == 0, f'{name}: {done.stderr}'
    return {name: root / name / 'experiments' / 'tiny' for name in commands}


def test_an_unreadable_image_ends_a_run_with_one_line(database, tmp_path):
    folder = tmp_path / 'images'
    shutil.copytree(database / 'images', folder)
    for path in folder.glob('*_jpeg_*.png'):
        path.write_bytes(path.read_bytes()[:100])
    options = run_options(database, tmp_path)
    del options['path']['experiments_root']
    train = options['datasets']['train']
    train |= {'dataroot_target': str(folder), 'num_worker_per_gpu': 1}
    train['keep_distortions'] = ['jpeg']
    (tmp_path / 'tiny.yml').write_text(yaml.safe_dump(options))
    command = ['-m', 'metaiqa_plugin.cli', 'train', '--root', str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *command, '-opt', str(tmp_path / 'tiny.yml')],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('metaiqa: ') and 'meta_info_small.csv, row ' in last
    assert 'cannot be read' in last


def test_the_toolbox_trains_saves_validates_and_logs(runs):
    folder = runs['first']
    assert (folder / 'models' / 'net_latest.pth').is_file()
    assert (folder / 'models' / 'net_best.pth').is_file()
    assert next(folder.glob('train_tiny_*.log')).stat().st_size
    with (folder / 'learning_curve.csv').open() as file:
        curve = list(csv.DictReader(file))
    assert [row['iter'] for row in curve] == ['1', '2', '3', '4']
    with (folder / 'validation.csv').open() as file:
        validation = list(csv.DictReader(file))
    assert {row['dataset'] for row in validation} == {'small_test'}
    assert all(-1 <= float(row['srcc']) <= 1 for row in validation)


@pytest.mark.parametrize('other', ['second', 'pyiqa'])
def test_the_same_options_give_the_same_weights(runs, other):
    first = torch.load(runs['first'] / 'models/net_latest.pth')['params']
    again = torch.load(runs[other] / 'models/net_latest.pth')['params']
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_training_moved_the_network(runs):
    trained = torch.load(runs['first'] / 'models/net_latest.pth')['params']
    statistics = [key for key in trained if key.endswith('running_mean')]
    assert statistics
    assert all(trained[key].abs().max() > 0 for key in statistics)
    assert abs(trained['head.1.weight'].item() - 0.25) > 1e-4  # PReLU starts there


def test_the_result_is_a_metric(runs, photos):
    path = str(runs['first'] / 'models' / 'net_latest.pth')
    metric = pyiqa.create_metric('metaiqa', pretrained_model_path=path)
    image = read_rgb(photos[0])
    assert metric(image).item() == metric(str(photos[0])).item()
    assert metric.net.config.hidden == 8
