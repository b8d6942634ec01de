"""The benchmark of known failures: its images, its numbers, and a small run."""

import csv
import math
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import known_failures
import numpy as np
import pytest
from known_failures import (
    ScoreFile,
    agreement,
    best_first,
    change,
    darkest,
    falls,
    opinions,
    order,
    pooled,
    spread,
)
from known_failures_images import (
    ORIGINAL,
    PRISTINE,
    VERSIONS,
    charts,
    distorted_levels,
    drawings,
    mean_luma,
    text_pages,
)
from PIL import Image
from scipy.stats import rankdata

from metaiqa_plugin.data.distortions import DISTORTIONS, distort, seed_key
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import SOME_FAILED, UserError

SPLIT = 'ratio802_seed123_split_01'
FALLING = [5, 4, 3, 2, 1, 0]


class Brightness:
    """A scorer: the mean pixel; of one pixel it has none."""

    name, lower_better, batch_size = 'bright', False, 1

    def prepare(self, pixels):
        return pixels

    def submit(self, prepared):
        (pixels,) = prepared
        if pixels.shape[:2] == (1, 1):
            raise ValueError('too\nsmall')
        return lambda: [pixels.mean()]


def flat(colour, size=(4, 2)):
    return Image.new('RGB', size, colour)


def rows_of(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def ramp():
    """16x8; red is the column, green the row."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[..., 0] = np.arange(16)
    pixels[..., 1] = np.arange(8)[:, None]
    return Image.fromarray(pixels)


def test_mean_luma_weighs_colours_as_bt_601():
    assert mean_luma(flat('white')) == 255
    assert mean_luma(flat((255, 0, 0))) == 76
    assert mean_luma(flat((0, 255, 0))) == 150
    half = flat('white')
    half.paste('black', (0, 0, 2, 2))
    assert mean_luma(half) == 127.5


def test_versions_are_what_their_names_say(ramp):
    pixels = np.asarray(ramp)
    of = {name: np.asarray(make(ramp)) for name, make in VERSIONS.items()}
    resized = {'enlarged 4x': 4, 'enlarged 2x': 2, 'shrunk to 1/2': 1 / 2}
    resized |= {'shrunk to 1/4': 1 / 4, 'shrunk to 1/8': 1 / 8}
    for name, factor in resized.items():
        assert of.pop(name).shape == (8 * factor, 16 * factor, 3)
    assert of.pop('JPEG 95').shape == pixels.shape
    gray = of.pop('gray')
    assert (gray[..., 0] == gray[..., 2]).all() and gray.std() > 0
    expected = {
        ORIGINAL: pixels,
        'mirrored': pixels[:, ::-1],
        'turned by 90°': np.rot90(pixels),
        'centre 1/2': pixels[2:6, 4:12],
        'centre 1/4': pixels[3:5, 6:10],
    }
    np.testing.assert_equal(of, expected)
    assert VERSIONS['shrunk to 1/8'](flat('red', (3, 40))).size == (1, 5)


def test_shrinking_does_not_alias():
    checked = np.zeros((64, 64, 3), np.uint8)
    checked[::2, 1::2] = checked[1::2, ::2] = 255
    small = np.asarray(VERSIONS['shrunk to 1/8'](Image.fromarray(checked)))
    assert np.abs(small.astype(int) - 127).max() <= 3


def test_jpeg_has_quality_95_and_half_the_chroma(small_photos, tmp_path):
    photo = read_rgb(small_photos / '03.png')

    def saved(**how):
        photo.save(tmp_path / 'a.jpg', **how)
        return read_rgb(tmp_path / 'a.jpg')

    made = VERSIONS['JPEG 95'](photo)
    assert made == saved(quality=95, subsampling='4:2:0')
    assert made != saved(quality=95, subsampling='4:4:4')
    assert made != saved(quality=90, subsampling='4:2:0')


def test_levels_are_seeded_by_photo_type_and_level(small_photos):
    photo = small_photos / '03.png'
    found = distorted_levels((photo, 'white_noise'))
    assert [level for level, _, _ in found] == [1, 2, 3, 4, 5]
    level, image, moved = found[3]
    original = read_rgb(photo)
    rng = np.random.default_rng((3, *seed_key('white_noise', level)))
    expected = np.asarray(distort(original, 'white_noise', 4, rng)).astype(float)
    assert (np.asarray(image) == expected).all()
    assert moved == pytest.approx(np.abs(expected - np.asarray(original)).mean())
    changes = [moved for _, _, moved in distorted_levels((photo, 'mean_shift'))]
    assert [place for place, moved in enumerate(changes, 1) if moved == 0] == [3]
    ((level, image, moved),) = distorted_levels((photo, PRISTINE))
    assert (level, moved, image) == (0, 0, original)


def test_the_darkest_tenth_is_a_tenth():
    dark, threshold = darkest(np.arange(30)[::-1], 0.1)
    assert (np.flatnonzero(dark).tolist(), threshold) == ([27, 28, 29], 2)
    dark, threshold = darkest([7, 5, 5], 0.1)
    assert (dark.tolist(), threshold) == ([False, True, True], 5)


def test_agreement_by_hand():
    found = agreement([0.2, 0.4, math.nan, 0.9], [0.1, 0.5, 0.3, 0.6], False, True)
    found.pop('srocc_error')
    assert found == pytest.approx(
        {
            'count': 3,
            'srocc': 1,
            'plcc': 0.16 / math.sqrt(0.26 * 0.14),
            'rmse': math.sqrt((0.01 + 0.01 + 0.09) / 3),
            'mean_error': 0.3 / 3,
            'mean': 0.5,
            'sd': math.sqrt(0.26 / 3),
        }
    )
    turned = agreement([9, 5, 1], [0.1, 0.5, 0.6], True, False)
    assert turned['srocc'] == pytest.approx(1) and turned['plcc'] > 0
    assert math.isnan(turned['rmse']) and math.isnan(turned['mean_error'])


def test_agreement_of_a_constant_or_of_nothing_is_not_defined():
    assert math.isnan(agreement([1, 1, 1], [0.1, 0.5, 0.6], False, True)['srocc'])
    nothing = agreement([], [], False, True)
    assert nothing.pop('count') == 0 and all(map(math.isnan, nothing.values()))


def test_the_error_of_srocc_is_that_of_theory_for_independent_scores():
    scores, mos = np.random.default_rng(0).normal(size=(2, 100))
    error = agreement(scores, mos, False, False)['srocc_error']
    assert error == pytest.approx(1 / math.sqrt(99), rel=0.25)
    assert agreement(scores, 2 * scores, False, False)['srocc_error'] < 1e-9


def test_change_by_hand():
    found = change([1, 2, 3, 4], [1, 0, 4, math.nan], [0.3, 0.1, 0.9, 0.5], False)
    assert found == pytest.approx(
        {
            'count': 3,
            'mean': -1 / 3,
            'sd': math.sqrt(5 / 3 - 1 / 9),
            'largest': -2,
            'srocc_to_originals': 0.5,
            'srocc_to_mos': 1,
        }
    )
    turned = change([1, 2, 3], [1, 0, 4], [0.3, 0.1, 0.9], True)
    assert turned['srocc_to_originals'] == pytest.approx(0.5)
    assert turned['srocc_to_mos'] == pytest.approx(-1)


def test_spread_by_hand():
    assert list(spread([4, 0, 1, math.nan, 2, 3]).values()) == [5, 0, 1, 2, 3, 4]
    nothing = spread([math.nan])
    assert nothing['count'] == 0 and math.isnan(nothing['median'])


def test_order_counts_pairs_that_fall():
    scores = [FALLING, [5, 4, 3, 3, 1, 2], [9, math.nan, 3, 2, 1, 0]]
    found = order(scores, FALLING, False)
    pairs = (15 + 13, 30)
    shown = {'adjacent': (5 + 3, 10), 'every': pairs, 'photos': (1, 2), 'people': pairs}
    assert found == shown
    assert order(-np.array(scores), FALLING, True) == found
    assert order(scores, FALLING, True)['every'] == (1, 30)


def test_five_levels_may_be_in_order_where_the_first_beats_the_photo():
    found = order([[4.5, 5, 4, 3, 2, 1]], FALLING, False)
    assert (found['photos'], found['adjacent']) == ((1, 1), (4, 5))


def test_a_level_that_keeps_the_photo_is_no_pair_with_it():
    same = [[5, 5, 3, 2, 1, 0]]
    found = order(same, FALLING, False, [1])
    assert (found['adjacent'], found['every']) == ((4, 4), (14, 14))
    assert order(same, FALLING, False)['adjacent'] == (4, 5)
    found = order([FALLING], FALLING, False, [3])
    assert (found['adjacent'], found['every']) == ((5, 5), (14, 14))


def test_people_decide_which_level_should_be_higher():
    people = [4.6, 4.2, 4.5, 4.6, 4.36, 3.9]
    assert order([people], people, False)['people'] == (12, 12)
    assert order([people], people, True)['people'] == (0, 12)
    assert order([FALLING], people, False)['people'] == (9, 12)


def test_people_and_the_levels_that_are_not_monotonic():
    assert best_first(opinions('mean_shift')) == [3, 2, 4, 1, 5]
    assert best_first(opinions('contrast_change')) == [3, 4, 2, 1, 5]
    rising = [name for name in DISTORTIONS if not falls(opinions(name))]
    assert rising == ['color_shift', 'mean_shift', 'contrast_change']
    assert opinions('mean_shift')[0] == pytest.approx(4.603)


def test_types_are_pooled_by_pairs_and_not_by_shares():
    one = order([FALLING] * 3, FALLING, False)
    found = pooled([one, order([FALLING[::-1]], FALLING, False)])
    assert (found['adjacent'], found['photos']) == ((15, 20), (3, 4))


def test_a_score_file_notes_what_a_metric_cannot_score(tmp_path, capsys):
    table = ScoreFile(tmp_path / 'a.csv', ('image', 'version'), 1, [Brightness()])
    images = [(('whole',), flat('white')), (('dot',), flat('white', (1, 1)))]
    table.score('01', images=images)
    table.add_unread('02', error=UserError('no such file'))
    scores, failed = table.scores()
    assert failed == 2
    assert scores['image'].tolist() == ['01', '01', '02']
    assert scores['bright'].iloc[0] == 255 and scores['bright'].iloc[1:].isna().all()
    assert scores['error'].tolist()[1:] == ['too small', 'no such file']
    assert 'no score of 01, dot: too small' in capsys.readouterr().err


def test_an_interrupted_score_file_goes_on_to_the_same_bytes(tmp_path):
    path = tmp_path / 'a.csv'

    def fill(stop, resume):
        table = ScoreFile(path, ('image', 'version'), 1, [Brightness()], resume)
        had = [key for key in 'abc' if (key,) in table]
        for key in 'abc'[:stop]:
            if (key,) not in table:
                table.score(key, images=[((n,), flat((n, 0, 9))) for n in (1, 2)])
        return had

    fill(3, False)
    whole = path.read_bytes()
    fill(2, False)
    torn = path.read_bytes()[:-8]
    path.write_bytes(torn)
    assert fill(3, True) == ['a']
    assert path.read_bytes() == whole
    assert fill(3, False) == []
    with pytest.raises(UserError, match='has the columns'):
        ScoreFile(path, ('photo',), 1, [Brightness()], True)


@pytest.fixture
def livec(tmp_path, small_photos):
    """A table of six photos on the scale of LIVE Challenge, five of them tested."""
    table = tmp_path / 'livec.csv'
    lines = [f'img_name,mos,{SPLIT}']
    for place, path in enumerate(sorted(small_photos.iterdir())):
        lines.append(f'{path.name},{10 + 15 * place},{"test" if place else "train"}')
    table.write_text('\n'.join(lines) + '\n')
    return [str(table), str(small_photos)]


def measured(checkpoint, out, *more):
    arguments = ['--metric', checkpoint, '--out', str(out), '--workers', '1', *more]
    return known_failures.main([*arguments, '--scores', str(out / 'scores')])


def test_photos_are_measured(checkpoint, livec, tmp_path, capsys):
    more = ('--parts', 'photos', '--livec', *livec, '--split', '1')
    assert measured(checkpoint, tmp_path, *more) == 0
    assert 'test, split 01: 5 photos' in capsys.readouterr().out
    found = rows_of(tmp_path / 'known_failures_photos.csv')
    assert [row['count'] for row in found[::2]] == ['5', '1', '4']
    assert all(row['rmse'] for row in found)
    scores = rows_of(tmp_path / 'scores' / 'photos.csv')
    assert len(scores) == 5 * len(VERSIONS)
    assert [scores[0][name] for name in ('image', 'mos')] == ['02.png', '0.250000']
    darkest_first = sorted(scores, key=lambda row: float(row['luma']))
    for place, version in enumerate((ORIGINAL, 'gray')):
        every = [row for row in darkest_first if row['version'] == version]
        groups = (every, every[:1], every[1:])
        for row, own in zip(found[place::2], groups, strict=True):
            mean = np.mean([float(each['tiny.safetensors']) for each in own])
            assert float(row['mean']) == pytest.approx(mean, abs=1e-6)
            mos = np.mean([float(each['mos']) for each in own])
            assert float(row['mean_error']) == pytest.approx(mean - mos, abs=2e-6)
    first = scores[:: len(VERSIONS)]
    places = np.argsort([float(row['mos']) for row in first])
    ranks = rankdata([float(row['tiny.safetensors']) for row in first])
    apart = ((ranks[places] - np.arange(1, 6)) ** 2).sum()
    assert float(found[0]['srocc']) == pytest.approx(1 - 6 * apart / 120, abs=1e-6)
    versions = rows_of(tmp_path / 'known_failures_versions.csv')
    assert [row['version'] for row in versions] == list(VERSIONS)
    assert float(versions[0]['largest']) == 0
    assert float(versions[0]['srocc_to_originals']) == 1
    assert Image.open(tmp_path / 'known_failures_versions.png').width > 600
    with pytest.raises(UserError, match=r'photos\.csv.* exists; give --overwrite'):
        measured(checkpoint, tmp_path, *more)


def test_photos_that_are_gone_are_skipped(checkpoint, livec, tmp_path, capsys):
    table = Path(livec[0])
    table.write_text(table.read_text().replace('04.png', 'gone.png'))
    more = ('--parts', 'photos', '--overwrite', '--livec')
    assert measured(checkpoint, tmp_path, *more, *livec, '--limit', '4') == SOME_FAILED
    printed = capsys.readouterr()
    assert 'gone.png' in printed.err and 'all: 3 photos' in printed.out
    last = rows_of(tmp_path / 'scores' / 'photos.csv')[-1]
    assert last['image'] == 'gone.png' and 'does not exist' in last['error']
    nowhere = str(tmp_path / 'nowhere')
    assert measured(checkpoint, tmp_path, *more, livec[0], nowhere) == SOME_FAILED
    assert 'no photo could be read' in capsys.readouterr().out


def test_levels_are_measured(checkpoint, small_photos, tmp_path, monkeypatch, capsys):
    carried = sorted(small_photos.iterdir())
    monkeypatch.setattr(known_failures, 'carried_photos', lambda: carried)
    assert measured(checkpoint, tmp_path, '--parts', 'levels', '--photos', '1') == 0
    found = rows_of(tmp_path / 'known_failures_levels.csv')
    rows = {row['distortion']: row for row in found}
    assert [name for name in rows if name in DISTORTIONS] == list(DISTORTIONS)
    assert rows['jpeg']['adjacent_of'] == '5' and rows['jpeg']['every_of'] == '15'
    assert rows['mean_shift']['levels_unchanged'] == '3'
    assert rows['mean_shift']['every_of'] == '14'
    assert rows['mean_shift']['mean_0'] == rows['mean_shift']['mean_3']
    some = [int(row['adjacent_right']) for row in islice(rows.values(), 31)]
    assert int(rows['all: 31 types']['adjacent_right']) == sum(some)
    assert rows['falling for people: 28 types']['photos_of'] == '28'
    assert '| tiny.safetensors | jpeg | KADID-10k | 1 2 3 4 5 |' in (
        capsys.readouterr().out
    )
    assert len(rows_of(tmp_path / 'scores' / 'levels.csv')) == 1 + 31 * 5


def test_without_chromium_its_kinds_are_skipped(
    checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv('CHROMIUM', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    more = ('--parts', 'others', '--photos', '1')
    assert measured(checkpoint, tmp_path, *more) == SOME_FAILED
    printed = capsys.readouterr()
    assert printed.err.count('no Chromium') == 3
    rows = rows_of(tmp_path / 'known_failures_others.csv')
    assert [(row['kind'], row['count']) for row in rows] == [
        ('photos, Kodak', '1'),
        ('charts', '8'),
    ]


def test_what_chromium_draws_is_scored_and_kept(
    checkpoint, tmp_path, monkeypatch, browser
):
    @contextmanager
    def opened():
        yield browser

    def refused(_):
        raise UserError('no Markdown')
        yield

    def two(opened):
        return islice(drawings(opened), 2)

    monkeypatch.setattr(known_failures, 'open_browser', opened)
    monkeypatch.setattr(known_failures, 'KINDS', {'text': refused, 'drawings': two})
    more = ('--parts', 'others', '--photos', '1', '--keep', str(tmp_path / 'kept'))
    assert measured(checkpoint, tmp_path, *more) == SOME_FAILED
    rows = rows_of(tmp_path / 'known_failures_others.csv')
    assert [row['kind'] for row in rows] == ['photos, Kodak', 'drawings', 'charts']
    kept = sorted((tmp_path / 'kept' / 'drawings').iterdir())
    assert [path.name for path in kept] == ['filesave.svg.png', 'hand.svg.png']
    pixels = np.asarray(Image.open(kept[0]))
    assert 0.1 < (pixels < 30).mean() < 0.7


def test_pages_and_charts_are_drawn_the_same_again(browser):
    one, two = (next(text_pages(browser)) for _ in range(2))
    assert one == two
    assert one[1].size == (800, 1000)
    pixels = np.asarray(one[1])
    assert (pixels == 255).all(2).mean() > 0.7 and (pixels < 60).any()
    first, second = (dict(charts()) for _ in range(2))
    assert first == second and len(first) == 8


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['--parts', 'photo'], "parts='photo'"),
        (['--parts', 'photos'], 'needs --livec'),
        (['--parts', 'levels', '--photos', '0'], 'photos=0'),
        (['--parts', 'levels', '--workers', '0'], 'workers=0'),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(UserError, match=named):
        known_failures.main(arguments)
