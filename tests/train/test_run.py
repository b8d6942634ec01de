"""``--set`` changes a run as its file would."""

import sys

from metaiqa_plugin.cli import main
from metaiqa_plugin.train.run import train


def test_set_is_as_if_the_file_said_so(
    meta_options, tmp_path, runs, whole_run, monkeypatch
):
    mine = ['mine', '--force_yml', 'name=../victim']
    monkeypatch.setattr(sys, 'argv', mine)
    meta_options['train'] |= {'total_iter': 7, 'optim': {'type': 'SGD', 'lr': 9.0}}
    changes = ('--set', 'name=first', '--set', 'train.optim={type: SGD, lr: 8}')
    changes += ('--set', 'train.total_iter=2', '--set', 'name=other')
    changes += ('--set', 'train.optim.lr=1e0')
    command = runs.command(meta_options, tmp_path, *changes)
    assert main(['train', *command[3:]]) == 0
    assert sys.argv is mine
    folder = runs.folder(tmp_path, 'other')
    assert (folder / 'models' / 'net_latest.pth').is_file()
    curve = (folder / 'learning_curve.csv').read_text()
    assert runs.figures(whole_run)['learning_curve.csv'].startswith(curve)
    assert len(curve.splitlines()) == 3


def test_options_may_be_given_as_a_dict_and_are_left_as_they_are(
    meta_options, tmp_path, runs, whole_run
):
    before = repr(meta_options)
    train(meta_options, tmp_path, changes={'train.total_iter': 2})
    assert repr(meta_options) == before
    train(runs.folder(tmp_path) / 'options.yml', tmp_path / 'again')
    curves = [
        runs.figures(root)['learning_curve.csv']
        for root in (tmp_path, tmp_path / 'again')
    ]
    assert curves[0] == curves[1]
    assert runs.figures(whole_run)['learning_curve.csv'].startswith(curves[0])
    logs = [*runs.folder(tmp_path).glob('*.log')]
    assert len(logs) == 1 and 'Iterations 1 to 2.' in logs[0].read_text()
