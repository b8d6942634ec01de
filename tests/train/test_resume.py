"""A run that was killed, stopped or damaged goes on as if nothing had been."""

import os
import re
import signal

import pytest
import torch
from started import finished

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.data_order import mini_batches
from metaiqa_plugin.train.loop import Run


@pytest.mark.parametrize(
    'change',
    [
        {},
        {'moments': 'carried', 'batchnorm': 'running'},
        {'update': 'joint'},
        {'ema': 0.8, 'update': 'single'},
    ],
    ids=lambda change: ','.join(map(str, change.values())) or 'bilevel',
)
def test_a_killed_meta_training_goes_on_bit_for_bit(
    runs, meta_options, tmp_path, change
):
    meta_options['train']['meta'] |= change
    runs.run(meta_options, tmp_path / 'whole')
    code, _ = runs.kill_at(meta_options, tmp_path / 'killed', 5)
    assert code == -signal.SIGKILL
    runs.run(meta_options, tmp_path / 'killed', '--resume')
    assert len(runs.rows(tmp_path / 'whole', 'learning_curve.csv')) == 10
    assert runs.figures(tmp_path / 'whole') == runs.figures(tmp_path / 'killed')
    for label in ('latest', 'best'):
        whole = runs.weights(tmp_path / 'whole', label)
        assert runs.same(whole, runs.weights(tmp_path / 'killed', label))


def test_a_killed_adaptation_goes_on_bit_for_bit(runs, adapt_options, tmp_path):
    adapt_options['datasets']['train']['num_worker_per_gpu'] = 1
    runs.run(adapt_options, tmp_path / 'whole')
    runs.kill_at(adapt_options, tmp_path / 'killed', 3)
    runs.run(adapt_options, tmp_path / 'killed', '--resume')
    assert runs.figures(tmp_path / 'whole') == runs.figures(tmp_path / 'killed')
    assert runs.same(
        runs.weights(tmp_path / 'whole'), runs.weights(tmp_path / 'killed')
    )


def test_pyiqas_own_data_set_goes_on_bit_for_bit(runs, adapt_options, tmp_path):
    adapt_options['datasets']['train'] = {
        'name': 'small',
        'type': 'GeneralNRDataset',
        'meta_info_file': adapt_options['datasets']['train']['meta_info_file'],
        'dataroot_target': adapt_options['datasets']['train']['dataroot_target'],
        'split_index': 1,
        'augment': {'random_crop': 32, 'hflip': True},
        'mos_range': [1, 5],
        'mos_normalize': True,
        'lower_better': False,
        'num_worker_per_gpu': 2,
        'batch_size_per_gpu': 4,
    }
    adapt_options['model_type'] = 'GeneralIQAModel'
    runs.run(adapt_options, tmp_path / 'whole')
    runs.kill_at(adapt_options, tmp_path / 'killed', 3)
    runs.run(adapt_options, tmp_path / 'killed', '--resume')
    assert runs.figures(tmp_path / 'whole') == runs.figures(tmp_path / 'killed')
    assert runs.same(
        runs.weights(tmp_path / 'whole'), runs.weights(tmp_path / 'killed')
    )


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_the_run(runs, meta_options, tmp_path, number):
    meta_options['datasets']['train']['num_worker_per_gpu'] = 1
    runs.run(meta_options, tmp_path / 'whole')
    code, errors = runs.kill_at(meta_options, tmp_path / 'stopped', 3, number)
    assert code == 128 + number
    last = errors.strip().splitlines()[-1]
    assert number.name in last and '--resume' in last
    logged = len(runs.rows(tmp_path / 'stopped', 'learning_curve.csv'))
    assert (
        runs.folder(tmp_path / 'stopped') / f'training_states/{logged}.state'
    ).is_file()
    assert (runs.folder(tmp_path / 'stopped') / 'learning_curve.png').is_file()
    runs.run(meta_options, tmp_path / 'stopped', '--resume')
    assert runs.figures(tmp_path / 'whole') == runs.figures(tmp_path / 'stopped')
    assert runs.same(
        runs.weights(tmp_path / 'whole'), runs.weights(tmp_path / 'stopped')
    )


def test_damaged_states_are_passed_over(runs, meta_options, tmp_path):
    runs.run(meta_options, tmp_path)
    whole = runs.weights(tmp_path)
    states = runs.folder(tmp_path) / 'training_states'
    assert sorted(path.name for path in states.iterdir()) == [
        '10.state',
        '6.state',
        '8.state',
    ]
    (states / '.9.0123456789ab.tmp.state').write_bytes(b'half of a state')
    newest = states / '10.state'
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    content = bytearray((states / '8.state').read_bytes())
    content[len(content) // 2] ^= 255
    (states / '8.state').write_bytes(content)
    done = runs.process(meta_options, tmp_path, '--resume')
    assert '10.state' in done.stderr and '8.state' in done.stderr
    assert not list(states.glob('.*'))
    assert 'Going on from' in done.stderr and '6.state, iteration 6' in done.stderr
    assert runs.same(whole, runs.weights(tmp_path))


def test_without_a_readable_state_there_is_nothing_to_go_on_from(
    runs, meta_options, tmp_path
):
    meta_options['train']['total_iter'] = 2
    runs.run(meta_options, tmp_path)
    for path in (runs.folder(tmp_path) / 'training_states').iterdir():
        path.write_bytes(b'')
    done = runs.process(meta_options, tmp_path, '--resume', code=2)
    assert 'none of the 1 states' in done.stderr


def test_resuming_a_run_that_never_was_starts_it(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 2
    runs.run(meta_options, tmp_path, '--resume')
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == 2


def test_a_finished_run_stays_as_it_is(runs, meta_options, tmp_path):
    runs.run(meta_options, tmp_path)
    before = runs.weights(tmp_path), runs.figures(tmp_path)
    runs.run(meta_options, tmp_path, '--resume')
    assert runs.same(before[0], runs.weights(tmp_path)) and before[1] == runs.figures(
        tmp_path
    )


def test_a_run_can_be_made_longer_but_not_another_one(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 4
    runs.run(meta_options, tmp_path)
    meta_options['train']['total_iter'] = 6
    runs.run(meta_options, tmp_path, '--resume')
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == 6
    meta_options['train']['meta']['alpha'] = 2e-2
    done = runs.process(meta_options, tmp_path, '--resume', code=2)
    assert 'train.meta.alpha is 0.02, the run began with 0.01' in done.stderr


def test_a_reader_that_dies_is_named(runs, meta_options, tmp_path):
    meta_options['datasets']['train']['num_worker_per_gpu'] = 1
    meta_options['train']['total_iter'] = 1000
    done = runs.kill_at(meta_options, tmp_path, 3, signal.SIGKILL, only_readers=True)
    assert done[0] == 2, done[1]
    assert 'a process that reads images died' in done[1].splitlines()[-1]


@pytest.mark.parametrize('error', [ConnectionResetError, EOFError])
def test_so_is_one_that_does_not_answer_before_it_is_known_to_be_dead(error):
    def dying():
        yield 'a batch'
        raise error

    batches = mini_batches(dying())
    assert next(batches) == 'a batch'
    with pytest.raises(UserError, match='reads images died'):
        next(batches)


LIMITED = """
import resource, sys
from metaiqa_plugin.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
sys.exit(main(['train', *sys.argv[2:]]))
"""


def test_a_full_disk_leaves_the_last_good_state(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 2
    runs.run(meta_options, tmp_path)
    meta_options['train']['total_iter'] = 10
    states = runs.folder(tmp_path) / 'training_states'
    good = (states / '2.state').read_bytes()
    arguments = runs.command(meta_options, tmp_path, '--resume')[3:]
    python = runs.command(meta_options, tmp_path)[0]
    done = finished([python, '-c', LIMITED, '100000', *arguments])
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r'at iteration [34] ', last)
    assert '2.state' in last and '--resume' in last
    assert (states / '2.state').read_bytes() == good
    assert [path.name for path in states.iterdir()] == ['2.state']
    runs.run(meta_options, tmp_path, '--resume')


def test_divergence_keeps_the_last_good_state(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 4
    runs.run(meta_options, tmp_path)
    state = runs.folder(tmp_path) / 'training_states' / '4.state'
    content = torch.load(state, weights_only=True)
    assert all(value.isfinite().all() for value in content['network'].values())
    meta_options['name'] = 'diverging'
    meta_options['train']['meta'] |= {'alpha': 1e30, 'update': 'single'}
    done = runs.process(meta_options, tmp_path, code=2)
    last = done.stderr.strip().splitlines()[-1]
    assert 'diverged at update 1' in last and "task '" in last and 'step' in last


def test_pyiqas_script_puts_the_weights_back(runs, meta_options, tmp_path):
    """What ``pyiqa.train`` calls; on a CPU it fails before it gets there."""
    from pyiqa.models import build_model

    runs.run(meta_options, tmp_path)
    path = runs.folder(tmp_path) / 'training_states' / '6.state'
    options = meta_options | {
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
    }
    options['path'] = {'experiments_root': str(tmp_path)}
    model = build_model(options)
    state = torch.load(path, weights_only=True)
    model.resume_training(state)
    assert runs.same(state['network'], model.net.state_dict())
    assert model.best_metric_results == state['best']
    assert os.path.exists(path)


def test_a_state_of_pyiqas_script_is_not_mistaken_for_ours(
    runs, meta_options, tmp_path
):
    meta_options['train']['total_iter'] = 2
    runs.run(meta_options, tmp_path)
    path = runs.folder(tmp_path) / 'training_states' / '2.state'
    state = torch.load(path, weights_only=True)
    del state['options']
    torch.save(state, path)
    done = runs.process(meta_options, tmp_path, '--resume', code=2)
    assert 'written under pyiqa.train' in done.stderr.splitlines()[-1]


def test_a_run_without_validation_ends_well(runs, adapt_options, tmp_path):
    del adapt_options['val'], adapt_options['datasets']['val']
    adapt_options['train']['total_iter'] = 2
    runs.run(adapt_options, tmp_path)
    assert not (runs.folder(tmp_path) / 'validation.csv').exists()
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == 2


def test_a_kill_within_the_last_save_loses_nothing(
    runs, meta_options, tmp_path, monkeypatch
):
    runs.run(meta_options, tmp_path / 'whole')
    save = Run.save_weights

    def die_at_the_end(self, iteration):
        if self.done == self.order.total:
            raise RuntimeError('killed')
        save(self, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(Run, 'save_weights', die_at_the_end)
        with pytest.raises(RuntimeError, match='killed'):
            runs.run(meta_options, tmp_path / 'killed')
    runs.run(meta_options, tmp_path / 'killed', '--resume')
    whole = runs.weights(tmp_path / 'whole')
    assert runs.same(whole, runs.weights(tmp_path / 'killed'))
    assert runs.figures(tmp_path / 'whole') == runs.figures(tmp_path / 'killed')
