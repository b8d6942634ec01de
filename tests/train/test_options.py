"""Option files: every shipped one, and the faults that are found."""

from pathlib import Path

import pytest
import yaml

from metaiqa_plugin.cli import main
from metaiqa_plugin.registration import build_network
from metaiqa_plugin.train.options import find_faults, option_file, read_options

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / 'options' / 'train').rglob('*.yml'))


def test_every_shipped_file_is_bound_to_what_reads_it():
    assert SHIPPED
    faults = {
        str(path.relative_to(ROOT)): found
        for path in SHIPPED
        if (found := list(find_faults(read_options(path))))
    }
    assert not faults, yaml.safe_dump(faults)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.name)
def test_every_shipped_file_begins_with_the_command_that_runs_it(path):
    head = path.read_text().split('\nname:')[0]
    assert f'metaiqa train -opt {path.relative_to(ROOT)}' in head


@pytest.mark.parametrize(
    ('name', 'kind', 'file'),
    [
        ('metaiqa_kodak', 'train', 'MetaIQA/metaiqa_kodak.yml'),
        ('MetaIQA/metaiqa_kodak.yml', 'train', 'MetaIQA/metaiqa_kodak.yml'),
        ('options/train/CNNIQA/cnniqa_kodak.yml', 'train', 'CNNIQA/cnniqa_kodak.yml'),
        ('metric_livec', 'train', 'MetaIQA/metric_livec.yml'),
        ('metric_livec', 'benchmark', 'metric_livec.yml'),
        ('authentic_livec', 'benchmark', 'authentic_livec.yml'),
        ('small/authentic_livec', 'benchmark', 'small/authentic_livec.yml'),
    ],
)
def test_what_is_shipped_is_found_by_name(name, kind, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(option_file(name, kind)) == ROOT / 'options' / kind / file
    assert option_file('iqa_kodak', kind) == 'iqa_kodak'
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert option_file(name, kind) == name


def test_shipped_files_are_listed_and_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(['options']) == 0
    listed = capfd.readouterr().out.splitlines()
    assert len(listed) == len(set(listed)) == len(list(ROOT.glob('options/**/*.yml')))
    for name in listed:
        assert main(['options', '--show', name]) == 0
        assert capfd.readouterr().out == (ROOT / 'options' / name).read_text('utf-8')
    assert main(['options', '--show', 'nothing']) == 2
    assert main(['train', '-opt', 'nothing']) == 2
    assert 'metaiqa options lists' in capfd.readouterr().err


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A package of the user's, and a module that cannot be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'own_nets').mkdir()
    (tmp_path / 'own_nets' / 'small.py').write_text(
        'from torch import nn\n\n\nclass Net(nn.Conv2d):\n'
        '    def __init__(self, width=3):\n        super().__init__(width, 1, 1)\n'
        '\n\ndef build(**arguments):\n    raise SystemExit\n'
    )
    (tmp_path / 'own_broken.py').write_text('nothing_there')


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'type': 'own_nets.small.Net', 'width': 5}, None),
        ({'type': 'own_nets.small.Net', 'depth': 5}, 'unknown option network.depth'),
        ({'type': 'own_nets.small.build'}, 'derives from torch.nn.Module'),
        ({'type': 'os.system', 'command': 'touch hacked'}, 'derives from torch.nn'),
        ({'type': 'own_nets.small.Nett'}, 'cannot be imported'),
        ({'type': 'nowhere.Net'}, 'PYTHONPATH=.'),
        ({'type': 'own_broken.Net'}, "name 'nothing_there' is not defined"),
        ({'type': '.Net'}, 'cannot be imported'),
    ],
)
def test_a_network_may_be_of_any_package(modules, block, message):
    faults = list(find_faults(good() | {'network': block}))
    if message is None:
        assert not faults
        assert build_network(block).in_channels == 5
    else:
        assert len(faults) == 1 and message in faults[0]


def good():
    return read_options(ROOT / 'options/train/MetaIQA/metaiqa_kodak.yml')


def put(options, where, value):
    *parents, last = where.split('.')
    for key in parents:
        options = options[key]
    options[last] = value


@pytest.mark.parametrize(
    ('where', 'value'),
    [
        ('trian', 1),
        ('path.strict_load_g', True),
        ('train.meta.alhpa', 0.1),
        ('train.optim.learning_rate', 0.1),
        ('train.optim.type', 'Adamm'),
        ('train.scheduler.gama', 0.1),
        ('train.mos_loss_opt.weight', 1),
        ('train.ema_decay', 0.9),
        ('val.metrics.srcc.type', 'calculate_sroc'),
        ('val.frequency', 3),
        ('network.backbon', 'resnet18'),
        ('network.type', 'MetaIQ'),
        ('datasets.train.crop', 224),
        ('datasets.val.mosrange', [0, 1]),
        ('datasets.val.augment', {'hflipp': True}),
        ('logger.pbar', True),
    ],
)
def test_a_key_that_nobody_reads_is_found(where, value):
    options = good()
    assert not list(find_faults(options))
    put(options, where, value)
    (fault,) = find_faults(options)
    last = value if where.endswith('type') else where.split('.')[-1]
    last = 'hflipp' if last == 'augment' else last
    assert str(last) in fault


def test_a_key_that_nobody_reads_is_found_in_each_of_several_databases():
    options = good()
    block = options['datasets']['train']
    block['databases'] = [{'database': 'bid'}, {'database': 'live', 'mosrange': [1, 5]}]
    for key in ('meta_info_file', 'dataroot_target', 'mos_range'):
        del block[key]
    (fault,) = find_faults(options)
    assert fault.startswith("datasets.train.databases[1]: unknown options ['mosrange']")
    block['databases'][1] = {'database': 'lvie'}
    (fault,) = find_faults(options)
    assert "datasets.train.databases[1].database='lvie': expected one of" in fault


def test_all_faults_are_named_together():
    options = good()
    del options['network']
    options['trian'] = options['valid'] = 1
    assert len(list(find_faults(options))) == 3


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'no such option file'),
        ('a: [1', 'line 1: while parsing'),
        ('', 'holds no options'),
        ('name: x', 'train.optim is missing'),
    ],
)
def test_the_command_ends_with_one_line(tmp_path, capfd, content, message):
    path = tmp_path / 'options.yml'
    if content is not None:
        path.write_text(content)
    assert main(['train', '-opt', str(path)]) == 2
    error = capfd.readouterr().err
    assert error.count('\n') == 1
    assert message in error


def test_pyiqas_way_to_name_a_state_is_refused(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / 'options/train/MetaIQA/metaiqa_kodak.yml')
    command = ['train', '-opt', path, '--set', 'path.resume_state=a.state']
    assert main(command) == 2
    assert 'path.resume_state' in capfd.readouterr().err


def test_weights_to_start_from_that_do_not_exist_are_named(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / 'options/train/MetaIQA/adapt_livec.yml')
    assert main(['train', '-opt', path]) == 2
    error = capfd.readouterr().err
    assert "path.pretrain_network='experiments/MetaIQA_kodak" in error
    assert error.count('\n') == 1
