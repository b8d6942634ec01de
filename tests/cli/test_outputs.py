"""Where every verb writes: a place that takes nothing is one line and code 2."""

import errno
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.cli import VERBS, main
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing
from metaiqa_plugin.train import adapt

PLACES = ('folder', 'long', 'below a file', 'no permission')
OF_FOLDERS = ('synthesize', 'explain', 'ranking', 'gmad', 'hyper-weights')
ODD_NAMES = (b'x' * 251 + b'.png', b'caf\xe9.png', 'ä 1.png'.encode())
OF_FILES = {'score': '.csv', 'prepare': '.csv', 'adapt': '.pth', 'export': '.onnx'}


@pytest.fixture
def command(tmp_path, small_photos, checkpoint):
    """Arguments of a verb that are right but for the place, by verb and place."""
    labels = tmp_path / 'labels.csv'
    names = sorted(os.listdir(small_photos))
    rows = [f'{name},0.{place}\n' for place, name in enumerate(names)]
    labels.write_text(''.join(['image,mos\n', *rows]))
    photos, metric = str(small_photos), ['--metric', checkpoint]
    levels = ['--quality-levels', '2']
    fixed = {
        'score': [photos, *metric],
        'prepare': ['csv', photos, '--scores', str(labels)],
        'adapt': ['--images', photos, '--scores', str(labels), '--steps', '2', *metric],
        'explain': [photos, *metric],
        'export': metric,
        'ranking': [photos, *metric, '--types', 'jpeg', '--levels', '1', '2'],
        'gmad': [photos, '--defender', checkpoint, '--attacker', 'piqe', *levels],
        'hyper-weights': [photos],
    }

    def arguments(verb, place):
        end = OF_FILES.get(verb, '')
        (tmp_path / 'file').touch()
        is_there = tmp_path / f'there{end}'
        is_there.touch() if verb in OF_FOLDERS else is_there.mkdir()
        out = {
            'folder': is_there,
            'long': tmp_path / f'{"n" * 300}{end}',
            'below a file': tmp_path / 'file' / f'out{end}',
            'no permission': f'/proc/nowhere/out{end}',
        }[place]
        if verb == 'synthesize':
            return [verb, photos, str(out), '--types', 'jpeg']
        overwrite = ['--overwrite'] if place == 'folder' else []
        return [verb, *fixed[verb], '--out', str(out), *overwrite]

    return arguments


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('verb', (*OF_FILES, *OF_FOLDERS))
def test_a_place_that_cannot_be_written_is_one_line(command, capfd, verb, place):
    assert main(command(verb, place)) == 2
    streams = capfd.readouterr()
    lines = [line for line in streams.err.splitlines() if line.startswith('metaiqa:')]
    assert len(lines) == 1, streams
    assert 'Traceback' not in streams.err


@pytest.mark.parametrize(
    'name', [b'x' * 251 + b'.png', b'caf\xe9.png', 'ä 1.png'.encode()]
)
@pytest.mark.parametrize('verb', ['explain', 'ranking', 'gmad', 'synthesize'])
def test_odd_names_of_images_end_no_run(
    tmp_path, small_photos, checkpoint, capfd, monkeypatch, verb, name
):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for path, copy in zip(small_photos.iterdir(), (name, b'two.png'), strict=False):
        shutil.copy(path, os.fsencode(folder) + b'/' + copy)
    monkeypatch.chdir(tmp_path)
    rival = str(tmp_path / 'rival.pth')
    torch.manual_seed(1)
    network = MetaIQA('test_efficientnet', pretrained=False, input_size=64)
    write_state_dict(rival, network.state_dict())
    metric = ['--metric', checkpoint]
    one_level = ['--quality-levels', '1']
    few = ['--types', 'jpeg', '--levels', '1', '5']
    arguments = {
        'explain': [*metric, '--maps', 'quality'],
        'ranking': [*metric, *few],
        'gmad': ['--defender', checkpoint, '--attacker', rival, *one_level],
        'synthesize': ['database', *few, '--workers', '1'],
    }[verb]
    code = main([verb, str(folder), *arguments])
    told = capfd.readouterr().err
    refused = verb == 'synthesize' and not name.endswith(b' 1.png')
    assert code == refused, told
    assert ('rename it' in told) == refused
    rows = b''.join(path.read_bytes() for path in tmp_path.glob('*/*.csv'))
    assert (name in rows) != refused


@pytest.mark.parametrize('place', ['a file', 'full'])
def test_what_was_learned_is_kept_where_its_place_is_gone_at_the_end(
    tmp_path, command, capfd, monkeypatch, place
):
    monkeypatch.chdir(tmp_path)
    arguments = command('adapt', 'long')
    arguments[-1] = 'adapted.pth'
    real = torch.save

    def adapted(network, labelled, settings):
        if place == 'a file':
            Path('adapted.pth').touch()
        else:
            monkeypatch.setattr(torch, 'save', full)
        return [1.0]

    def full(state, path):
        monkeypatch.setattr(torch, 'save', real)
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(adapt, 'adapt', adapted)
    assert main(arguments) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    kept = re.search(r"kept as '([^']+)'$", line)[1]
    assert MetaIQA(pretrained_model_path=kept).config.hidden == 16
    shutil.rmtree(Path(kept).parent)


def test_what_was_written_is_kept_beside_what_cannot_be_replaced(tmp_path):
    path = tmp_path / 'table.csv'
    with (
        pytest.raises(UserError, match=r"table\.csv' cannot be replaced .Is a dir"),
        replacing(path) as temporary,
    ):
        temporary.write_text('long work')
        path.mkdir()
    (kept,) = (each for each in tmp_path.iterdir() if each.is_file())
    assert kept.read_text() == 'long work' and kept.suffix == '.csv'


@pytest.mark.parametrize('verb', VERBS)
def test_standard_output_that_takes_nothing_is_one_line(verb, monkeypatch, capfd):
    with open('/dev/full', 'w') as full:
        monkeypatch.setattr(sys, 'stdout', full)
        assert main([verb, '--help']) == 2
    expected = 'metaiqa: cannot read or write: No space left on device\n'
    assert capfd.readouterr().err == expected
    monkeypatch.setattr(sys, 'stdout', None)
    assert main([verb, '--help']) == 2
    assert 'standard output is closed' in capfd.readouterr().err


@pytest.mark.parametrize('verb', VERBS)
def test_standard_error_that_takes_nothing_leaves_the_code(verb, monkeypatch):
    with open('/dev/full', 'w') as full:
        monkeypatch.setattr(sys, 'stderr', full)
        assert main([verb, '--no-such-option']) == 2
    monkeypatch.setattr(sys, 'stderr', None)
    assert main([verb, '--no-such-option']) == 2


def test_rows_on_a_full_standard_output(monkeypatch, capfd, small_photos, checkpoint):
    with open('/dev/full', 'w') as full:
        monkeypatch.setattr(sys, 'stdout', full)
        assert main(['score', str(small_photos), '--metric', checkpoint]) == 2
    assert 'No space left on device' in capfd.readouterr().err
