"""The synthetic database: its files, its table, and what interrupts it."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyiqa.data import build_dataset
from started import Started

from metaiqa_plugin.data import synthesis
from metaiqa_plugin.data.splits import split_columns
from metaiqa_plugin.data.synthesis import Synthesis, synthesize
from metaiqa_plugin.data.versions import pseudo_mos
from metaiqa_plugin.errors import UserError

TWO = Synthesis(distortions=('jitter', 'jpeg'), levels=(1, 5), seed=4)


def pixels(folder):
    return {
        path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob('*.png'))
    }


def build(photos, out, settings=TWO, **changes):
    arguments = {'processes': 1, 'progress': False} | changes
    return synthesize(photos, out, settings, **arguments)


def test_table_and_images_agree(database):
    table = pd.read_csv(database / 'meta_info_small.csv')
    assert list(table.columns[:5]) == [
        'img_name',
        'pseudo_mos',
        'ref_name',
        'distortion',
        'level',
    ]
    assert len(table) == 6 * 3 * 5
    assert set(table.img_name) == set(pixels(database / 'images'))
    assert set(table.ref_name) == set(pixels(database / 'references'))
    for row in table.itertuples():
        assert row.pseudo_mos == pseudo_mos(row.distortion, row.level)


def test_splits_are_by_reference(database):
    table = pd.read_csv(database / 'meta_info_small.csv')
    columns = [name for name in table if 'split' in name]
    assert columns == [f'ratio802_seed123_split_{i:02d}' for i in range(1, 11)]
    for column in columns:
        assert table.groupby('ref_name')[column].nunique().max() == 1
        assert set(table[column]) == {'train', 'test'}
    tests = {tuple(table[column]) for column in columns}
    assert len(tests) > 3


@pytest.mark.parametrize(('references', 'tests'), [(1, 0), (2, 1), (10, 2), (24, 5)])
def test_a_fifth_of_the_references_is_for_testing(references, tests):
    names = [f'{index}.png' for index in range(references)]
    for column in split_columns(names).values():
        assert sum(part == 'test' for part in column.values()) == tests


def test_pyiqas_own_dataset_reads_it(database):
    block = {
        'name': 'small',
        'type': 'GeneralNRDataset',
        'phase': 'val',
        'override_phase': 'test',
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'split_index': 1,
        'mos_range': [1, 5],
        'mos_normalize': True,
        'lower_better': False,
    }
    dataset = build_dataset(block)
    assert len(dataset) == 15
    assert 0 <= dataset[0]['mos_label'].item() <= 1


def test_seed_changes_random_distortions(small_photos, tmp_path):
    build(small_photos, tmp_path / 'a')
    build(small_photos, tmp_path / 'b', Synthesis(TWO.distortions, (1, 5), seed=5))
    a, b = pixels(tmp_path / 'a/images'), pixels(tmp_path / 'b/images')
    name = next(name for name in a if 'jitter_5' in name)
    assert not np.array_equal(a[name], b[name])


def test_an_interrupted_run_is_finished_and_equals_a_whole_one(
    small_photos, tmp_path, monkeypatch
):
    build(small_photos, tmp_path / 'whole')
    calls = []
    real = synthesis.version_of

    def killed(*args):
        calls.append(args)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(synthesis, 'version_of', killed)
    out = tmp_path / 'cut'
    with pytest.raises(KeyboardInterrupt):
        build(small_photos, out)
    assert not list(out.glob('*.csv'))
    assert not list(out.rglob('*.tmp*'))
    monkeypatch.setattr(synthesis, 'version_of', lambda *a: calls.append(a) or real(*a))
    calls.clear()
    report = build(small_photos, out, resume=True)
    assert len(calls) == 24 - 9
    assert (
        report.meta_info.read_text()
        == (tmp_path / 'whole' / 'meta_info_whole.csv').read_text()
    )
    one, two = pixels(out / 'images'), pixels(tmp_path / 'whole' / 'images')
    assert all(np.array_equal(one[name], two[name]) for name in two)


def test_an_existing_database_is_not_overwritten(small_photos, tmp_path):
    build(small_photos, tmp_path / 'db')
    with pytest.raises(UserError, match='exists and is not empty'):
        build(small_photos, tmp_path / 'db')


def test_resuming_with_other_settings_is_refused(small_photos, tmp_path):
    build(small_photos, tmp_path / 'db')
    with pytest.raises(UserError, match='the earlier run had seed='):
        build(
            small_photos,
            tmp_path / 'db',
            Synthesis(TWO.distortions, (1, 5)),
            resume=True,
        )
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'mine.txt').touch()
    with pytest.raises(UserError, match='no interrupted synthesis'):
        build(small_photos, tmp_path / 'other', resume=True)


def test_unreadable_photos_are_skipped_and_reported(small_photos, tmp_path):
    photos = tmp_path / 'photos'
    photos.mkdir()
    for path in sorted(small_photos.iterdir())[:2]:
        (photos / path.name).write_bytes(path.read_bytes())
    (photos / 'broken.png').write_bytes(b'not an image')
    report = build(photos, tmp_path / 'db')
    assert list(report.failed) == ['broken.png']
    assert 'cannot be read' in report.failed['broken.png']
    assert len(pd.read_csv(report.meta_info)) == report.images == 2 * 4
    record = json.loads((tmp_path / 'db' / 'synthesis.json').read_text())
    assert record['seed'] == 4


def test_photos_are_shrunk_to_the_working_size(photos, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    (folder / photos[0].name).write_bytes(photos[0].read_bytes())
    build(folder, tmp_path / 'db', Synthesis(('jpeg',), (3,), max_side=120))
    for name in ('references', 'images'):
        assert next(iter(pixels(tmp_path / 'db' / name).values())).shape == (80, 120, 3)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'distortions': ('jpg',)}, 'jpg'),
        ({'levels': (6,)}, 'level=6: expected'),
        ({'levels': (1, 1)}, 'name each once'),
        ({'distortions': ('jpeg+jpg',)}, 'jpg'),
        ({'random_levels': -1}, 'random_levels=-1'),
        ({'random_levels': 101}, 'random_levels=101'),
        ({'levels': ()}, 'levels'),
        ({'max_side': -1}, 'max_side=-1'),
        ({'seed': 'a'}, "seed='a'"),
    ],
)
def test_bad_settings_name_themselves(settings, message):
    with pytest.raises(UserError, match=message):
        Synthesis(**settings)


def test_bad_folders_are_named(tmp_path, small_photos):
    with pytest.raises(UserError, match='no such folder'):
        build(tmp_path / 'nowhere', tmp_path / 'db')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'out=.*cannot be written'):
        build(small_photos, tmp_path / 'file' / 'db')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='no image in it'):
        build(tmp_path / 'empty', tmp_path / 'db')
    (tmp_path / 'empty' / 'x.png').write_bytes(b'')
    with pytest.raises(UserError, match='no photo could be used'):
        build(tmp_path / 'empty', tmp_path / 'db')
    (tmp_path / 'empty' / 'x.jpg').write_bytes(b'')
    with pytest.raises(UserError, match=r"'x\.jpg' and 'x\.png'"):
        build(tmp_path / 'empty', tmp_path / 'db2')


def test_photos_have_random_draws_of_their_own(small_photos, tmp_path):
    photo = next(iter(sorted(small_photos.iterdir())))
    for name in ('a.png', 'b.png'):
        (tmp_path / 'photos').mkdir(exist_ok=True)
        (tmp_path / 'photos' / name).write_bytes(photo.read_bytes())
    build(tmp_path / 'photos', tmp_path / 'db')
    made = pixels(tmp_path / 'db' / 'images')
    assert np.array_equal(made['a_jpeg_5.png'], made['b_jpeg_5.png'])
    assert not np.array_equal(made['a_jitter_5.png'], made['b_jitter_5.png'])


def test_photos_in_subfolders_keep_them(small_photos, tmp_path):
    paths = sorted(small_photos.iterdir())[:2]
    for path, name in zip(paths, ('x y/ä.png', 'z/ä.png'), strict=True):
        target = tmp_path / 'photos' / name
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
    report = build(tmp_path / 'photos', tmp_path / 'db')
    table = pd.read_csv(report.meta_info)
    assert set(table.ref_name) == {'x y/ä.png', 'z/ä.png'}
    for name in table.img_name:
        assert (tmp_path / 'db' / 'images' / name).is_file()
    for name in set(table.ref_name):
        assert (tmp_path / 'db' / 'references' / name).is_file()


def test_random_levels_lie_in_equal_parts_and_are_labelled(small_photos, tmp_path):
    settings = Synthesis(('jpeg', 'white_noise'), random_levels=4, seed=1)
    table = pd.read_csv(build(small_photos, tmp_path / 'a', settings).meta_info)
    assert len(table) == 6 * 2 * 4
    for _, levels in table.groupby(['ref_name', 'distortion'])['level']:
        parts = np.sort(levels) - 1 - np.arange(4)
        assert (parts > -0.01).all() and (parts < 1.01).all()
    assert table.level.nunique() > 30
    for row in table.itertuples():
        expected = pseudo_mos(row.distortion, row.level)
        assert row.pseudo_mos == pytest.approx(expected, abs=1e-4)
    again = build(small_photos, tmp_path / 'b', settings).meta_info.read_text()
    assert again == (tmp_path / 'a' / 'meta_info_a.csv').read_text()


@pytest.mark.parametrize('count', [1, 3, 7, 100])
def test_random_levels_of_a_photo_are_all_different(count):
    settings = Synthesis(('jpeg',), random_levels=count)
    levels = [level for _, level in settings.versions('photo')]
    assert len(set(levels)) == settings.images_per_photo == count
    assert 1 <= min(levels) and max(levels) <= 5


def test_a_composite_is_a_type_of_its_own(small_photos, tmp_path):
    settings = Synthesis(('motion_blur+jpeg',), (2, 4))
    table = pd.read_csv(build(small_photos, tmp_path / 'db', settings).meta_info)
    assert set(table.distortion) == {'motion_blur+jpeg'}
    name = table.img_name[table.level == 4].iloc[0]
    photo = small_photos / table.ref_name[table.level == 4].iloc[0]
    distorted = Image.open(tmp_path / 'db' / 'images' / name)
    assert not np.array_equal(np.asarray(distorted), np.asarray(Image.open(photo)))


def nobody_left(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_run_leaves_nobody_behind_and_is_finished(photos, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for path in photos[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    out = tmp_path / 'cut'
    command = [sys.executable, '-m', 'metaiqa_plugin.cli', 'synthesize', str(folder)]
    command += [str(out), '--types', 'jitter', 'jpeg2000', '--workers', '2', '--resume']
    for number, wanted in ((signal.SIGKILL, 5), (signal.SIGTERM, 12)):
        run = Started(command, stderr=subprocess.DEVNULL)
        while len(list(out.glob('images/*.png'))) < wanted:
            time.sleep(0.01)
            assert run.poll() is None
        run.send_signal(number)
        assert run.wait(60) == -number
        until = time.monotonic() + 60
        while not nobody_left(run.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert nobody_left(run.pid)
    assert not (out / 'meta_info_cut.csv').exists()
    whole = Synthesis(('jitter', 'jpeg2000'))
    build(folder, out, whole, resume=True)
    report = build(folder, tmp_path / 'whole', whole)
    assert (out / 'meta_info_cut.csv').read_text() == report.meta_info.read_text()
    one, two = pixels(out / 'images'), pixels(tmp_path / 'whole' / 'images')
    assert one.keys() == two.keys() and len(two) == 30
    assert not (out / 'unfinished').exists()
    assert all(np.array_equal(one[name], two[name]) for name in two)


def test_a_photo_that_was_mended_is_used_when_the_run_is_resumed(
    small_photos, tmp_path
):
    folder = tmp_path / 'photos'
    folder.mkdir()
    good, other = sorted(small_photos.iterdir())[:2]
    (folder / 'a.png').write_bytes(good.read_bytes())
    (folder / 'b.png').write_bytes(other.read_bytes()[:200])
    report = build(folder, tmp_path / 'db')
    assert list(report.failed) == ['b.png'] and report.images == 4
    (folder / 'b.png').write_bytes(other.read_bytes())
    report = build(folder, tmp_path / 'db', resume=True)
    assert not report.failed
    assert pd.read_csv(report.meta_info).img_name.is_unique and report.images == 8


def test_a_full_disk_ends_with_a_clear_error_and_can_be_resumed(
    small_photos, tmp_path, monkeypatch
):
    real, calls = Image.Image.save, []

    def full(image, path, **options):
        calls.append(path)
        if len(calls) == 8:
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(image, path, **options)

    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(UserError, match=r'No space left on device.*--resume'):
        build(small_photos, tmp_path / 'db')
    assert not list((tmp_path / 'db').glob('*.csv'))
    assert build(small_photos, tmp_path / 'db', resume=True).images == 24


def test_memory_of_the_list_of_photos_is_all_that_grows(small_photos, tmp_path):
    """More photos than shards: a shard takes several."""
    names = [f'{index:05d}.png' for index in range(10_000)]
    shards = synthesis.Shards(tmp_path, names)
    parts = [shards.photos(number) for number in shards.numbers]
    assert list(itertools.chain(*parts)) == names
    assert len(parts) <= synthesis.MAX_SHARDS
