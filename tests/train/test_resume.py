"""A run that was killed, stopped or damaged continues as if nothing had happened."""

import re
import resource
import signal

import pytest
import torch
from pyiqa.models import build_model

from metaiqa_plugin.cli import main
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.data_order import mini_batches
from metaiqa_plugin.train.loop import Run


def assert_alike(runs, one, other, labels=('latest', 'best')):
    assert runs.figures(one) == runs.figures(other)
    for label in labels:
        assert runs.same(runs.weights(one, label), runs.weights(other, label))


def refused(runs, options, root, capsys):
    """The last line of a resume that ends with code 2."""
    assert main(['train', *runs.command(options, root, '--resume')[3:]]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def keep_states(runs, root, *names):
    states = runs.folder(root) / 'training_states'
    for path in states.iterdir():
        if path.name not in names:
            path.unlink()
    return states


def test_a_killed_run_goes_on_bit_for_bit(runs, meta_options, whole_run, tmp_path):
    code, _ = runs.kill_at(meta_options, tmp_path, 5)
    assert code == -signal.SIGKILL
    runs.run(meta_options, tmp_path, resume=True)
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == 10
    assert_alike(runs, whole_run, tmp_path)


@pytest.mark.parametrize(
    'change',
    [
        {'moments': 'carried', 'batchnorm': 'running'},
        {'update': 'joint'},
        {'ema': 0.8, 'update': 'single'},
        {'update': 'maml'},
    ],
    ids=lambda change: ','.join(map(str, change.values())),
)
def test_each_kind_of_update_goes_on_bit_for_bit_on_the_same_tasks(
    runs, meta_options, whole_run, tmp_path, change
):
    meta_options['train']['meta'] |= change
    meta_options['val']['val_freq'] = 2
    meta_options['train']['total_iter'] = 4
    runs.run(meta_options, tmp_path / 'whole')
    meta_options['train']['total_iter'] = 2
    runs.run(meta_options, tmp_path / 'parts')
    meta_options['train']['total_iter'] = 4
    runs.run(meta_options, tmp_path / 'parts', resume=True)
    labels = ['latest'] if change.get('update') == 'maml' else ['latest', 'best']
    assert_alike(runs, tmp_path / 'whole', tmp_path / 'parts', labels)
    tasks = runs.rows(tmp_path / 'whole', 'task_losses.csv')
    if change.get('update') == 'joint':
        assert {row['task'] for row in tasks} == {'all'}
        return
    bilevel = runs.rows(whole_run, 'task_losses.csv')[: len(tasks)]
    assert [row['task'] for row in tasks] == [row['task'] for row in bilevel]
    if change.get('update') == 'single':
        assert tasks[0]['l_support'] == bilevel[0]['l_support']
    assert tasks != bilevel


def test_pyiqas_own_model_and_data_set_go_on_bit_for_bit(runs, adapt_options, tmp_path):
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
    adapt_options['train']['total_iter'] = 6
    runs.run(adapt_options, tmp_path / 'whole')
    adapt_options['train']['total_iter'] = 3
    runs.run(adapt_options, tmp_path / 'parts')
    adapt_options['train']['total_iter'] = 6
    runs.run(adapt_options, tmp_path / 'parts', resume=True)
    assert_alike(runs, tmp_path / 'whole', tmp_path / 'parts')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_saves_and_ends_the_run(
    runs, meta_options, whole_run, tmp_path, number
):
    meta_options['datasets']['train']['num_worker_per_gpu'] = 1
    code, errors = runs.kill_at(meta_options, tmp_path, 3, number)
    assert code == 128 + number
    last = errors.strip().splitlines()[-1]
    assert number.name in last and '--resume' in last
    logged = len(runs.rows(tmp_path, 'learning_curve.csv'))
    assert (runs.folder(tmp_path) / f'training_states/{logged}.state').is_file()
    assert (runs.folder(tmp_path) / 'learning_curve.png').is_file()
    runs.run(meta_options, tmp_path, resume=True)
    assert_alike(runs, whole_run, tmp_path)


def test_damaged_states_are_passed_over(runs, meta_options, whole, whole_run, capsys):
    states = runs.folder(whole) / 'training_states'
    names = sorted(path.name for path in states.iterdir())
    assert names == ['10.state', '6.state', '8.state']
    (states / '.9.0123456789ab.tmp.state').write_bytes(b'half of a state')
    newest = states / '10.state'
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    content = bytearray((states / '8.state').read_bytes())
    content[len(content) // 2] ^= 255
    (states / '8.state').write_bytes(content)
    runs.run(meta_options, whole, resume=True)
    said = capsys.readouterr().err
    assert '10.state' in said and '8.state' in said
    assert 'Continuing from' in said and '6.state, iteration 6' in said
    assert not list(states.glob('.*'))
    assert_alike(runs, whole_run, whole)


def test_without_a_readable_state_there_is_nothing_to_go_on_from(
    runs, meta_options, whole, capsys
):
    for path in (runs.folder(whole) / 'training_states').iterdir():
        path.write_bytes(b'')
    said = refused(runs, meta_options, whole, capsys)
    assert 'none of the 3 states' in said


def test_a_finished_run_stays_as_it_is(runs, meta_options, whole, whole_run):
    runs.run(meta_options, whole, resume=True)
    assert_alike(runs, whole_run, whole)


def test_a_run_may_not_become_another_one(runs, meta_options, whole, capsys):
    meta_options['train']['meta']['alpha'] = 2e-2
    said = refused(runs, meta_options, whole, capsys)
    assert 'train.meta.alpha is 0.02, the run began with 0.01' in said


def test_a_reader_that_dies_is_named(runs, meta_options, tmp_path):
    meta_options['datasets']['train']['num_worker_per_gpu'] = 1
    meta_options['train']['total_iter'] = 1000
    code, errors = runs.kill_at(meta_options, tmp_path, 3, only_readers=True)
    assert code == 2, errors
    assert 'a process that reads images died' in errors.splitlines()[-1]


@pytest.mark.parametrize('error', [ConnectionResetError, EOFError])
def test_so_is_one_that_does_not_answer_before_it_is_known_to_be_dead(error):
    def dying():
        yield 'a batch'
        raise error

    batches = mini_batches(dying())
    assert next(batches) == 'a batch'
    with pytest.raises(UserError, match='reads images died'):
        next(batches)


def test_a_full_disk_leaves_the_last_good_state(
    runs, meta_options, whole, whole_run, capsys
):
    states = keep_states(runs, whole, '6.state')
    good = (states / '6.state').read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        said = refused(runs, meta_options, whole, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.search(r'at iteration [78] ', said)
    assert '6.state' in said and '--resume' in said
    assert (states / '6.state').read_bytes() == good
    assert [path.name for path in states.iterdir()] == ['6.state']
    runs.run(meta_options, whole, resume=True)
    assert_alike(runs, whole_run, whole, ['latest'])


def test_divergence_is_named_and_saves_nothing(runs, meta_options, tmp_path, capsys):
    meta_options['train']['meta'] |= {'alpha': 1e30, 'update': 'single'}
    said = refused(runs, meta_options, tmp_path, capsys)
    assert 'diverged at update 1' in said and "task '" in said and 'step' in said
    assert not any((runs.folder(tmp_path) / 'training_states').iterdir())


def test_pyiqas_script_puts_the_weights_back(runs, meta_options, whole_run, tmp_path):
    """What ``pyiqa.train`` calls; on a CPU it fails before it gets there."""
    options = meta_options | {'is_train': True, 'dist': False}
    options |= {'rank': 0, 'world_size': 1, 'path': {'experiments_root': str(tmp_path)}}
    model = build_model(options)
    path = runs.folder(whole_run) / 'training_states' / '6.state'
    state = torch.load(path, weights_only=True)
    model.resume_training(state)
    assert runs.same(state['network'], model.net.state_dict())
    assert model.best_metric_results == state['best']


def test_a_state_of_pyiqas_script_is_not_mistaken_for_ours(
    runs, meta_options, whole, capsys
):
    path = runs.folder(whole) / 'training_states' / '10.state'
    state = torch.load(path, weights_only=True)
    del state['options']
    torch.save(state, path)
    said = refused(runs, meta_options, whole, capsys)
    assert 'written under pyiqa.train' in said


def test_a_run_without_validation_ends_well(runs, adapt_options, tmp_path):
    del adapt_options['val'], adapt_options['datasets']['val']
    adapt_options['train']['total_iter'] = 2
    assert runs.run(adapt_options, tmp_path) == {}
    assert not (runs.folder(tmp_path) / 'validation.csv').exists()
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == 2


def test_a_kill_within_the_last_save_loses_nothing(
    runs, meta_options, whole, whole_run, monkeypatch
):
    def die(self, iteration):
        raise RuntimeError('killed')

    keep_states(runs, whole, '8.state')
    meta_options['logger']['save_latest_freq'] = 10
    with monkeypatch.context() as patch:
        patch.setattr(Run, 'save_weights', die)
        with pytest.raises(RuntimeError, match='killed'):
            runs.run(meta_options, whole, resume=True)
    runs.run(meta_options, whole, resume=True)
    assert_alike(runs, whole_run, whole)
