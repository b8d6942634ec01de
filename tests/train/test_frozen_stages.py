"""The shipped recipe on a small database: a prior and a metric from frozen maps."""

from pathlib import Path

import pyiqa
import pytest
import torch
import yaml
from tiny_options import OPTIONS

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.benchmark.methods import Stage
from metaiqa_plugin.cli import main
from metaiqa_plugin.data import store
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.iqa_model import IQAModel

FILES = OPTIONS / 'train' / 'MetaIQA'
SMALL = {
    'network.hidden': 8,
    'network.input_size': 64,
    'datasets.train.resize': 64,
    'datasets.train.crop_size': 64,
    'datasets.train.num_worker_per_gpu': 0,
    'train.total_epoch': 2,
    'logger.save_latest_freq': 1,
}
PRIOR = SMALL | {
    'datasets.train.support_size': 4,
    'datasets.train.query_size': 4,
    'datasets.train.tasks_per_epoch': 4,
    'datasets.train.batch_size_per_gpu': 2,
}
METRIC = SMALL | {
    'path.pretrain_network': None,
    'train.head_first.steps': 20,
}


@pytest.fixture
def small(database, tmp_path, monkeypatch):
    """Writes a shipped option file, changed to the small database."""
    monkeypatch.chdir(tmp_path)
    # a process to start takes longer than so few small images
    monkeypatch.setattr(store, 'available_cores', lambda: 1)
    place = {
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
    }

    def write(file, change, name):
        options = Stage(str(FILES / file)).options(change)
        options['name'] = name
        options['datasets']['train'] |= place | {'store': str(database / 'maps')}
        if 'val' in options['datasets']:
            options['datasets']['val'] |= place
        Path(f'{name}.yml').write_text(yaml.safe_dump(options))
        return f'{name}.yml'

    return write


def trained(name):
    return torch.load(f'experiments/{name}/models/net_latest.pth', weights_only=True)


def test_a_prior_is_adapted_and_its_frozen_stages_stay_imagenets(small, photos):
    assert main(['train', '-opt', small('prior_kodak.yml', PRIOR, 'prior')]) == 0
    start = 'experiments/prior/models/net_latest.pth'
    change = METRIC | {'path.pretrain_network': start}
    assert main(['train', '-opt', small('metric_livec.yml', change, 'metric')]) == 0
    prior, metric = trained('prior')['params'], trained('metric')['params']
    imagenet = MetaIQA(
        levels=[5, 6], frozen=5, standardised=True, pretrained='imagenet', input_size=64
    )
    below = [f'backbone.{key}' for key in imagenet.backbone.frozen_state()]
    for key in below:
        assert torch.equal(prior[key], imagenet.state_dict()[key])
        assert torch.equal(metric[key], prior[key])
    above = 'backbone.stages.5.0.conv_pw.weight'
    assert not torch.equal(prior[above], imagenet.state_dict()[above])
    assert not torch.equal(metric[above], prior[above])
    statistics = 'backbone.stages.5.0.bn1.running_mean'
    assert torch.equal(metric[statistics], imagenet.state_dict()[statistics])
    path = 'experiments/metric/models/net_latest.pth'
    scored = pyiqa.create_metric('metaiqa', pretrained_model_path=path, device='cpu')
    assert 0 < scored(str(photos[0])).item() < 1


def test_a_run_that_stopped_goes_on_as_if_it_had_not(small, monkeypatch):
    assert main(['train', '-opt', small('metric_livec.yml', METRIC, 'whole')]) == 0
    step = IQAModel.optimize_parameters

    def failing(model, iteration):
        if iteration == 8:
            raise UserError('the power went')
        step(model, iteration)

    file = small('metric_livec.yml', METRIC, 'parts')
    with monkeypatch.context() as patch:
        patch.setattr(IQAModel, 'optimize_parameters', failing)
        assert main(['train', '-opt', file]) == 2
    assert main(['train', '-opt', file, '--resume']) == 0
    whole, parts = trained('whole')['params'], trained('parts')['params']
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_maps_of_other_stages_are_refused_before_training(small, capsys):
    change = METRIC | {'network.frozen': 4}
    assert main(['train', '-opt', small('metric_livec.yml', change, 'other')]) == 2
    assert 'frozen=4; they must be the same' in capsys.readouterr().err


def test_batchnorm_runs_on_where_it_is_not_frozen(small):
    change = METRIC | {'train.batchnorm': 'running', 'train.total_epoch': 1}
    assert main(['train', '-opt', small('metric_livec.yml', change, 'running')]) == 0
    imagenet = MetaIQA(levels=[5, 6], frozen=5, pretrained='imagenet', input_size=64)
    found, before = trained('running')['params'], imagenet.state_dict()
    above, below = (f'backbone.stages.{n}.0.bn1.running_mean' for n in (5, 4))
    assert not torch.equal(found[above], before[above])
    assert torch.equal(found[below], before[below])
    change['train.batchnorm'] = 'forzen'
    assert main(['train', '-opt', small('metric_livec.yml', change, 'wrong')]) == 2


def test_the_head_is_trained_first_and_standardises_by_what_it_learns_from(small):
    change = METRIC | {'train.total_epoch': 1}
    assert main(['train', '-opt', small('metric_livec.yml', change, 'first')]) == 0
    change = change | {'train.head_first': None}
    assert main(['train', '-opt', small('metric_livec.yml', change, 'at once')]) == 0
    first, at_once = trained('first')['params'], trained('at once')['params']
    assert not torch.equal(first['head.0.mean'], at_once['head.0.mean'])
    kodak = MetaIQA(
        levels=[5, 6], frozen=5, standardised=True, pretrained='imagenet', input_size=64
    )
    assert torch.equal(at_once['head.0.mean'], kodak.head[0].mean)


def test_a_head_can_not_come_first_without_maps(small, capsys):
    change = METRIC | {'datasets.train.maps': None}
    assert main(['train', '-opt', small('metric_livec.yml', change, 'pixels')]) == 2
    assert 'train.head_first needs datasets.train.maps' in capsys.readouterr().err


def test_a_trainer_that_does_not_know_of_it_is_refused(small, monkeypatch, capsys):
    monkeypatch.delattr(IQAModel, 'prepare')
    assert main(['train', '-opt', small('metric_livec.yml', METRIC, 'other')]) == 2
    assert 'start with metaiqa train' in capsys.readouterr().err
