"""No option file runs code, or leaves the folder that it is given."""

import csv
from pathlib import Path

import pytest

from metaiqa_plugin.cli import main
from metaiqa_plugin.data.datasets import DatasetImages
from metaiqa_plugin.errors import UserError, file_name
from metaiqa_plugin.option_yaml import dump
from metaiqa_plugin.train.options import find_faults, read_options

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
KODAK = OPTIONS / 'train' / 'MetaIQA' / 'metaiqa_kodak.yml'
SEVERAL = OPTIONS / 'train' / 'MetaIQA' / 'metaiqa_tid2013.yml'
NO_NAMES = [
    '../../victim',
    '..',
    '.',
    '/victim',
    'a/b',
    'a\\b',
    'C:a',
    '',
    ' ',
    'a\nb',
    'a\0b',
    'a\u202eb',
    '\ud800',
    'NUL',
    'con.txt',
    'lpt1',
    'COM²',
    'a.',
    'a ',
    ' a',
    'a*',
    'a' * 201,
    3,
    None,
    ['a'],
]
NAMES = [
    'a',
    '.a',
    'MetaIQA, running BN',
    'BRISQUE + SVR',
    'a=1',
    'ü',
    '迁移',
    'console',
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with folders around it that are nobody's business."""
    folder = tmp_path / 'work' / 'here'
    folder.mkdir(parents=True)
    for victim in (tmp_path, tmp_path / 'work', folder):
        (victim / 'victim').mkdir()
        (victim / 'victim' / 'thesis.txt').write_text('kept')
    (folder / 'experiments').mkdir()
    monkeypatch.chdir(folder)
    return folder


def tree(folder):
    return sorted(str(path) for path in folder.rglob('*'))


def error_line(capfd):
    error = capfd.readouterr().err
    assert error.count('\n') == 1, error
    assert 'Traceback' not in error
    return error


def exploit(here, begin=''):
    """An option file that makes ``here/marker`` if it is trusted; the marker."""
    marker = here / 'marker'
    call = f'!!python/object/apply:os.system ["touch {marker}"]'
    Path('bad.yml').write_text(f'{begin}about: {call}\n')
    return marker


@pytest.mark.parametrize(
    'command',
    [['train'], ['benchmark'], ['benchmark', '--list'], ['train', '--resume']],
    ids=' '.join,
)
def test_an_option_file_runs_no_code(command, here, capfd):
    marker = exploit(here, KODAK.read_text())
    assert main([*command, '-opt', 'bad.yml']) == 2
    line = error_line(capfd)
    assert "'bad.yml', line " in line
    assert 'os.system' in line
    assert not marker.exists()


def test_nor_does_the_file_of_a_method(here, capfd):
    marker = exploit(here)
    with open('scores.csv', 'w', newline='') as file:
        rows = [(f'{i}.png', i, 'a' * (1 + i % 2)) for i in range(8)]
        columns = ('img_name', 'mos', 'distortion')
        csv.writer(file).writerows([columns, *rows])
    options = {
        'name': 'x',
        'protocol': {'type': 'leave_one_distortion_out', 'database': 'small'},
        'databases': {
            'small': {
                'meta_info_file': 'scores.csv',
                'dataroot_target': '.',
                'mos_range': [0, 10],
            }
        },
        'methods': {'MetaIQA': {'prior': 'bad.yml'}},
    }
    Path('run.yml').write_text(dump(options))
    assert main(['benchmark', '--list', '-opt', 'run.yml']) == 2
    assert 'os.system' in error_line(capfd)
    assert not marker.exists()


@pytest.mark.parametrize(
    'given',
    [
        ['--set', 'name=!!python/object/apply:os.system ["touch marker"]'],
        [
            '--force_yml',
            'name=["touch marker", __import__("os").system("touch marker")]',
        ],
        ['--force_yml', 'x"]=open("marker", "w")#=1'],
        ['--force_yml=name=[__import__("os").system("touch marker")]'],
    ],
)
def test_an_argument_runs_no_code(given, here, capfd):
    assert main(['train', '-opt', str(KODAK), *given]) == 2
    assert '--set' in error_line(capfd)
    assert not (here / 'marker').exists()


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('name', "--set 'name': expected KEY=VALUE"),
        ('=3', 'expected KEY=VALUE'),
        ('a..b=3', 'expected KEY=VALUE'),
        ('name=[1', "--set 'name=[1', line 1: "),
        ('name.x=3', 'name is'),
        ('train.optim.rate=3', 'unknown option train.optim.rate'),
        ('name=../victim', "name='../victim'"),
        ('path.models=/tmp/x', 'unknown option path.models'),
        ('path.experiments_root=victim', 'unknown option path.experiments_root'),
        ('manual_seed=x', "manual_seed='x'"),
        ('manual_seed=4294967296', 'manual_seed=4294967296'),
    ],
)
def test_a_change_that_can_not_be(given, message, here, capfd):
    before = tree(here)
    assert main(['train', '-opt', str(KODAK), '--set', given]) == 2
    assert message in error_line(capfd)
    assert tree(here) == before


@pytest.mark.parametrize('name', NO_NAMES, ids=ascii)
def test_it_is_no_name(name):
    with pytest.raises(UserError, match=r'^key=') as caught:
        file_name('key', name)
    assert repr(name)[:90] in str(caught.value)
    assert '\n' not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize('name', NAMES)
def test_it_is_a_name(name):
    file_name('key', name)


@pytest.mark.parametrize('name', ['../../victim', '../victim', '.', '..', '', 'a/b'])
@pytest.mark.parametrize('command', [['train'], ['train', '--resume']], ids=' '.join)
def test_a_training_stays_below_its_root(name, command, here, tmp_path, capfd):
    options = read_options(KODAK)
    options['path']['pretrain_network'] = None
    options['name'] = name
    Path('run.yml').write_text(dump(options))
    before = tree(tmp_path)
    assert main([*command, '-opt', 'run.yml']) == 2
    assert f'name={name!r}: expected a name' in error_line(capfd)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ('name', 'database', 'method', 'where'),
    [
        ('../victim', 'd', 'm', 'name'),
        ('..', 'd', 'm', 'name'),
        (7, 'd', 'm', 'name'),
        ('x', '/../../../../../victim/thesis', 'm', 'databases: name'),
        ('x', 'd', '../../victim', 'methods: name'),
        ('x', 'd', '..', 'methods: name'),
    ],
)
def test_a_benchmark_stays_below_its_root(
    name, database, method, where, here, tmp_path, capfd
):
    options = {
        'name': name,
        'protocol': {'type': 'zero_shot', 'targets': [database]},
        'databases': {database: {'meta_info_file': 'x.csv', 'dataroot_target': '.'}},
        'methods': {method: {'metric': 'niqe'}},
    }
    Path('run.yml').write_text(dump(options))
    before = tree(tmp_path)
    for more in ([], ['--list']):
        assert main(['benchmark', '-opt', 'run.yml', *more]) == 2
        assert f'run.yml: {where}=' in error_line(capfd)
    assert tree(tmp_path) == before


def test_a_database_of_several_stays_below_the_store(database):
    several = [
        {
            'name': name,
            'meta_info_file': str(database / 'meta_info_small.csv'),
            'dataroot_target': str(database / 'images'),
            'mos_range': [1, 5],
        }
        for name in ('a', '../../victim')
    ]
    options = read_options(SEVERAL)
    block = options['datasets']['train']
    block['databases'] = [
        {'database': 'bid'},
        {'database': 'bid', 'name': '../../victim'},
    ]
    del block['database'], block['split_index'], block['exclude_distortions']
    (fault,) = find_faults(options)
    assert "datasets.train.databases[1].name='../../victim'" in fault
    with pytest.raises(UserError, match=r"databases\[1\]\.name='\.\./\.\./victim'"):
        DatasetImages({'databases': several, 'store': 'store'}, 'both')
