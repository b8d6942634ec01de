"""Where every verb writes: a place that takes nothing is one line and code 2."""

import os
import sys

import pytest

from metaiqa_plugin.cli import VERBS, main

PLACES = ('folder', 'long', 'below a file', 'no permission')
OF_FOLDERS = ('synthesize', 'explain', 'ranking', 'gmad', 'hyper-weights')
OF_FILES = {'score': '.csv', 'prepare': '.csv', 'adapt': '.pth', 'export': '.onnx'}


@pytest.fixture
def command(tmp_path, small_photos, checkpoint):
    """Arguments of a verb that are right but for the place, by verb and place."""
    labels = tmp_path / 'labels.csv'
    names = sorted(os.listdir(small_photos))
    labels.write_text('image,mos\n' + ''.join(f'{name},0.5\n' for name in names))
    photos, metric = str(small_photos), ['--metric', checkpoint]
    fixed = {
        'score': [photos, *metric],
        'prepare': ['csv', photos, '--scores', str(labels)],
        'adapt': ['--images', photos, '--scores', str(labels), '--steps', '2', *metric],
        'explain': [photos, *metric],
        'export': metric,
        'ranking': [photos, *metric, '--types', 'jpeg', '--levels', '1', '2'],
        'gmad': [photos, '--defender', checkpoint, '--attacker', 'piqe'],
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


@pytest.mark.parametrize('verb', [verb for verb in VERBS if verb != 'pyiqa'])
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
