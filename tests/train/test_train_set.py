"""``--set`` changes a run as its file would."""

import sys

from metaiqa_plugin.train.run import train


def test_set_is_as_if_the_file_said_so(meta_options, tmp_path, runs):
    changed = {**meta_options, 'name': 'other', 'manual_seed': 4}
    changed['train'] = {**meta_options['train'], 'total_iter': 2}
    changed['train']['optim'] = {'type': 'SGD', 'lr': 3e-1}
    runs.run(changed, tmp_path / 'file')
    runs.run(
        meta_options,
        tmp_path / 'set',
        *('--set', 'name=first', '--set', 'manual_seed=4'),
        *('--set', 'train.total_iter=2', '--set', 'name=other'),
        *('--set', 'train.optim={type: SGD, lr: 1}', '--set', 'train.optim.lr=3e-1'),
    )
    for name in ('models/net_latest.pth', 'learning_curve.csv'):
        assert (runs.folder(tmp_path / 'set', 'other') / name).is_file()
    curves = [
        (runs.folder(tmp_path / root, 'other') / 'learning_curve.csv').read_text()
        for root in ('file', 'set')
    ]
    assert curves[0] == curves[1]


def test_the_arguments_of_the_process_are_left_alone(
    meta_options, tmp_path, runs, monkeypatch
):
    mine = ['mine', '--force_yml', 'name=../victim']
    monkeypatch.setattr(sys, 'argv', mine)
    meta_options['train']['total_iter'] = 2
    command = runs.command(meta_options, tmp_path)
    train(command[command.index('-opt') + 1], tmp_path)
    assert sys.argv is mine
    assert (runs.folder(tmp_path) / 'models' / 'net_latest.pth').is_file()
