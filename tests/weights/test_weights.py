"""The metric that ships: its file, its card, and that it works as the README says."""

import os
import re
import socket
import sys
from pathlib import Path

import pyiqa
import pytest
import torch
from pyiqa import pyiqa_cmd
from scipy.stats import spearmanr

from metaiqa_plugin import weights
from metaiqa_plugin.archs.checkpoint import read_state_dict
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import CheckpointError
from metaiqa_plugin.files import sha256_of

README = Path(__file__).resolve().parents[2] / 'README.md'
SHIPPED = list(weights.FILES)


@pytest.fixture(scope='module')
def metric():
    return pyiqa.create_metric('metaiqa')


@pytest.mark.parametrize('name', SHIPPED)
def test_the_card_describes_the_file(name):
    card = weights.card(name)
    path = weights.shipped_path(name)
    assert card['name'] == weights.FILES[name]
    assert card['bytes'] == os.path.getsize(path)
    assert card['sha256'] == sha256_of(path)
    assert os.path.getsize(path) <= 12e6
    for key in ('trained_on', 'recipe', 'command', 'commit', 'results', 'terms'):
        assert card[key], key
    state = read_state_dict(path)
    kinds = {value.dtype for value in state.values() if value.is_floating_point()}
    assert kinds in ({torch.float16}, {torch.float32})


def test_another_file_is_refused(monkeypatch, tmp_path):
    for suffix in ('safetensors', 'md'):
        name = f'metaiqa.{suffix}'
        (tmp_path / name).write_bytes((weights.FOLDER / name).read_bytes())
    with (tmp_path / 'metaiqa.safetensors').open('ab') as file:
        file.write(b'\0')
    monkeypatch.setattr(weights, 'FOLDER', tmp_path)
    uncached = weights.shipped_path.__wrapped__
    with pytest.raises(CheckpointError, match='SHA-256'):
        uncached('metaiqa')
    (tmp_path / 'metaiqa.safetensors').unlink()
    with pytest.raises(CheckpointError, match='is missing'):
        uncached('metaiqa')


@pytest.mark.parametrize('name', SHIPPED)
def test_scores_of_carried_photos_are_those_recorded(name, photos):
    """Golden: computed by this package with the shipped weights, torch 2.14.1, CPU."""
    golden = weights.card(name)['golden']
    metric = pyiqa.create_metric(name)
    assert len(golden) >= 3
    for photo, score in golden.items():
        path = next(path for path in photos if path.name == photo)
        assert metric(str(path)).item() == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize('distortion', ['gaussian_blur', 'jpeg', 'white_noise'])
def test_scores_fall_with_the_level(metric, photos, distortion):
    levels, scores = [], []
    for path in photos[:5]:
        photo = read_rgb(path).resize((384, 256))
        for level in range(1, 6):
            levels.append(level)
            scores.append(metric(distort(photo, distortion, level)).item())
    assert spearmanr(levels, scores).statistic < -0.5


def test_it_needs_no_network(monkeypatch, photos):
    def refuse(*arguments, **named):
        raise OSError('no network in this test')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    metric = pyiqa.create_metric('metaiqa')
    assert metric(str(photos[0])).item() == metric(str(photos[0])).item()


def test_pyiqas_command_scores_with_it(monkeypatch, capfd, photos):
    arguments = ['pyiqa', 'metaiqa', '-t', str(photos[0]), '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', arguments)
    pyiqa_cmd.main()
    golden = weights.card('metaiqa')['golden'][photos[0].name]
    printed = re.search(r"'mean': np.float64\(([\d.]+)\)", capfd.readouterr().out)
    assert float(printed.group(1)) == pytest.approx(golden, abs=1e-3)


@pytest.mark.parametrize('name', SHIPPED)
def test_the_readme_quotes_the_card(name):
    results = weights.card(name)['results']
    text = README.read_text(encoding='utf-8')
    for value in (results['srocc'], results['plcc']):
        assert f'{value:.3f}' in text
