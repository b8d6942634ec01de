"""Learning to rank through the trainer: it learns, resumes, and refuses nonsense."""

from pathlib import Path

import pytest
import torch
import yaml
from tiny_options import OPTIONS
from torch.nn.modules.batchnorm import _BatchNorm

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.datasets import RankedDataset
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import changed, find_faults, read_options
from metaiqa_plugin.train.rankiqa_model import ranked_pairs
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


@pytest.fixture
def options(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        'datasets.train.meta_info_file': str(database / 'meta_info_small.csv'),
        'datasets.train.dataroot_target': str(database / 'images'),
    }
    shipped = plain(read_options(OPTIONS / 'train/RankIQA/rank_kodak.yml'))
    return changed(shipped, TINY | files, 'test')


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def trained(options, *arguments, name='run', **change):
    options = changed(options, change | {'name': name}, 'test')
    Path(f'{name}.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', f'{name}.yml', *arguments]) == 0
    path = Path('experiments', name, 'models', 'net_latest.pth')
    return torch.load(path, weights_only=True)['params']


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


def test_a_run_that_was_cut_and_resumed_equals_one_that_was_not(options):
    whole = trained(options, name='whole')
    trained(options, name='parts', **{'train.total_epoch': 1})
    parts = trained(options, '--resume', name='parts')
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    other = trained(options, name='other', manual_seed=7)
    assert any(not torch.equal(whole[key], other[key]) for key in whole)


def test_frozen_batchnorm_keeps_its_statistics_and_running_does_not(options):
    start = trained(options, name='start', **{'train.total_epoch': 1})
    key = 'backbone.bn1.running_mean'
    assert torch.equal(start[key], torch.zeros_like(start[key]))
    running = {'train.ranking.batchnorm': 'running'}
    moved = trained(options, name='moved', **running)
    assert not torch.equal(moved[key], start[key])


def test_rates_may_change_with_every_step(options):
    level = {'type': 'StepLR', 'step_size': 9}
    rising = {'type': 'WarmupCosine', 'warmup': 0.9}
    first, second = (
        trained(options, name=name, **{'train.scheduler': scheduler})
        for name, scheduler in (('level', level), ('rising', rising))
    )
    assert any(not torch.equal(first[key], second[key]) for key in first)


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


def test_a_ranked_network_is_fine_tuned_on_mos(options, database):
    trained(options, name='ranked')
    shipped = plain(read_options(OPTIONS / 'train/RankIQA/finetune_livec.yml'))
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
    start = {'path.pretrain_network': 'experiments/ranked/models/net_latest.pth'}
    network = {'network.backbone': 'test_efficientnet'}
    store = {'datasets.train.store': False, 'logger.save_latest_freq': 10**9}
    fine = trained(shipped, name='fine', **change | files | start | network | store)
    torch.save(fine, 'fine.pth')
    metric = RankIQA(pretrained_model_path='fine.pth').eval()
    assert metric(torch.rand(1, 3, 64, 96)).shape == (1, 1)


def test_a_ranked_network_starts_meta_training(options, database):
    trained(options, name='ranked')
    shipped = plain(read_options(OPTIONS / 'train/MetaIQA/metaiqa_kodak.yml'))
    del shipped['datasets']['val']
    shipped['val']['metrics'] = {}
    change = {
        'network': options['network'],
        'path.pretrain_network': 'experiments/ranked/models/net_latest.pth',
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
    ranked = torch.load('experiments/ranked/models/net_latest.pth', weights_only=True)
    assert prior.keys() == ranked['params'].keys()
    assert any(not torch.equal(prior[k], ranked['params'][k]) for k in prior)


def test_divergence_is_reported(options, capsys):
    change = {'train.optim.lr': 1e30, 'train.optim.lr_backbone': 1e30, 'name': 'run'}
    Path('run.yml').write_text(yaml.safe_dump(changed(options, change, 'test')))
    assert main(['train', '-opt', 'run.yml']) == 2
    assert 'diverged at iteration' in capsys.readouterr().err


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
    shipped = plain(read_options(OPTIONS / 'train/RankIQA/rank_photos.yml'))
    change = {key: value for key, value in TINY.items() if 'distortions' not in key}
    photos = {'datasets.train.photos': str(small_photos), 'train.total_epoch': 1}
    weights = trained(shipped, **change | photos)
    assert weights['head.1.weight'].shape == (1, 256)
