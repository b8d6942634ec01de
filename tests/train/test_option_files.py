"""Every shipped option file, run by the commands that its first lines give.

The databases are small ones in the published layouts, the network is tiny and the
training short; everything else is as shipped.
"""

import csv
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from pyiqa.archs import build_network

from metaiqa_plugin.cli import main
from metaiqa_plugin.train.options import read_options

OPTIONS = Path(__file__).resolve().parents[2] / 'options' / 'train'
WITH_DATABASES = sorted(
    path for path in OPTIONS.glob('*/*.yml') if 'metaiqa prepare' in path.read_text()
)
ABOUT_THE_DATABASE = (
    'meta_info_file',
    'dataroot_target',
    'mos_range',
    'lower_better',
    'split_index',
)


def same_in_metaiqa(path):
    """MetaIQA's file for the same database, if there is one."""
    ending = path.stem.partition('_')[2]
    return path.parent.parent / 'MetaIQA' / f'adapt_{ending}.yml'


ALIKE = [
    path
    for path in WITH_DATABASES
    if path.parent.name != 'MetaIQA'
    and same_in_metaiqa(path).is_file()
    and not path.stem.endswith(('livec', 'csv'))
]
"""Not run: they read a database just as a file does that is run."""
RUN = [
    path
    for path in WITH_DATABASES
    if path not in ALIKE and path.parent.name in ('MetaIQA', 'RankIQA', 'HyperIQA')
]
TINY = {'backbone': 'test_efficientnet', 'pretrained': False}
NETWORKS = {
    'MetaIQA': TINY | {'input_size': 64, 'hidden': 16},
    'RankIQA': TINY | {'crop_size': 32, 'crops': 1, 'sampling': 'centre'},
    'HyperIQA': TINY | {'crop_size': 32, 'crops': 1, 'sampling': 'centre'},
}


def commands(path):
    head = path.read_text().split('\nname:')[0].replace('\\\n#', ' ')
    lines = [line.lstrip('# ') for line in head.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith('metaiqa ')]


def shrunk(path):
    options = read_options(path)
    train = options['datasets']['train']
    train |= {'resize': 40, 'crop_size': 32, 'num_worker_per_gpu': 0}
    if train['type'] == 'EpisodeDataset':
        train |= {'support_size': 4, 'query_size': 4, 'tasks_per_epoch': 4}
    train['batch_size_per_gpu'] = 2
    train.pop('dataset_enlarge_ratio', None)
    options['train'].pop('total_iter', None)
    options['train']['total_epoch'] = 1
    options['network'] = {**options['network'], **NETWORKS[options['network']['type']]}
    options['logger']['use_tb_logger'] = False
    return options


def put_in_place(published, command):
    verb, name, folder = command[:3]
    assert verb == 'prepare'
    if name != 'csv':
        published.makers[name](Path(folder))
        return
    scores = [(f'photo {place}.png', 10 * place) for place in range(10)]
    for image, _ in scores:
        published.image(Path(folder) / image)
    with open('scores.csv', 'w', newline='') as file:
        csv.writer(file).writerows([('image', 'score'), *scores])


@pytest.mark.parametrize('path', ALIKE, ids=lambda path: path.stem)
def test_a_database_is_described_alike_for_all_methods(path):
    ours, theirs = read_options(path), read_options(same_in_metaiqa(path))
    for part in ('train', 'val'):
        for key in ABOUT_THE_DATABASE:
            assert ours['datasets'][part][key] == theirs['datasets'][part][key]
    assert commands(path)[0] == commands(same_in_metaiqa(path))[0]


@pytest.mark.parametrize('path', RUN, ids=lambda path: path.stem)
def test_it_runs_as_its_first_lines_say(path, published, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare = [command for command in commands(path) if command[0] == 'prepare']
    for command in prepare:
        put_in_place(published, command)
        assert main(command) == 0, capsys.readouterr().err
    options = shrunk(path)
    prior = options['path']['pretrain_network']
    if prior:
        Path(prior).parent.mkdir(parents=True)
        network = build_network(dict(_plain(options['network'])))
        torch.save({'params': network.state_dict()}, prior)
    Path('run.yml').write_text(yaml.safe_dump(dict(_plain(options))))
    assert main(['train', '-opt', 'run.yml']) == 0, capsys.readouterr().err
    weights = Path('experiments', options['name'], 'models', 'net_latest.pth')
    trained = torch.load(weights, weights_only=True)['params']
    if prior:
        start = torch.load(prior, weights_only=True)['params']
        assert any(not torch.equal(trained[key], start[key]) for key in start)
    assert list(Path('datasets').rglob('*.store/*.npy'))


def test_every_database_has_an_option_file(published):
    prepared = {
        command[1]
        for path in WITH_DATABASES
        for command in commands(path)
        if command[0] == 'prepare'
    }
    assert prepared == {*published.makers, 'csv'}


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
