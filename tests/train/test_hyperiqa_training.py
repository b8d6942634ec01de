"""HyperIQA in the trainers: labelled images, meta-training, and what is saved."""

from pathlib import Path

import pyiqa
import pytest
import torch
import yaml
from tiny_options import OPTIONS

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.cli import main
from metaiqa_plugin.train.options import changed, read_options

FILES = OPTIONS / 'train' / 'HyperIQA'
NETWORK = {
    'network.backbone': 'test_efficientnet',
    'network.pretrained': False,
    'network.crop_size': 32,
    'network.crops': 4,
    'network.sampling': 'grid',
    'datasets.train.num_worker_per_gpu': 0,
    'datasets.train.crop_size': 32,
    'train.total_epoch': 2,
    'logger.save_latest_freq': 1,
    'logger.use_tb_logger': False,
}


@pytest.fixture
def on_database(database, tmp_path, monkeypatch):
    """Reads a shipped option file, changed to the small database."""
    monkeypatch.chdir(tmp_path)

    def read(name, **change):
        options = yaml.safe_load(yaml.safe_dump(_plain(read_options(FILES / name))))
        files = {
            f'datasets.{part}.{key}': value
            for part in options['datasets']
            for key, value in {
                'meta_info_file': str(database / 'meta_info_small.csv'),
                'dataroot_target': str(database / 'images'),
                'mos_range': [1, 5],
            }.items()
        }
        return changed(options, files | NETWORK | change, name)

    return read


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def run(options, *arguments, name):
    Path(f'{name}.yml').write_text(yaml.safe_dump(options | {'name': name}))
    assert main(['train', '-opt', f'{name}.yml', *arguments]) == 0
    path = Path('experiments', name, 'models', 'net_latest.pth')
    return str(path), torch.load(path, weights_only=True)['params']


LABELLED = {
    'datasets.train.store': False,
    'datasets.train.batch_size_per_gpu': 8,
    'train.scheduler.T_max': 2,
}


@pytest.mark.parametrize('without', ['nothing', 'local_features', 'hyper_network'])
def test_it_and_its_ablations_learn_and_the_file_scores_the_same(on_database, without):
    ablation = {} if without == 'nothing' else {f'network.{without}': False}
    options = on_database('hyperiqa_livec.yml', **LABELLED | ablation)
    torch.manual_seed(options['manual_seed'])
    path, weights = run(options, name='run')
    curve = Path('experiments/run/learning_curve.csv').read_text().splitlines()
    place = curve[0].split(',').index('l_mos')
    losses = [float(line.split(',')[place]) for line in curve[1:]]
    assert sum(losses[-5:]) < sum(losses[:5])
    network = HyperIQA(pretrained_model_path=path).eval()
    assert network.config.crops == 4
    assert network.config.local_features is (without != 'local_features')
    assert network.config.hyper_network is (without != 'hyper_network')
    metric = pyiqa.create_metric('hyperiqa-lite0', pretrained_model_path=path)
    image = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        assert metric(image).item() == network(image).item()
    assert set(network.state_dict()) == set(weights)


def test_a_run_that_was_cut_and_resumed_equals_one_that_was_not(on_database):
    _, whole = run(on_database('hyperiqa_livec.yml', **LABELLED), name='whole')
    half = on_database('hyperiqa_livec.yml', **LABELLED | {'train.total_epoch': 1})
    run(half, name='parts')
    resumed = on_database('hyperiqa_livec.yml', **LABELLED)
    _, parts = run(resumed, '--resume', name='parts')
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_meta_training_moves_every_part_of_it(on_database):
    small = {
        'datasets.train.resize': 40,
        'datasets.train.support_size': 4,
        'datasets.train.query_size': 4,
        'datasets.train.tasks_per_epoch': 5,
        'val.val_freq': 10**9,
    }
    options = on_database('metaiqa_kodak_hyperiqa.yml', **small)
    del options['datasets']['val']
    _, prior = run(options, name='prior')
    start = HyperIQA('test_efficientnet', pretrained=False).state_dict()
    assert prior.keys() == start.keys()
    options['train']['optim']['lr'] = 1e-30
    _, still = run(options, name='still')
    for part in (
        'features.backbone',
        'features.local',
        'hyper.reduce',
        'hyper.weights',
    ):
        keys = [key for key in prior if key.startswith(part) and 'weight' in key]
        assert keys, part
        assert any(not torch.equal(prior[key], still[key]) for key in keys), part
