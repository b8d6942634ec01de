"""Every shipped option file that needs a download, run as its first lines say.

The databases are small ones in the published layouts, the network is tiny and the
training short; everything else is as shipped.
"""

import shlex
from pathlib import Path

import pytest
import torch
from pyiqa.archs import build_network
from pyiqa.data import build_dataset

from metaiqa_plugin.cli import main
from metaiqa_plugin.data import store
from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.option_yaml import dump
from metaiqa_plugin.train.options import changed, read_options

OPTIONS = Path(__file__).resolve().parents[2] / 'options' / 'train'
ADAPT = OPTIONS / 'MetaIQA' / 'adapt_livec.yml'
RUN = sorted(
    path
    for path in OPTIONS.glob('*/*.yml')
    if 'metaiqa prepare' in path.read_text()
    and path.parent.name in ('MetaIQA', 'RankIQA', 'HyperIQA')
)
TINY = {'backbone': 'test_efficientnet', 'pretrained': False}
NETWORKS = {
    'MetaIQA': TINY | {'input_size': 64, 'hidden': 16},
    'RankIQA': TINY | {'crop_size': 32, 'crops': 1, 'sampling': 'centre'},
    'HyperIQA': TINY | {'crop_size': 32, 'crops': 1, 'sampling': 'centre'},
}


def commands(path, verb):
    """What the first lines of a file give, as arguments."""
    head = path.read_text().split('\nname:')[0].replace('\\\n#', ' ')
    lines = [line.lstrip('# ') for line in head.splitlines()]
    return [
        shlex.split(line)[1:] for line in lines if line.startswith(f'metaiqa {verb}')
    ]


def set_by(command):
    """The changes of a command, as the command line reads them."""
    texts = [text for text in command if '=' in text]
    return [piece for text in texts for piece in ('--set', text)]


def shrunk(path):
    """A file with a tiny network and a short training."""
    options = read_options(path)
    train = options['datasets']['train']
    train |= {'resize': 40, 'crop_size': 32, 'num_worker_per_gpu': 0}
    if train['type'] == 'EpisodeDataset':
        train |= {'support_size': 4, 'query_size': 4, 'tasks_per_epoch': 4}
    train['batch_size_per_gpu'] = 2
    train.pop('dataset_enlarge_ratio', None)
    options['train'].pop('total_iter', None)
    options['train']['total_epoch'] = 1
    network = {**NETWORKS[options['network']['type']]}
    if 'maps' in train:  # of frozen stages that only a real backbone has
        train |= {'resize': 64, 'crop_size': 64}
        network = {key: network[key] for key in set(network) - set(TINY)}
    options['network'] = {**options['network'], **network}
    options['logger']['use_tb_logger'] = False
    return options


def with_prior(options):
    """Put random weights where a file wants a prior; their path."""
    prior = options['path']['pretrain_network']
    if prior:
        Path(prior).parent.mkdir(parents=True)
        network = build_network(dict(options['network']))
        torch.save({'params': network.state_dict()}, prior)
    return prior


@pytest.mark.parametrize('path', RUN, ids=lambda path: path.stem)
def test_it_runs_as_its_first_lines_say(path, published, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # a process to start takes longer than so few small images
    monkeypatch.setattr(store, 'available_cores', lambda: 1)
    for command in commands(path, 'prepare'):
        published.makers[command[1]](Path(command[2]))
        assert main(command) == 0, capsys.readouterr().err
    options = shrunk(path)
    prior = with_prior(options)
    Path('run.yml').write_text(dump(options))
    assert main(['train', '-opt', 'run.yml']) == 0, capsys.readouterr().err
    weights = Path('experiments', options['name'], 'models', 'net_latest.pth')
    trained = torch.load(weights, weights_only=True)['params']
    if prior:
        start = torch.load(prior, weights_only=True)['params']
        assert any(not torch.equal(trained[key], start[key]) for key in start)
    assert list(Path('datasets').glob('**/*.store/**/*.npy'))


def test_two_databases_side_by_side_as_the_file_says(
    published, tmp_path, monkeypatch, capsys
):
    path = OPTIONS / 'MetaIQA' / 'metaiqa_tid2013.yml'
    monkeypatch.chdir(tmp_path)
    for command in commands(path, 'prepare'):
        published.makers[command[1]](Path(command[2]))
        assert main(command) == 0
    Path('run.yml').write_text(dump(shrunk(path)))
    changes = set_by(commands(path, 'train')[1])
    assert main(['train', '-opt', 'run.yml', *changes]) == 0, capsys.readouterr().err
    losses = Path('experiments/MetaIQA_tid2013_kadid10k/task_losses.csv').read_text()
    assert ',tid2013/' in losses or ',kadid10k/' in losses
    stores = {path.parts[1] for path in Path('datasets').glob('*/*.store')}
    assert stores == {'tid2013', 'kadid10k'}


@pytest.mark.parametrize('name', DATABASES)
def test_any_database_takes_the_place_of_another(
    name, published, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    root = DATABASES[name].options()['meta_info_file'].rpartition('/')[0]
    labels = published.makers[name](Path(root))
    assert main(['prepare', name, root]) == 0
    change = {'datasets.*.database': name, 'datasets.*.batch_size_per_gpu': 1}
    change['datasets.train.store'] = None
    options = changed(read_options(ADAPT), change, 'here')
    train, val = (
        build_dataset({**block, 'phase': phase})
        for phase, block in options['datasets'].items()
    )
    parts = {row.image for row in train.rows}, {row.image for row in val.rows}
    assert not parts[0] & parts[1]
    official = sum(row.get('official_split') == 'val' for row in labels)
    assert len(train) + len(val) == len(labels) - official
    low, high = DATABASES[name].mos_range
    row = next(row for row in labels if row['img_name'] == train.rows.images[0])
    mos = (row['mos'] - low) / (high - low)
    expected = 1 - mos if DATABASES[name].lower_better else mos
    assert train.rows.mos[0] == pytest.approx(expected, abs=1e-6)


def test_what_prepare_prints_takes_the_place_of_a_database(
    published, tmp_path, monkeypatch, capsys
):
    """And a column that nobody named is found by `train` as by `adapt`."""
    monkeypatch.chdir(tmp_path)
    rows = [(place, f'{place}.png', 5 * place) for place in range(12)]
    for _, image, _ in rows:
        published.image(tmp_path / 'mine' / image)
    published.table(Path('scores.csv'), ('id', 'filename', 'score'), rows)
    own = ['--scores', 'scores.csv', '--score-range', '0', '100']
    assert main(['prepare', 'csv', 'mine', *own]) == 0
    printed = capsys.readouterr().out.splitlines()[1:]
    options = shrunk(ADAPT)
    with_prior(options)
    Path('run.yml').write_text(dump(options))
    changes = [f'datasets.*.{line.replace(": ", "=", 1)}' for line in printed]
    changes = [piece for change in changes for piece in ('--set', change)]
    assert main(['train', '-opt', 'run.yml', *changes]) == 0
    options['datasets'] = {
        'train': options['datasets']['train']
        | {'database': None, 'meta_info_file': 'scores.csv', 'dataroot_target': 'mine'}
        | {'mos_range': [0, 100], 'phase': 'train'}
    }
    dataset = build_dataset(options['datasets']['train'])
    assert dataset.rows.mos.tolist() == pytest.approx([row[2] / 100 for row in rows])
