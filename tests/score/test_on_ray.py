"""Scoring on a real Ray cluster of two workers on this machine."""

import os
import signal
import threading
import time

import numpy as np
import pyarrow.parquet
import pytest

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.score.on_ray import ImageScorer, score_on_ray

ray = pytest.importorskip('ray')

IMAGES = 512


@pytest.fixture(scope='module')
def cluster():
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR'
    )
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path, small_photos):
    """Many small photos, all different, and a file that is not an image."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    photo = read_rgb(sorted(small_photos.iterdir())[0])
    for number in range(IMAGES - 1):
        photo.crop((number % 30, number // 30, 90, 60)).save(folder / f'{number}.png')
    (folder / 'text.png').write_text('no image')
    return folder


def workers():
    """Processes of Ray that score."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                command = open(f'/proc/{name}/cmdline', 'rb').read()
            except OSError:
                continue
            if b'MapWorker' in command and b'ImageScorer' in command:
                found.append(int(name))
    return found


def test_every_image_is_scored_once_though_a_worker_is_killed(
    cluster, checkpoint, folder, monkeypatch
):
    monkeypatch.chdir(folder)
    names = sorted(os.listdir(folder))
    killed = []

    def kill_one_worker():
        while not killed:
            for process in workers()[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)
            time.sleep(0.01)

    rows = {}
    settings = {'metrics': [checkpoint], 'names': ['tiny']}
    for row in score_on_ray(iter(names), settings):
        if not rows:
            killer = threading.Thread(target=kill_one_worker)
            killer.start()
        assert row.path not in rows
        rows[row.path] = row
    killer.join()
    assert killed
    assert sorted(rows) == names
    assert [name for name in names if rows[name].error] == ['text.png']
    metric = open_metric(checkpoint)
    for name in ('0.png', '77.png', '500.png'):
        assert rows[name].scores[0] == pytest.approx(metric(name).item(), abs=1e-5)
        assert (rows[name].width, rows[name].height) == read_rgb(name).size


def test_the_class_in_a_pipeline_of_ones_own(cluster, checkpoint, folder, tmp_path):
    kept = [str(folder / name) for name in ('1.png', '2.png', 'text.png')]
    files = ray.data.read_binary_files(kept, include_paths=True)
    out = tmp_path / 'scores'
    files.map_batches(
        ImageScorer,
        fn_constructor_kwargs={'metrics': [checkpoint]},
        compute=ray.data.ActorPoolStrategy(size=1),
    ).write_parquet(str(out))
    table = pyarrow.parquet.read_table(out).sort_by('path').to_pydict()
    assert table.keys() == {'path', 'tiny.safetensors', 'width', 'height', 'error'}
    assert [os.path.basename(path) for path in table['path']] == [
        '1.png',
        '2.png',
        'text.png',
    ]
    scores = table['tiny.safetensors']
    metric = open_metric(checkpoint)
    assert scores[:2] == pytest.approx(
        [metric(path).item() for path in kept[:2]], abs=1e-5
    )
    assert np.isnan(scores[2]) and table['width'][2] == 0
    assert 'cannot be read' in table['error'][2]


def test_nothing_to_score(cluster, checkpoint):
    assert list(score_on_ray([], {'metrics': [checkpoint]})) == []
