"""The image store: the same pixels as the files, and never half of them."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from started import Started

from metaiqa_plugin.data import store as store_module
from metaiqa_plugin.data.datasets import ImageFiles
from metaiqa_plugin.data.images import read_resized
from metaiqa_plugin.data.rows import LabelledRow, LabelledRows
from metaiqa_plugin.data.store import ImageStore, Kind, open_store
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.parallel import parallel_map


@pytest.fixture
def folder(tmp_path, small_photos):
    """A folder of six photos of several shapes that a test may change."""
    target = tmp_path / 'images'
    target.mkdir()
    for place, path in enumerate(sorted(small_photos.iterdir())):
        image = Image.open(path)
        image = image.rotate(90, expand=True) if place % 2 else image
        image.save(target / f'photo {place}.png')
    return target


def names(folder):
    return [path.name for path in sorted(folder.iterdir())]


def listed(folder, chosen):
    rows = (LabelledRow(name, 0.5, line=line) for line, name in enumerate(chosen, 2))
    return LabelledRows(rows, folder, 'mine.csv')


def fill(folder, chosen=None, size=40, **changes):
    arguments = {'processes': 1, 'progress': False} | changes
    rows = listed(folder, chosen or names(folder))
    return open_store(folder.with_name('store'), rows, size, **arguments)


def builder(folder, size):
    """A process of its own that fills the store."""
    command = (
        'import os, sys; from metaiqa_plugin.data.store import open_store;'
        'from metaiqa_plugin.data.rows import LabelledRows, LabelledRow;'
        'rows = (LabelledRow(name, 0.5) for name in sorted(os.listdir(sys.argv[2])));'
        'rows = LabelledRows(rows, sys.argv[2]);'
        'open_store(sys.argv[1], rows, int(sys.argv[3]), 1)'
    )
    arguments = [str(folder.with_name('store')), str(folder), str(size)]
    python = [sys.executable, '-c', command]
    return Started([*python, *arguments], stderr=subprocess.DEVNULL)


def check(images, folder, chosen, size=40):
    assert len(images) == len(chosen)
    for index, name in enumerate(chosen):
        expected = read_resized(folder / name, size)
        assert np.array_equal(images[index], expected)


def shards(folder):
    return sorted(path.name for path in folder.with_name('store').glob('*.pixels'))


@pytest.mark.parametrize('processes', [1, 2])
def test_it_holds_what_the_files_hold(folder, processes):
    images = fill(folder, processes=processes, kind=Kind(images_per_shard=4))
    assert isinstance(images, ImageStore)
    check(images, folder, names(folder))
    assert len(shards(folder)) == 2
    assert not images[0].flags.writeable


def test_what_is_there_is_not_decoded_again(folder, monkeypatch):
    fill(folder)
    monkeypatch.setattr(store_module, 'read_resized', None)
    chosen = names(folder)[3:1:-1]
    images = fill(folder, chosen)
    monkeypatch.undo()
    check(images, folder, chosen)


def test_lists_that_overlap_share(folder):
    everything = names(folder)
    fill(folder, everything[:4])
    size = sum(p.stat().st_size for p in folder.with_name('store').glob('*.pixels'))
    check(fill(folder, everything), folder, everything)
    grown = sum(p.stat().st_size for p in folder.with_name('store').glob('*.pixels'))
    assert grown == size * 6 / 4


def test_another_size_is_another_image(folder):
    fill(folder, size=40)
    check(fill(folder, size=24), folder, names(folder), 24)
    check(fill(folder, size=40), folder, names(folder), 40)


def test_an_image_that_changed_is_read_again(folder):
    before = np.array(fill(folder)[2])
    Image.effect_noise((80, 60), 50).convert('RGB').save(folder / names(folder)[2])
    images = fill(folder)
    assert images[2].shape != before.shape or not np.array_equal(images[2], before)
    check(images, folder, names(folder))


def test_a_touched_image_is_read_again(folder, monkeypatch):
    fill(folder)
    os.utime(folder / names(folder)[0], ns=(1, 1))
    read = []
    monkeypatch.setattr(
        store_module,
        'read_resized',
        lambda path, size: read.append(Path(path).name) or read_resized(path, size),
    )
    fill(folder)
    assert read == [names(folder)[0]]


def changed_index(store, **fields):
    """Say something else of the first image."""
    path = next(store.glob('*.npy'))
    index = np.load(path)
    for name, value in fields.items():
        index[0][name] = value
    np.save(path, index)


@pytest.mark.parametrize(
    'damage',
    [
        lambda store: next(store.glob('*.npy')).unlink(),
        lambda store: next(store.glob('*.pixels')).unlink(),
        lambda store: os.truncate(next(store.glob('*.pixels')), 1000),
        lambda store: os.truncate(next(store.glob('*.npy')), 130),
        lambda store: next(store.glob('*.npy')).write_bytes(b''),
        lambda store: (store / '0.npy').write_bytes(b'not an array'),
        lambda store: changed_index(store, height=-1),
        lambda store: changed_index(store, height=2**30),
        lambda store: changed_index(store, offset=2**40),
        lambda store: next(store.glob('*.npy')).write_bytes(b'PK\x03\x04 and no more'),
        lambda store: (store / 'x.part').write_bytes(b'left over'),
    ],
)
def test_a_damaged_store_is_mended(folder, damage):
    fill(folder)
    damage(folder.with_name('store'))
    check(fill(folder), folder, names(folder))


def test_a_killed_builder_leaves_nothing_that_counts(folder, photos):
    for place in range(300):
        os.link(photos[place % 24], folder / f'{place}.webp')
    store = folder.with_name('store')
    run = builder(folder, 200)
    while not list(store.glob('*.part')):
        time.sleep(0.01)
        assert run.poll() is None
    time.sleep(0.2)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not list(store.glob('*.npy'))
    chosen = names(folder)[:12]
    check(fill(folder, chosen, size=30), folder, chosen, 30)


def test_unusable_images_are_all_named_and_the_others_kept(folder):
    (folder / 'a.png').write_bytes(b'')
    (folder / 'b.png').write_bytes((folder / 'photo 0.png').read_bytes()[:300])
    with pytest.raises(
        UserError,
        match=r'2 of 8 images.*mine\.csv, row 2: .*a\.png.*row 3: .*b\.png.*rows',
    ):
        fill(folder)
    (folder / 'a.png').unlink()
    (folder / 'b.png').unlink()
    check(fill(folder), folder, names(folder))


def test_a_missing_image_is_named(folder):
    with pytest.raises(UserError, match=r"mine\.csv, row 3: image 'gone\.png' is not"):
        fill(folder, ['photo 0.png', 'gone.png'])


def test_a_full_disk_is_said_and_leaves_nothing_that_counts(folder, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match=r'No space left on device; free some, name a'):
        fill(folder)
    assert {path.name for path in folder.with_name('store').iterdir()} == {'lock'}
    monkeypatch.undo()
    check(fill(folder), folder, names(folder))


def test_a_disk_that_is_too_small_is_said_before_the_work(folder, monkeypatch):
    monkeypatch.setattr(
        store_module.shutil, 'disk_usage', lambda path: type('Usage', (), {'free': 9})
    )
    with pytest.raises(UserError, match=r'its images need at least .* GB'):
        fill(folder)


def test_a_file_is_no_store(folder):
    folder.with_name('store').touch()
    with pytest.raises(UserError, match='is a file'):
        fill(folder)


def test_a_folder_that_can_not_be_made_is_said(folder):
    folder.with_name('store').touch()
    with pytest.raises(UserError, match=r'cannot be written.*name a folder elsewhere'):
        open_store(
            folder.with_name('store') / 'inner', listed(folder, names(folder)), 40, 1
        )


def test_processes_share_it_and_pickles_hold_no_pixels(folder):
    images = fill(folder)
    assert images[1].sum() > 0
    assert len(pickle.dumps(images)) < 2000
    (there,) = parallel_map(images.__getitem__, [1], 2)
    assert np.array_equal(there, images[1])


def test_two_builders_at_once_do_the_work_once(folder):
    runs = [builder(folder, 40) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(shards(folder)) == 1
    check(fill(folder), folder, names(folder))


def test_memory_of_the_pixels_belongs_to_the_file(folder):
    images = fill(folder)
    for index in range(len(images)):
        images[index].sum()
    mapped = Path('/proc/self/maps')
    if mapped.exists():
        assert shards(folder)[0] in mapped.read_text()


def test_files_are_read_anew_and_name_their_row(folder):
    files = ImageFiles(listed(folder, names(folder)), 40)
    check(files, folder, names(folder))
    (folder / 'photo 2.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'mine\.csv, row 4: image .*photo 2\.png'):
        files[2]
