"""The shipped recipe on a small database: a prior and a metric from frozen maps."""

import pyiqa
import pytest
import torch
from tiny_options import OPTIONS

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.benchmark.methods import Stage
from metaiqa_plugin.data import store
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.iqa_model import IQAModel
from metaiqa_plugin.train.run import train

FILES = OPTIONS / 'train' / 'MetaIQA'
BELOW = (
    'backbone.conv_stem',
    'backbone.bn1',
    *(f'backbone.stages.{n}.' for n in range(5)),
)
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


@pytest.fixture(scope='module')
def small(database):
    """Trains by a shipped option file, changed to the small database; the weights."""
    place = {
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
    }

    def run(file, change, root, resume=False):
        options = Stage(str(FILES / file)).options(change)
        options['datasets']['train'] |= place | {'store': str(database / 'maps')}
        if 'val' in options['datasets']:
            options['datasets']['val'] |= place
        train(options, root, resume)
        return root / 'experiments' / options['name'] / 'models' / 'net_latest.pth'

    with pytest.MonkeyPatch.context() as patch:
        # a process to start takes longer than so few small images
        patch.setattr(store, 'available_cores', lambda: 1)
        yield run


@pytest.fixture(scope='module')
def metric(small, tmp_path_factory):
    """Weights of two epochs from ImageNet, which many tests read."""
    return loaded(small('metric_livec.yml', METRIC, tmp_path_factory.mktemp('metric')))


@pytest.fixture(scope='module')
def imagenet():
    return MetaIQA(
        levels=[5, 6], frozen=5, standardised=True, pretrained='imagenet', input_size=64
    ).state_dict()


def loaded(path):
    return torch.load(path, weights_only=True)['params']


def test_a_prior_is_adapted_and_its_frozen_stages_stay_imagenets(
    small, imagenet, tmp_path, photos
):
    start = str(small('prior_kodak.yml', PRIOR, tmp_path))
    change = METRIC | {'path.pretrain_network': start}
    path = str(small('metric_livec.yml', change, tmp_path))
    prior, metric = loaded(start), loaded(path)
    below = [key for key in imagenet if key.startswith(BELOW)]
    assert len(below) > 100
    for key in below:
        assert torch.equal(prior[key], imagenet[key])
        assert torch.equal(metric[key], prior[key])
    above = 'backbone.stages.5.0.conv_pw.weight'
    assert not torch.equal(prior[above], imagenet[above])
    assert not torch.equal(metric[above], prior[above])
    statistics = 'backbone.stages.5.0.bn1.running_mean'
    assert torch.equal(metric[statistics], imagenet[statistics])
    scored = pyiqa.create_metric('metaiqa', pretrained_model_path=path, device='cpu')
    assert 0 < scored(str(photos[0])).item() < 1


def test_a_run_that_stopped_goes_on_as_if_it_had_not(
    small, metric, tmp_path, monkeypatch
):
    step = IQAModel.optimize_parameters

    def failing(model, iteration):
        if iteration == 8:
            raise UserError('the power went')
        step(model, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(IQAModel, 'optimize_parameters', failing)
        with pytest.raises(UserError, match='the power went'):
            small('metric_livec.yml', METRIC, tmp_path)
    parts = loaded(small('metric_livec.yml', METRIC, tmp_path, resume=True))
    assert all(torch.equal(value, parts[key]) for key, value in metric.items())


def test_batchnorm_runs_on_and_the_head_is_not_trained_first_where_not_asked_for(
    small, metric, imagenet, tmp_path
):
    change = METRIC | {'train.batchnorm': 'running', 'train.total_epoch': 1}
    change['train.head_first'] = None
    running = loaded(small('metric_livec.yml', change, tmp_path))
    above, below = (f'backbone.stages.{n}.0.bn1.running_mean' for n in (5, 4))
    assert torch.equal(metric[above], imagenet[above])
    assert not torch.equal(running[above], imagenet[above])
    assert torch.equal(running[below], imagenet[below])
    assert torch.equal(running['head.0.mean'], imagenet['head.0.mean'])
    assert not torch.equal(metric['head.0.mean'], imagenet['head.0.mean'])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'network.frozen': 4}, 'frozen=4; they must be the same'),
        ({'train.batchnorm': 'forzen'}, "train.batchnorm='forzen'"),
        ({'datasets.train.maps': None}, 'train.head_first needs datasets.train.maps'),
    ],
)
def test_what_does_not_fit_is_refused_before_training(small, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        small('metric_livec.yml', METRIC | change, tmp_path)


def test_a_trainer_that_does_not_know_of_the_head_first_is_refused(
    small, tmp_path, monkeypatch
):
    monkeypatch.delattr(IQAModel, 'prepare')
    with pytest.raises(UserError, match='start with metaiqa train'):
        small('metric_livec.yml', METRIC, tmp_path)
