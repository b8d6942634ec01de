"""Synthesis on a real Ray cluster of two workers on this machine."""

import os
import signal

import numpy as np
import pytest
from PIL import Image

from metaiqa_plugin.data.synthesis import Synthesis, synthesize
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.parallel import ray_map

ray = pytest.importorskip('ray')


@pytest.fixture(scope='module')
def cluster():
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR'
    )
    yield
    ray.shutdown()


def pixels(folder):
    return {
        path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob('*.png'))
    }


def test_no_cluster_at_an_address_is_said(tmp_path, small_photos):
    """The first test: a process that is connected stays with its cluster."""
    with pytest.raises(
        UserError, match=r"ray='127\.0\.0\.1:1': no Ray cluster answers"
    ):
        synthesize(small_photos, tmp_path / 'db', progress=False, ray='127.0.0.1:1')


def test_the_database_is_that_of_one_machine(cluster, small_photos, tmp_path):
    settings = Synthesis(('jitter', 'motion_blur+jpeg'), random_levels=2)
    here = synthesize(small_photos, tmp_path / 'a', settings, False, 1, False)
    there = synthesize(
        small_photos, tmp_path / 'b', settings, progress=False, ray='auto'
    )
    assert here.meta_info.read_text() == there.meta_info.read_text()
    assert len(list((tmp_path / 'b' / 'shards').iterdir())) == 6
    one, two = pixels(tmp_path / 'a' / 'images'), pixels(tmp_path / 'b' / 'images')
    assert len(one) == 24 and one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_worker_that_dies_is_replaced(cluster, tmp_path):
    def die_once(job):
        flag, value = job
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    jobs = [(tmp_path / str(value), value) for value in range(3)]
    assert sorted(ray_map(die_once, jobs)) == [0, 1, 2]


def test_errors_of_the_user_come_back_as_they_are(cluster):
    def refuse(job):
        raise UserError(f'job {job} is refused')

    with pytest.raises(UserError) as raised:
        list(ray_map(refuse, [7]))
    assert str(raised.value) == 'job 7 is refused'
