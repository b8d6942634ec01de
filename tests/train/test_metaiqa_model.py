"""Meta-training through pyiqa's trainer, on a tiny backbone and real photos."""

import shutil
import sys
from copy import deepcopy

import pyiqa
import pytest
import torch
from pyiqa.models import build_model
from started import finished
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.train.settings import MetaSettings

EPS = (
    1e-2  # large, so that rounding of tiny gradients does not decide the sign of a step
)


@pytest.fixture
def trainer(meta_options, tmp_path):
    """Builds the trainer of the small network; its arguments are ``train.meta``."""

    def build(change=None, **meta):
        options = meta_options | {'is_train': True, 'dist': False, 'rank': 0}
        options['path']['experiments_root'] = str(tmp_path)
        options['network']['dropout'] = 0.0
        options['train']['meta'] |= meta
        options['train']['scheduler']['step_size'] = 1
        if change:
            change(options)
        torch.manual_seed(0)
        return build_model(options)

    return build


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
def test_one_update_of_the_trainer_equals_a_naive_one(trainer, batchnorm):
    model = trainer(batchnorm=batchnorm, eps=EPS)
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


def test_running_statistics_depend_on_the_order_of_tasks(trainer):
    def statistics(mode, order):
        model = trainer(batchnorm=mode)
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


def test_inner_rates_decay_with_the_outer_one(trainer):
    model = trainer(alpha_head=1e-1)
    network, learner = model.network, model.learner
    assert set(network.rates(learner.decay)) == {1e-2, 1e-1}
    model.optimizer.step()
    model.update_learning_rate(2)
    assert model.get_current_learning_rate() == [0.5]
    assert network.rates(learner.decay)[network.is_head.index(True)] == 5e-2


def test_inner_rates_follow_a_schedule_of_single_steps(trainer):
    def change(options):
        options['train']['scheduler'] = {'type': 'WarmupCosine', 'warmup': 0.0}

    model = trainer(change)
    for step, share in ((1, 1.0), (6, 0.5)):
        model.set_rates(step)
        assert model.learner.decay == pytest.approx(share)
        assert model.network.rates(model.learner.decay)[0] == pytest.approx(share / 100)


def test_whole_sets_are_seen_at_each_step(trainer):
    model = trainer(steps_see='whole', steps=3)
    model.feed_data(batch_of_tasks())
    assert len(model.tasks[0][0].support) == 3
    assert all(len(images) == 4 for images, _ in model.tasks[0][0].support)


def test_sets_that_can_not_be_cut_are_refused(trainer):
    model = trainer(steps=3)
    with pytest.raises(UserError, match=r'support_size=4 .*steps=3'):
        model.feed_data(batch_of_tasks())


def test_divergence_names_the_update_and_its_tasks(trainer):
    model = trainer()
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


def test_two_devices_are_refused(trainer):
    with pytest.raises(UserError, match='num_gpu=2'):
        trainer(lambda options: options.update(num_gpu=2))


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_is_not_there_is_named(trainer):
    with pytest.raises(UserError, match='num_gpu=1'):
        trainer(lambda options: options.update(num_gpu=1))


def test_a_prior_of_another_network_is_refused(trainer, tmp_path):
    other = MetaIQA('test_resnet', pretrained=False)
    torch.save({'params': other.state_dict()}, tmp_path / 'other.pth')

    def change(options):
        options['path']['pretrain_network'] = str(tmp_path / 'other.pth')

    with pytest.raises(CheckpointError, match="backbone='test_resnet'"):
        trainer(change)


def test_an_unreadable_image_ends_a_run_with_one_line(
    runs, meta_options, database, tmp_path, capsys
):
    folder = tmp_path / 'images'
    shutil.copytree(database / 'images', folder)
    for path in folder.glob('*_jpeg_*.png'):
        path.write_bytes(path.read_bytes()[:100])
    block = meta_options['datasets']['train']
    block |= {'dataroot_target': str(folder), 'num_worker_per_gpu': 1}
    block['keep_distortions'] = ['jpeg']
    assert main(['train', *runs.command(meta_options, tmp_path)[3:]]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('metaiqa: ') and 'meta_info_small.csv, row ' in last
    assert 'cannot be read' in last


def test_the_toolbox_trains_saves_validates_and_logs(runs, whole_run):
    folder = runs.folder(whole_run)
    assert (folder / 'models' / 'net_latest.pth').is_file()
    assert next(folder.glob('train_tiny_*.log')).stat().st_size
    curve = runs.rows(whole_run, 'learning_curve.csv')
    assert [int(row['iter']) for row in curve] == [*range(1, 11)]
    validation = runs.rows(whole_run, 'validation.csv')
    assert [int(row['iter']) for row in validation] == [3, 6, 9, 10]
    assert {row['dataset'] for row in validation} == {'small_test'}
    assert all(-1 <= float(row['srcc']) <= 1 for row in validation)


PYIQA_TRAIN = """
import sys
from pyiqa.train import train_pipeline
train_pipeline(sys.argv.pop(1))
"""


def test_pyiqas_script_gives_the_same_weights(runs, meta_options, tmp_path):
    """Of one epoch in order: pyiqa shuffles each epoch, and ours counts on."""
    train = meta_options['datasets']['train']
    train |= {'use_shuffle': False, 'tasks_per_epoch': 30}
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    runs.run(meta_options, ours)
    arguments = runs.command(meta_options, theirs)[3:5]
    done = finished([sys.executable, '-c', PYIQA_TRAIN, str(theirs), *arguments])
    assert done.returncode == 0, done.stderr[-2000:]
    for label in ('latest', 'best'):
        assert runs.same(runs.weights(ours, label), runs.weights(theirs, label))


def test_training_moved_the_network(runs, whole_run):
    trained = runs.weights(whole_run)
    statistics = [key for key in trained if key.endswith('running_mean')]
    assert statistics
    assert all(trained[key].abs().max() > 0 for key in statistics)
    assert abs(trained['head.1.weight'].item() - 0.25) > 1e-4  # PReLU starts there


def test_the_result_is_a_metric(runs, whole_run, photos):
    path = str(runs.folder(whole_run) / 'models' / 'net_latest.pth')
    metric = pyiqa.create_metric('metaiqa', pretrained_model_path=path)
    image = read_rgb(photos[0])
    assert metric(image).item() == metric(str(photos[0])).item()
    assert metric.net.config.hidden == 8
