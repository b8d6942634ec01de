"""Learning to rank through the trainer: it learns, resumes, and refuses nonsense."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tiny_options import OPTIONS
from torch.nn.modules.batchnorm import _BatchNorm

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.data.ranked import RankedDataset
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import changed, find_faults, read_options
from metaiqa_plugin.train.rankiqa_model import ranked_pairs
from metaiqa_plugin.train.run import train
from metaiqa_plugin.train.settings import RankingSettings

TINY = {
    'datasets.train.crop_size': 32,
    'datasets.train.num_worker_per_gpu': 0,
    'datasets.train.keep_distortions': ['gaussian_blur'],
    'datasets.train.batch_size_per_gpu': 3,
    'network.backbone': 'test_efficientnet',
    'network.pretrained': False,
    'network.crop_size': 32,
    'network.crops': 4,
    'train.total_epoch': 2,
    'train.scheduler.T_max': 2,
    'train.optim.lr': 1e-3,
    'train.optim.lr_backbone': 1e-3,
    'logger.save_latest_freq': 1,
}


@pytest.fixture(scope='module')
def small(database):
    """The shipped option file, of a tiny network and a small database."""
    files = {
        'datasets.train.meta_info_file': str(database / 'meta_info_small.csv'),
        'datasets.train.dataroot_target': str(database / 'images'),
    }
    shipped = read_options(OPTIONS / 'train/RankIQA/rank_kodak.yml')
    return changed(shipped, TINY | files, 'test')


@pytest.fixture
def options(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return deepcopy(small)


@pytest.fixture(scope='module')
def ranked(small, tmp_path_factory):
    """Weights of two epochs, which many tests read."""
    root = tmp_path_factory.mktemp('ranked')
    train(small, root)
    return root / 'experiments' / small['name'] / 'models' / 'net_latest.pth'


def trained(options, resume=False, name='run', **change):
    train(changed(options, change | {'name': name}, 'test'), '.', resume)
    return loaded(Path('experiments', name, 'models', 'net_latest.pth'))


def loaded(path):
    return torch.load(path, weights_only=True)['params']


def differ(first, second):
    return any(not torch.equal(first[key], second[key]) for key in first)


def accuracy(weights, options):
    """Share of pairs in order, whole images, no randomness."""
    torch.save(weights, 'weights.pth')
    network = RankIQA(pretrained_model_path='weights.pth').eval()
    block = options['datasets']['train'] | {'phase': 'train'}
    groups = RankedDataset(block).groups
    right = []
    with torch.no_grad():
        for group in range(len(groups)):
            ranks = groups.ranks(group)
            images = [groups.pixels(group, version) for version in range(len(ranks))]
            stacked = torch.stack([torch.from_numpy(i.copy()) for i in images])
            scores = network(stacked.permute(0, 3, 1, 2).float() / 255)[:, 0]
            pairs = ranked_pairs(torch.from_numpy(ranks)[None])
            right.append((scores[pairs.better] > scores[pairs.worse]).float().mean())
    return torch.stack(right).mean().item()


@pytest.mark.parametrize('form', ['efficient', 'pairs', 'hardest'])
def test_each_form_learns_to_rank(options, form):
    change = {'train.total_epoch': 40, 'logger.save_latest_freq': 10**9}
    weights = trained(options, **change | {'train.ranking.form': form})
    assert accuracy(weights, options) > 0.9
    torch.manual_seed(0)
    untrained = RankIQA('test_efficientnet', pretrained=False, crop_size=32, crops=4)
    assert accuracy(untrained.state_dict(), options) < 0.8


def test_a_run_that_was_cut_and_resumed_equals_one_that_was_not(options, ranked):
    trained(options, **{'train.total_epoch': 1})
    assert not differ(loaded(ranked), trained(options, resume=True))
    assert differ(loaded(ranked), trained(options, name='other', manual_seed=7))


def test_frozen_batchnorm_keeps_its_statistics_and_running_does_not(options, ranked):
    key = 'backbone.bn1.running_mean'
    assert not loaded(ranked)[key].any()
    assert trained(options, **{'train.ranking.batchnorm': 'running'})[key].any()


def test_rates_may_change_with_every_step(options, ranked):
    rising = {'type': 'WarmupCosine', 'warmup': 0.9}
    assert differ(loaded(ranked), trained(options, **{'train.scheduler': rising}))


def test_only_so_many_pairs_are_learnt_from(options):
    trained(options, **{'train.ranking.pairs': 4})
    curve = Path('experiments/run/learning_curve.csv').read_text().splitlines()
    place = curve[0].split(',').index('pairs')
    assert {float(line.split(',')[place]) for line in curve[1:]} == {4.0}
    place = curve[0].split(',').index('pairs_in_order')
    shares = [float(line.split(',')[place]) for line in curve[1:]]
    assert min(shares) < 1
    assert set(shares) <= {0, 0.25, 0.5, 0.75, 1}


def test_the_pairs_that_are_drawn_follow_seed_and_iteration():
    pairs = ranked_pairs(torch.arange(10.0)[None])

    def drawn(*seed):
        return torch.stack(pairs.drawn(5, *seed)).tolist()

    assert drawn(1, 1) == drawn(1, 1)
    assert drawn(1, 1) != drawn(1, 2)
    assert drawn(1, 1) != drawn(2, 1)
    assert len(drawn(1, 1)[0]) == 5


def test_a_ranked_network_is_fine_tuned_on_mos(options, ranked, database):
    shipped = read_options(OPTIONS / 'train/RankIQA/finetune_livec.yml')
    files = {
        f'datasets.{part}.{key}': value
        for part in ('train', 'val')
        for key, value in {
            'meta_info_file': str(database / 'meta_info_small.csv'),
            'dataroot_target': str(database / 'images'),
            'mos_range': [1, 5],
        }.items()
    }
    change = {
        key: value
        for key, value in TINY.items()
        if 'distortions' not in key and 'backbone' not in key.split('.')[1]
    }
    start = {'path.pretrain_network': str(ranked)}
    network = {'network.backbone': 'test_efficientnet'}
    store = {'datasets.train.store': False, 'logger.save_latest_freq': 10**9}
    fine = trained(shipped, name='fine', **change | files | start | network | store)
    torch.save(fine, 'fine.pth')
    metric = RankIQA(pretrained_model_path='fine.pth').eval()
    assert metric(torch.rand(1, 3, 64, 96)).shape == (1, 1)


def test_a_ranked_network_starts_meta_training(options, ranked, database):
    shipped = read_options(OPTIONS / 'train/MetaIQA/metaiqa_kodak.yml')
    del shipped['datasets']['val']
    shipped['val']['metrics'] = {}
    change = {
        'network': options['network'],
        'path.pretrain_network': str(ranked),
        'datasets.train.meta_info_file': str(database / 'meta_info_small.csv'),
        'datasets.train.dataroot_target': str(database / 'images'),
        'datasets.train.num_worker_per_gpu': 0,
        'datasets.train.resize': 40,
        'datasets.train.crop_size': 32,
        'datasets.train.support_size': 4,
        'datasets.train.query_size': 4,
        'datasets.train.tasks_per_epoch': 5,
        'train.total_epoch': 1,
        'logger.use_tb_logger': False,
    }
    prior = trained(shipped, name='prior', **change)
    assert prior.keys() == loaded(ranked).keys()
    assert differ(prior, loaded(ranked))


def test_divergence_is_reported(options):
    change = {'train.optim.lr': 1e30, 'train.optim.lr_backbone': 1e30}
    with pytest.raises(UserError, match=r'diverged at iteration .*l_rank'):
        trained(options, **change)


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'form': 'triplet'}, "train.ranking.form='triplet'"),
        ({'margin': 0}, 'train.ranking.margin=0'),
        ({'margin': '1e-3'}, 'is text'),
        ({'pairs': -1}, 'train.ranking.pairs=-1'),
        ({'hardest': 0}, 'train.ranking.hardest=0'),
        ({'batchnorm': 'none'}, "train.ranking.batchnorm='none'"),
        ({'margins': 1}, r"unknown option \['margins'\]"),
    ],
)
def test_bad_settings_are_named(options, block, message):
    with pytest.raises(UserError, match=message):
        RankingSettings.from_options(block)
    options['train']['ranking'] = block
    assert len(list(find_faults(options))) == 1


def test_the_network_of_the_test_has_batchnorm():
    network = RankIQA('test_efficientnet', pretrained=False)
    assert any(isinstance(module, _BatchNorm) for module in network.modules())


def test_photos_are_ranked_as_they_are_read(small_photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = read_options(OPTIONS / 'train/RankIQA/rank_photos.yml')
    change = {key: value for key, value in TINY.items() if 'distortions' not in key}
    photos = {'datasets.train.photos': str(small_photos), 'train.total_epoch': 1}
    weights = trained(shipped, **change | photos)
    assert weights['head.1.weight'].shape == (1, 256)
