"""``metaiqa ranking`` from a folder of photos to tables and a picture."""

import csv
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.synthesis import Synthesis, synthesize
from metaiqa_plugin.data.versions import severity
from metaiqa_plugin.errors import BAD_INPUT, SOME_FAILED
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.study import ranking as study

TWO = ('gaussian_blur', 'white_noise')


def call(*arguments):
    return main(['ranking', *map(str, arguments)])


def read(path):
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


class Sharpness:
    """Mean step between neighbours: less the more blur, more the more noise."""

    lower_better = False

    def __call__(self, image):
        pixels = 255 * image[0].permute(1, 2, 0).double().numpy()
        return SimpleNamespace(item=lambda: self.score(pixels))

    def score(self, pixels):
        return float(np.abs(np.diff(pixels, axis=1)).mean())


@pytest.fixture
def use(monkeypatch):
    """Makes the command open a metric of ours instead of one of pyiqa."""
    return lambda metric: monkeypatch.setattr(study, 'open_metric', lambda _: metric)


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'new' / 'ranking'


@pytest.fixture
def nested(tmp_path, small_photos):
    """Two photos, one of them in a sub-folder."""
    first, second, *_ = sorted(small_photos.iterdir())
    folder = tmp_path / 'photos'
    (folder / 'night').mkdir(parents=True)
    shutil.copy(first, folder)
    shutil.copy(second, folder / 'night')
    return folder


def test_a_checkpoint_scores_the_images_that_synthesize_makes(
    tmp_path, tiny_network, nested, out, capfd
):
    checkpoint = tmp_path / 'tiny.safetensors'
    write_state_dict(checkpoint, tiny_network.state_dict())
    levels = (1, 2.5, 5)
    arguments = [nested, '--metric', checkpoint, '--types', *TWO, '--levels', *levels]
    assert call(*arguments, '--max-side', 48, '--seed', 3, '--out', out) == 0

    settings = Synthesis(distortions=TWO, levels=levels, max_side=48, seed=3)
    made = tmp_path / 'db'
    synthesize(nested, made, settings, processes=1, progress=False)
    metric = open_metric(str(checkpoint))
    rows = read(out / 'scores.csv')
    assert len(rows) == 2 * (1 + 6)
    for row in rows:
        stem = row['photo'].removesuffix('.png')
        image = f'images/{stem}_{row["type"]}_{row["level"]}.png'
        expected = 0.0
        if row['type'] == 'pristine':
            image = f'references/{stem}.png'
            assert row['level'] == '0'
        else:
            expected = severity(row['type'], float(row['level']))
        assert float(row['score']) == metric(read_rgb(made / image)).item()
        assert float(row['severity']) == pytest.approx(expected, abs=5e-5)
        assert row['error'] == ''
    assert {row['photo'].count('/') for row in rows} == {0, 1}
    assert len({row['score'] for row in rows}) > 10

    right = {name: 0 for name in TWO}
    for first in rows:
        for second in rows:
            same = all(first[key] == second[key] for key in ('photo', 'type'))
            milder = float(first['severity']) < float(second['severity'])
            better = float(first['score']) > float(second['score'])
            if same and milder and better:
                right[first['type']] += 1
    table = {row['type']: row for row in read(out / 'accuracy.csv')}
    for name in TWO:
        assert table[name]['pairs'] == '6' and table[name]['photos'] == '2'
        assert float(table[name]['accuracy']) == pytest.approx(
            right[name] / 6, abs=1e-4
        )
    assert Image.open(out / 'levels.png').width > 500
    assert str(out) in capfd.readouterr().out


def test_blur_is_in_order_and_noise_in_the_opposite(use, small_photos, out, capfd):
    use(Sharpness())
    assert call(small_photos, '--types', *TWO, '--out', out) == 0
    rows = read(out / 'accuracy.csv')
    assert [tuple(row.values()) for row in rows] == [
        ('white_noise', '6', '60', '0.0000', '0.0000', '-1.0000'),
        ('gaussian_blur', '6', '60', '1.0000', '0.0000', '1.0000'),
    ]
    printed = capfd.readouterr().out.splitlines()
    assert [line.split() for line in printed[:3]] == [
        list(rows[0]),
        *([*row.values()] for row in rows),
    ]
    # half of the 20 pairs of each photo
    assert printed[3].split() == 'all 6 120 0.5000 0.0000 0.0000'.split()


def test_lower_better_turns_the_order_and_keeps_the_scores(use, nested, out, tmp_path):
    use(Sharpness())
    assert call(nested, '--types', *TWO, '--out', out) == 0
    blur = Sharpness()
    blur.lower_better = True
    blur.score = lambda pixels: -Sharpness().score(pixels)
    use(blur)
    other = tmp_path / 'lower'
    assert call(nested, '--types', *TWO, '--out', other) == 0
    tables = [folder / 'accuracy.csv' for folder in (out, other)]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    higher, lower = (read(folder / 'scores.csv') for folder in (out, other))
    for first, second in zip(higher, lower, strict=True):
        assert float(first['score']) == -float(second['score']) > 0


def test_mean_shift_is_judged_by_its_severity(use, tmp_path, out):
    class NearGrey(Sharpness):
        def score(self, pixels):
            """Levels 1 to 5 add 38, 20, 0, -20 and -38 to a photo of 128."""
            return -abs(pixels.mean() - 129)

    (tmp_path / 'photos').mkdir()
    Image.new('RGB', (32, 32), (128, 128, 128)).save(tmp_path / 'photos' / 'grey.png')
    use(NearGrey())
    assert call(tmp_path / 'photos', '--types', 'mean_shift', '--out', out) == 0
    (row,) = read(out / 'accuracy.csv')
    assert tuple(row.values()) == ('mean_shift', '1', '10', '1.0000', '', '1.0000')


def test_the_picture_has_what_the_tables_have(use, monkeypatch, nested, out):
    drawn = []
    monkeypatch.setattr(study, 'draw_histograms', lambda *given: drawn.extend(given))
    use(Sharpness())
    types = ('white_noise', 'mean_shift')
    arguments = [nested, '--types', *types, '--metric', 'a/b.pth', '--out', out]
    assert call(*arguments) == 0
    path, rows, accuracies, metric, lower_better = drawn
    assert (path, metric, lower_better) == (out / 'levels.png', 'b.pth', False)
    cells = [tuple(row.values()) for row in read(out / 'scores.csv')]
    assert [row.cells() for row in rows] == cells
    table = {row['type']: float(row['accuracy']) for row in read(out / 'accuracy.csv')}
    assert list(accuracies) == list(table)
    found = [accuracy.accuracy for accuracy in accuracies.values()]
    assert found == pytest.approx(list(table.values()), abs=1e-4)


def test_presets_chains_and_a_limit(use, nested, out):
    use(Sharpness())
    types = ('live', 'motion_blur+jpeg', 'jpeg')
    arguments = [nested, '--types', *types, '--levels', 1, 5, '--limit', 1]
    assert call(*arguments, '--out', out) == 0
    found = {row['type']: row for row in read(out / 'accuracy.csv')}
    live = {'gaussian_blur', 'white_noise', 'jpeg', 'jpeg2000'}
    assert set(found) == {*live, 'motion_blur+jpeg'}
    assert {row['photos'] + row['pairs'] for row in found.values()} == {'11'}
    assert len(read(out / 'scores.csv')) == 1 + 5 * 2


def test_the_same_run_writes_the_same_bytes_and_replaces_when_told_to(
    use, nested, out, capfd
):
    use(Sharpness())
    arguments = [nested, '--types', *TWO, '--out', out]
    assert call(*arguments) == 0
    files = sorted(out.iterdir())
    before = [path.read_bytes() for path in files]
    assert call(*arguments) == BAD_INPUT
    assert '--overwrite' in capfd.readouterr().err
    assert call(*arguments, '--overwrite') == 0
    assert [path.read_bytes() for path in files] == before


def test_a_broken_photo_is_a_row_and_the_rest_is_scored(use, nested, out, capfd):
    whole = (nested / 'night').iterdir()
    (nested / '00_cut.png').write_bytes(next(whole).read_bytes()[:500])
    use(Sharpness())
    assert call(nested, '--types', 'jpeg', '--out', out) == SOME_FAILED
    first, *rows = read(out / 'scores.csv')
    assert first['photo'] == '00_cut.png' and first['score'] == ''
    assert 'cannot be read' in first['error']
    assert len(rows) == 12 and not any(row['error'] for row in rows)
    assert read(out / 'accuracy.csv')[0]['photos'] == '2'
    lines = capfd.readouterr().err.splitlines()
    (line,) = [line for line in lines if 'metaiqa: ' in line]
    assert 'not scored: 00_cut.png: ' in line


@pytest.mark.parametrize(
    ('raised', 'message'),
    [
        (RuntimeError('two\nlines'), 'two lines'),
        (AssertionError(), 'AssertionError'),
        (None, 'the score is nan'),
    ],
)
def test_an_image_that_a_metric_does_not_take_is_left_out(
    use, nested, out, capfd, raised, message
):
    class Moody(Sharpness):
        calls = 0

        def score(self, pixels):
            self.calls += 1
            if self.calls not in (3, 4):
                return super().score(pixels)
            if raised:
                raise raised
            return float('nan')

    use(Moody())
    arguments = [nested, '--types', 'gaussian_blur', '--out', out]
    assert call(*arguments) == SOME_FAILED
    rows = read(out / 'scores.csv')
    assert [row['error'] for row in rows[2:4]] == [message] * 2
    assert [row['level'] for row in rows if row['error']] == ['2', '3']
    assert len(rows) == 12 and sum(bool(row['score']) for row in rows) == 10
    # three of five levels of the first photo, all five of the second
    assert read(out / 'accuracy.csv')[0]['pairs'] == '13'
    error = capfd.readouterr().err
    assert f'01.png (gaussian_blur at level 2), 1 more of it: {message}' in error


def test_an_interrupted_run_leaves_whole_rows(use, nested, out):
    class Interrupted(Sharpness):
        calls = 0

        def score(self, pixels):
            self.calls += 1
            if self.calls == 40:
                raise KeyboardInterrupt
            return super().score(pixels)

    use(Interrupted())
    assert call(nested, '--types', 'live', '--out', out) == 130
    assert (out / 'scores.csv').read_text().endswith('\n')
    levels = ''.join(row['level'] for row in read(out / 'scores.csv'))
    assert len(levels) > 1 and ('0' + 4 * '12345' + '0' + 4 * '12345').startswith(
        levels
    )
    assert [item.name for item in out.iterdir()] == ['scores.csv']


def test_nothing_scored_is_one_line(use, nested, out, capfd):
    class Dead(Sharpness):
        def score(self, pixels):
            raise RuntimeError('no')

    use(Dead())
    assert call(nested, '--types', 'jpeg', '--out', out) == BAD_INPUT
    assert 'no two levels could be scored' in capfd.readouterr().err
    assert [item.name for item in out.iterdir()] == ['scores.csv']
    assert {row['error'] for row in read(out / 'scores.csv')} == {'no'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--types', 'blur'], "'blur'"),
        (['--levels', 3], 'levels=[3]'),
        (['--levels', 3, 3], 'name each once'),
        (['--levels', 1, 6], '--levels=6: expected a number from 1 to 5'),
        (['--limit', 0], 'limit=0'),
        (['--max-side', -1], '--max-side=-1'),
        (['--seed', -1], 'seed=-1'),
        (['--metric', 'ssim'], "'ssim' is not a no-reference"),
        (['--metric', 'nowhere.pth'], 'nowhere.pth'),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    nested, out, capfd, arguments, message
):
    assert call(nested, *arguments, '--out', out) == BAD_INPUT
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith('metaiqa: ') and message in line
    assert not out.exists()


def test_a_folder_without_photos_is_named(tmp_path, out, capfd):
    assert call(tmp_path / 'nowhere', '--out', out) == BAD_INPUT
    assert 'no such folder' in capfd.readouterr().err
