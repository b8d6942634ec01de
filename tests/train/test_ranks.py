"""Tasks spread over real processes that torchrun starts, over Gloo."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

LOST = 60


def torchrun(runs, options, root, *more, ranks=2):
    """The command of a run on ``ranks`` processes."""
    starter = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    starter += [f'--nproc_per_node={ranks}']
    own = runs.command(options, root, '--launcher', 'pytorch', *more)
    return [*starter, *own[1:]]


def finish(command, code=0):
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    assert bool(done.returncode) == bool(code), done.stderr[-3000:]
    return done


def start(command):
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_updates(runs, root, job, count=5):
    curve = runs.folder(root) / 'learning_curve.csv'
    until = time.monotonic() + LOST
    while not curve.exists() or len(curve.read_text().splitlines()) <= count:
        assert time.monotonic() < until and job.poll() is None
        time.sleep(0.01)


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-5)


@pytest.fixture
def smooth_options(meta_options):
    """Rounding stays small: no BatchNorm over two images, no tiny gradients."""
    sizes = {'support_size': 15, 'query_size': 15, 'images_per_reference': 5}
    meta_options['datasets']['train'] |= sizes | {'resize': 64, 'crop_size': 64}
    meta_options['train']['meta'] |= {'eps': 1e-2, 'steps': 1}
    return meta_options


@pytest.mark.parametrize('k', [1, 3])
def test_two_ranks_give_the_update_of_one(runs, smooth_options, tmp_path, k):
    meta_options = smooth_options
    meta_options['datasets']['train']['batch_size_per_gpu'] = k
    meta_options['train']['total_iter'] = 4
    runs.run(meta_options, tmp_path / 'one')
    finish(torchrun(runs, meta_options, tmp_path / 'two'))
    one, two = runs.weights(tmp_path / 'one'), runs.weights(tmp_path / 'two')
    assert_close(one, two)
    tasks = [
        [(row['iter'], row['task']) for row in runs.rows(root, 'task_losses.csv')]
        for root in (tmp_path / 'one', tmp_path / 'two')
    ]
    assert tasks[0] == tasks[1] and len(tasks[0]) == 4 * k


def test_a_lost_rank_ends_the_job_which_resumes_with_another_number(
    runs, smooth_options, tmp_path
):
    meta_options = smooth_options
    meta_options['train']['total_iter'] = 300
    meta_options['val']['val_freq'] = 1000
    job = start(torchrun(runs, meta_options, tmp_path))
    wait_for_updates(runs, tmp_path, job)
    os.kill(_child_of_rank(job.pid, 1), signal.SIGKILL)
    job.communicate(timeout=LOST)
    assert job.returncode != 0
    done = len(runs.rows(tmp_path, 'learning_curve.csv'))
    assert 5 <= done < 300
    meta_options['train']['total_iter'] = done + 4
    runs.run(meta_options, tmp_path, '--resume')
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == done + 4
    runs.run(meta_options, tmp_path / 'one')
    assert_close(runs.weights(tmp_path / 'one'), runs.weights(tmp_path))


def test_a_signal_to_the_job_saves_where_all_ranks_are(runs, meta_options, tmp_path):
    meta_options['train']['total_iter'] = 300
    meta_options['val']['val_freq'] = 1000
    meta_options['logger']['save_latest_freq'] = 1000
    job = start(torchrun(runs, meta_options, tmp_path))
    wait_for_updates(runs, tmp_path, job)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=LOST)
    assert job.returncode != 0
    done = len(runs.rows(tmp_path, 'learning_curve.csv'))
    states = runs.folder(tmp_path) / 'training_states'
    assert [path.name for path in states.iterdir()] == [f'{done}.state']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'update': 'single'}, 'update: single'),
        ({'batchnorm': 'running'}, 'batchnorm: running'),
        ({'moments': 'carried'}, 'moments: carried'),
    ],
)
def test_what_has_an_order_is_not_spread(
    runs, meta_options, tmp_path, monkeypatch, change, message
):
    from pyiqa.models import build_model

    from metaiqa_plugin.errors import UserError
    from metaiqa_plugin.train import ranks

    monkeypatch.setattr(ranks, 'count', lambda: 2)
    meta_options['train']['meta'] |= change
    with pytest.raises(UserError, match=message):
        build_model(meta_options | {'is_train': True, 'dist': False})


def test_the_launcher_is_checked(runs, meta_options, tmp_path):
    done = runs.process(meta_options, tmp_path, '--launcher', 'pytorch', code=2)
    assert 'torchrun --nproc_per_node=N' in done.stderr
    done = runs.process(meta_options, tmp_path, '--launcher', 'slurm', code=2)
    assert "--launcher 'slurm': expected pytorch" in done.stderr


def _child_of_rank(parent, rank):
    children = f'/proc/{parent}/task/{parent}/children'
    with open(children) as file:
        for child in file.read().split():
            with open(f'/proc/{child}/environ', 'rb') as environment:
                if f'\0RANK={rank}\0'.encode() in b'\0' + environment.read():
                    return int(child)
    raise AssertionError(f'no rank {rank} below {parent}')
