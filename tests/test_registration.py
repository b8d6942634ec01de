"""How pyiqa finds us: in fresh processes, with plugin failures as errors."""

import os
import subprocess
import sys
from urllib.error import URLError

import pyiqa
import pyiqa.archs.metaiqa_arch as theirs
import pytest
from pyiqa.default_model_configs import DEFAULT_CONFIGS
from pyiqa.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

import metaiqa_plugin
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.registration import (
    DATASETS,
    METRIC_OF_NETWORK,
    METRICS,
    MODELS,
    registered,
)

OURS = 'metaiqa_plugin.archs.metaiqa_arch'
CREATE = "pyiqa.create_metric('metaiqa', backbone='test_resnet', pretrained=False)"


def python(code, *flags):
    """Standard output of a fresh interpreter that has no network to use."""
    blocked = {'HF_HUB_OFFLINE': '1', 'http_proxy': 'http://127.0.0.1:9'}
    blocked['https_proxy'] = blocked['http_proxy']
    done = subprocess.run(
        [sys.executable, '-W', 'error::RuntimeWarning', *flags, '-c', code],
        capture_output=True,
        text=True,
        env=os.environ | blocked,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    'imports',
    [
        'import pyiqa',
        'import pyiqa.archs.metaiqa_arch, metaiqa_plugin',
        'import metaiqa_plugin, pyiqa.archs.metaiqa_arch',
        'import pyiqa.archs.metaiqa_arch',
    ],
)
def test_any_import_order_gives_our_network_and_keeps_theirs(imports):
    code = (
        f'{imports}\n'
        'import pyiqa, pyiqa.archs.metaiqa_arch as theirs\n'
        f'ours = {CREATE}.net\n'
        "official = pyiqa.create_metric('metaiqa-official', pretrained=False).net\n"
        'assert isinstance(official, theirs.MetaIQA)\n'
        'assert not isinstance(ours, theirs.MetaIQA)\n'
        'assert not ours.train().training\n'
        'print(type(ours).__module__)'
    )
    assert python(code) == OURS


def test_other_networks_of_ours_are_found_without_an_import():
    code = (
        'import pyiqa\n'
        "metric = pyiqa.create_metric('metaiqa', type='RankIQA', pretrained=False)\n"
        'print(type(metric.net).__module__)'
    )
    assert python(code) == 'metaiqa_plugin.archs.rankiqa_arch'


def test_importing_lists_our_metrics_and_loads_no_training_code():
    code = (
        'import sys, metaiqa_plugin, pyiqa\n'
        "slow = {'learn2learn', 'matplotlib.pyplot', "
        "'metaiqa_plugin.train.metaiqa_model'}\n"
        "names = pyiqa.list_models('NR', filter='metaiqa*')\n"
        'print(*names, *slow & set(sys.modules))'
    )
    assert python(code) == 'metaiqa metaiqa-livec metaiqa-official metaiqa-prior'


def test_trainer_dataset_and_networks_are_found_by_name_alone():
    code = (
        'from pyiqa.utils.registry import ARCH_REGISTRY\n'
        'from pyiqa.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY\n'
        "found = [MODEL_REGISTRY.get('MetaIQAModel')]\n"
        "found += [DATASET_REGISTRY.get('EpisodeDataset')]\n"
        "networks = 'MetaIQA', 'RankIQA', 'HyperIQA'\n"
        'found += [ARCH_REGISTRY.get(name) for name in networks]\n'
        "print(*(f'{one.__module__}.{one.__name__}' for one in found))"
    )
    assert python(code).split() == [
        'metaiqa_plugin.train.metaiqa_model.MetaIQAModel',
        'metaiqa_plugin.data.episodes.EpisodeDataset',
        'metaiqa_plugin.archs.metaiqa_arch.MetaIQA',
        'metaiqa_plugin.archs.rankiqa_arch.RankIQA',
        'metaiqa_plugin.archs.hyperiqa_arch.HyperIQA',
    ]


def test_everything_registered_is_what_its_name_says_and_stays_when_done_again():
    metaiqa_plugin.register()
    for registry, names in ((MODEL_REGISTRY, MODELS), (DATASET_REGISTRY, DATASETS)):
        for name in names:
            found = registry.get(name)
            assert (found.__name__, found.__module__) == (name, names[name])
    for network, metric in METRIC_OF_NETWORK.items():
        assert METRICS[metric]['metric_opts'] == {'type': network}
        assert DEFAULT_CONFIGS[metric] == METRICS[metric]
        assert registered('network', network).NAME == network


def test_what_option_files_name_is_found():
    assert registered('network', 'CNNIQA').__module__ == 'pyiqa.archs.cnniqa_arch'
    assert registered('loss', 'L1Loss').__module__.startswith('pyiqa.losses')
    assert registered('metric', 'calculate_srcc')([1, 2, 3], [2, 3, 4]) == 1
    for kind in ('network', 'loss', 'metric'):
        with pytest.raises(KeyError, match='Nothing'):
            registered(kind, 'Nothing')


def test_official_metric_without_network_says_what_to_do(monkeypatch):
    def unreachable(url):
        raise URLError('no route')

    monkeypatch.setattr(theirs, 'load_file_from_url', unreachable)
    with pytest.raises(UserError, match='pretrained_model_path=FILE'):
        pyiqa.create_metric('metaiqa-official')
