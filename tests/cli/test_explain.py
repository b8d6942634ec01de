"""The verb explain, from images to sheets and a table."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from metaiqa_plugin.cli import main
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.study.explain import sheet
from metaiqa_plugin.study.explain.maps import METHODS

QUICK = ('--maps', 'all', '--copies', 2, '--steps', 2)


def execute(*arguments):
    return main(['explain', *map(str, arguments)])


@pytest.fixture
def images(tmp_path, small_photos):
    """Two photos of one name in two folders, and one that cannot be read."""
    photos = sorted(small_photos.iterdir())
    folder = tmp_path / 'images'
    for below, photo in (('a', photos[0]), ('b', photos[1])):
        (folder / below).mkdir(parents=True)
        read_rgb(photo).save(folder / below / 'photo.png')
    (folder / 'b' / 'broken.jpg').write_text('no image')
    return folder


def test_every_image_has_a_sheet_and_a_row_and_a_bad_one_is_told(
    tmp_path, images, checkpoint, capfd
):
    out = tmp_path / 'out'
    code = execute(images, '--metric', checkpoint, *QUICK, '--out', out)
    printed = capfd.readouterr()
    assert code == 1
    assert 'skipped' in printed.err and 'broken.jpg' in printed.err
    assert '2 sheets' in printed.out
    table = pd.read_csv(out / 'explain.csv')
    names = ['a/photo.png', 'b/broken.jpg', 'b/photo.png']
    assert list(table['image']) == [str(images / name) for name in names]
    assert list(table['error'].notna()) == [False, True, False]
    assert list(table['sheet'].dropna()) == ['a/photo.png.png', 'b/photo.png.png']
    metric = open_metric(checkpoint)
    for _, row in table[table['error'].isna()].iterrows():
        assert row['score'] == pytest.approx(metric(row['image']).item(), abs=1e-6)
        assert (row['width'], row['height']) == (96, 64)
        assert Image.open(out / row['sheet']).width > 1000
    written = sorted(path.name for path in out.rglob('*') if path.is_file())
    tables = ['explain.csv', 'explain.json']
    assert written == [*tables, 'photo.png.png', 'photo.png.png']


def test_what_is_there_is_not_computed_again(images, checkpoint, monkeypatch, capfd):
    command = (images, '--metric', checkpoint, *QUICK, '--maps', 'quality')
    assert execute(*command, '--out', 'whole') == 1
    drawn, real = [], sheet.draw_sheet

    def stopped(path, *given):
        if drawn:
            raise OSError(errno.ENOSPC, 'No space left on device')
        drawn.append(path)
        real(path, *given)

    monkeypatch.setattr(sheet, 'draw_sheet', stopped)
    assert execute(*command, '--out', 'cut') == 2
    error = capfd.readouterr().err
    assert "--out='cut' cannot be written" in error and '--resume' in error
    assert execute(*command[:-1], 'cam', '--out', 'cut', '--resume') == 2
    assert "the earlier run had --maps=['quality']" in capfd.readouterr().err
    assert execute(*command, '--out', 'cut', '--resume') == 2
    drawn.clear()
    monkeypatch.setattr(sheet, 'draw_sheet', lambda *given: drawn.append(real(*given)))
    assert execute(*command, '--out', 'cut', '--resume') == 1
    assert len(drawn) == 1
    assert execute(*command, '--out', 'cut', '--resume') == 1
    assert len(drawn) == 1
    for name in ('explain.csv', 'explain.json'):
        assert Path('cut', name).read_bytes() == Path('whole', name).read_bytes()


def test_the_same_command_writes_the_same_table_and_replaces_when_told_to(
    images, checkpoint, capfd
):
    command = (images / 'a', '--metric', checkpoint, *QUICK, '--out', 'one')
    assert execute(*command) == 0
    table = Path('one/explain.csv').read_bytes()
    assert execute(*command) == 2
    assert '--overwrite' in capfd.readouterr().err
    assert execute(*command, '--overwrite') == 0
    assert Path('one/explain.csv').read_bytes() == table


@pytest.fixture(autouse=True)
def below_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_arrays_are_the_maps_that_were_asked_for(tmp_path, images, checkpoint):
    methods = ('quality', 'gradient', 'cam')
    options = ('--metric', checkpoint, '--maps', *methods, '--arrays')
    assert execute(images / 'a' / 'photo.png', *options) == 0
    out = tmp_path / 'explain'
    written = sorted(path.name for path in out.iterdir())
    arrays = [f'photo.png.{method}.npy' for method in methods]
    tables = ['explain.csv', 'explain.json']
    assert written == sorted([*tables, *arrays, 'photo.png.png'])
    for name in arrays:
        values = np.load(out / name)
        assert values.shape == (64, 96)
        assert values.dtype == np.float32
        assert values.std() > 0


def test_the_map_is_that_of_quality_unless_others_are_asked_for(
    images, checkpoint, monkeypatch, capfd
):
    monkeypatch.setitem(sys.modules, 'captum.attr', None)
    command = (images / 'a', '--metric', checkpoint, '--arrays')
    assert execute(*command) == 0
    written = sorted(os.listdir('explain'))
    assert written[2:] == ['photo.png.png', 'photo.png.quality.npy']
    assert execute(*command, '--methods', 'cam') == 2
    assert '--methods was removed; use --maps' in capfd.readouterr().err


def test_a_large_image_has_the_maps_of_a_smaller_copy_and_the_table_says_so(
    tmp_path, images, checkpoint
):
    path = images / 'a' / 'photo.png'
    photo = read_rgb(path)
    options = ('--metric', checkpoint, '--maps', 'gradient', '--arrays')
    assert execute(path, *options, '--longest', 48) == 0
    row = pd.read_csv('explain/explain.csv').iloc[0]
    assert np.load('explain/photo.png.gradient.npy').shape == (32, 48)
    assert (row['width'], row['height']) == (48, 32)
    metric = open_metric(checkpoint)
    small = photo.resize((48, 32), Image.Resampling.LANCZOS)
    assert row['score'] == pytest.approx(metric(photo).item(), abs=1e-6)
    assert row['score_of_maps'] == pytest.approx(metric(small).item(), abs=1e-6)
    assert row['score'] != row['score_of_maps']
    assert execute(path, *options, '--longest', 0, '--overwrite') == 0
    assert np.load('explain/photo.png.gradient.npy').shape == (64, 96)


def test_settings_reach_the_maps(images, checkpoint, monkeypatch):
    monkeypatch.setattr(sheet, 'draw_sheet', lambda *given: None)
    path = images / 'a' / 'photo.png'
    found = {}
    for name, given in (
        ('usual', ()),
        ('noise', ('--noise', 0.2)),
        ('seed', ('--seed', 1)),
        ('copies', ('--copies', 3)),
        ('baseline', ('--baseline', 'black')),
        ('steps', ('--steps', 3)),
        ('patch', ('--patch', 0.5)),
    ):
        options = ('--metric', checkpoint, '--arrays', *QUICK, *given)
        assert execute(path, *options, '--out', name) == 0
        found[name] = {
            method: np.load(f'{name}/photo.png.{method}.npy') for method in METHODS
        }
    changed = {
        name: [
            method
            for method in METHODS
            if not np.array_equal(found[name][method], found['usual'][method])
        ]
        for name in found
    }
    assert changed == {
        'usual': [],
        'noise': ['smooth'],
        'seed': ['smooth'],
        'copies': ['smooth'],
        'baseline': ['integrated'],
        'steps': ['integrated'],
        'patch': ['quality'],
    }


def test_a_metric_without_gradients_has_a_quality_map_alone(photos, capfd):
    small = read_rgb(photos[0]).resize((192, 128))
    small.save('photo.png')
    command = ('photo.png', '--metric', 'piqe', '--arrays', '--maps', 'all')
    assert execute(*command) == 0
    assert 'piqe has no gradient, smooth, integrated, cam' in capfd.readouterr().err
    arrays = sorted(os.listdir('explain'))
    assert arrays[2:] == ['photo.png.png', 'photo.png.quality.npy']
    command = ('photo.png', '--metric', 'piqe', '--maps', 'gradient', '--overwrite')
    assert execute(*command) == 2
    assert "maps=['gradient']: metric 'piqe' has only" in capfd.readouterr().err


def test_an_image_without_a_finite_score_is_skipped(images, monkeypatch, capfd):
    piqe = open_metric('piqe')
    piqe.net.forward = lambda images: torch.full((len(images), 1), float('nan'))
    monkeypatch.setattr(sheet, 'open_metric', lambda name: piqe)
    assert execute(images / 'a', '--metric', 'piqe') == 1
    assert 'the score is nan' in capfd.readouterr().err
    table = pd.read_csv('explain/explain.csv')
    assert table['error'].str.contains('score is nan').all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--maps', 'lime'), "maps='lime'"),
        (('--longest', -1), 'longest=-1'),
        (('--patch', 2), 'patch=2.0'),
        (('--baseline', 'white'), "baseline='white'"),
        (('--metric', 'nonsense'), "metric 'nonsense'"),
        (('--metric', 'gone.pth'), 'gone.pth'),
    ],
)
def test_bad_arguments_are_one_line_and_write_nothing(
    tmp_path, images, arguments, message, capfd
):
    assert execute(images, *arguments) == 2
    printed = capfd.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / 'explain').exists()


def test_a_missing_package_is_named_with_the_way_to_get_it(images, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'captum.attr', None)
    assert execute(images, '--maps', 'all') == 2
    assert 'metaiqa_plugin[explain]' in capfd.readouterr().err
