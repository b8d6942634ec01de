"""Tasks spread over real processes that torchrun starts, over Gloo."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from pyiqa.archs import build_network
from pyiqa.models import build_model

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.run import train

LOST = 600
"""Seconds after which a job is taken to hang."""


def torchrun(runs, options, root):
    """The command of a run on two processes."""
    starter = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    starter += ['--nproc_per_node=2']
    own = runs.command(options, root, '--launcher', 'pytorch')
    return [*starter, *own[1:]]


def finish(command):
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    assert not done.returncode, done.stderr[-3000:]


def start(command):
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_updates(runs, root, job, count=5):
    curve = runs.folder(root) / 'learning_curve.csv'
    until = time.monotonic() + LOST
    while not curve.exists() or len(curve.read_text().splitlines()) <= count:
        assert time.monotonic() < until and job.poll() is None
        time.sleep(0.01)


@pytest.fixture
def smooth_options(meta_options, tmp_path):
    """Rounding stays small: no BatchNorm over two images, no tiny gradients."""
    sizes = {'support_size': 15, 'query_size': 15, 'images_per_reference': 5}
    meta_options['datasets']['train'] |= sizes | {'resize': 64, 'crop_size': 64}
    meta_options['train']['meta'] |= {'eps': 1e-2, 'steps': 1}
    meta_options['val']['val_freq'] = 1000
    network = dict(meta_options['network'])
    torch.manual_seed(5)
    state = build_network(network).state_dict()
    start = tmp_path / 'start.pth'
    torch.save({'params': state}, start)
    meta_options['path']['pretrain_network'] = str(start)
    return meta_options


def assert_same_update(runs, options, one, other):
    """What training added to the start, rounding aside."""
    start = torch.load(options['path']['pretrain_network'], weights_only=True)['params']
    names = [name for name, value in start.items() if value.is_floating_point()]
    updates = []
    for root in (one, other):
        weights = runs.weights(root)
        moved = [(weights[name] - start[name]).flatten() for name in names]
        updates.append(torch.cat(moved))
    assert updates[0].norm() > 1e-2
    assert (updates[0] - updates[1]).norm() < 1e-3 * updates[0].norm()


def test_two_ranks_give_the_update_of_one(runs, smooth_options, tmp_path):
    """Of three tasks."""
    smooth_options['train']['total_iter'] = 4
    runs.run(smooth_options, tmp_path / 'one')
    finish(torchrun(runs, smooth_options, tmp_path / 'two'))
    assert_same_update(runs, smooth_options, tmp_path / 'one', tmp_path / 'two')
    tasks = [
        [(row['iter'], row['task']) for row in runs.rows(root, 'task_losses.csv')]
        for root in (tmp_path / 'one', tmp_path / 'two')
    ]
    assert tasks[0] == tasks[1] and len(tasks[0]) == 4 * 3


def test_a_lost_rank_ends_the_job_which_resumes_with_another_number(
    runs, smooth_options, tmp_path
):
    smooth_options['train']['total_iter'] = 300
    job = start(torchrun(runs, smooth_options, tmp_path))
    wait_for_updates(runs, tmp_path, job)
    os.kill(_child_of_rank(job.pid, 1), signal.SIGKILL)
    job.communicate(timeout=LOST)
    assert job.returncode != 0
    done = len(runs.rows(tmp_path, 'learning_curve.csv'))
    assert 5 <= done < 300
    smooth_options['train']['total_iter'] = done + 2
    runs.run(smooth_options, tmp_path, resume=True)
    assert len(runs.rows(tmp_path, 'learning_curve.csv')) == done + 2
    runs.run(smooth_options, tmp_path / 'one')
    assert_same_update(runs, smooth_options, tmp_path / 'one', tmp_path)


def test_a_signal_to_the_job_saves_where_all_ranks_are(runs, smooth_options, tmp_path):
    """Of one task, so that a rank has none."""
    smooth_options['datasets']['train']['batch_size_per_gpu'] = 1
    smooth_options['train']['total_iter'] = 300
    smooth_options['logger']['save_latest_freq'] = 1000
    job = start(torchrun(runs, smooth_options, tmp_path))
    wait_for_updates(runs, tmp_path, job)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=LOST)
    assert job.returncode != 0
    done = len(runs.rows(tmp_path, 'learning_curve.csv'))
    states = runs.folder(tmp_path) / 'training_states'
    assert [path.name for path in states.iterdir()] == [f'{done}.state']
    smooth_options['train']['total_iter'] = done
    runs.run(smooth_options, tmp_path / 'one')
    assert_same_update(runs, smooth_options, tmp_path / 'one', tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'update': 'single'}, 'update: single'),
        ({'batchnorm': 'running'}, 'batchnorm: running'),
        ({'moments': 'carried'}, 'moments: carried'),
    ],
)
def test_what_has_an_order_is_not_spread(meta_options, monkeypatch, change, message):
    monkeypatch.setattr(ranks, 'count', lambda: 2)
    meta_options['train']['meta'] |= change
    with pytest.raises(UserError, match=message):
        build_model(meta_options | {'is_train': True, 'dist': False})


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', r'torchrun --nproc_per_node=N'),
        ('slurm', "--launcher 'slurm': expected pytorch"),
    ],
)
def test_the_launcher_is_checked(runs, meta_options, tmp_path, launcher, message):
    with pytest.raises(UserError, match=message):
        train(meta_options, tmp_path, launcher=launcher)


def _child_of_rank(parent, rank):
    children = f'/proc/{parent}/task/{parent}/children'
    with open(children) as file:
        for child in file.read().split():
            with open(f'/proc/{child}/environ', 'rb') as environment:
                if f'\0RANK={rank}\0'.encode() in b'\0' + environment.read():
                    return int(child)
    raise AssertionError(f'no rank {rank} below {parent}')
