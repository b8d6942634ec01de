"""The same scores as pyiqa's, whatever is read how and scored together with what."""

import itertools
import math
import threading
import time

import numpy as np
import pyiqa
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import engines, open_metric, pipeline
from metaiqa_plugin.score.pipeline import (
    Item,
    ScoreRow,
    score_images,
    score_items,
    score_network,
)
from metaiqa_plugin.score.scorers import (
    MetricScorer,
    min_side,
    open_scorers,
    scorer_names,
)
from metaiqa_plugin.score.sources import Reader

TINY = 'test_efficientnet'


@pytest.fixture(scope='module')
def odd_images(tmp_path_factory, photos):
    """Files of every usual kind, all of a real photo, by what is odd about them."""
    folder = tmp_path_factory.mktemp('odd')
    photo = read_rgb(photos[0]).resize((150, 100))
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    kinds = {
        'rgb.png': (photo, {}),
        'jpeg.jpg': (photo, {'quality': 90}),
        'gray.png': (photo.convert('L'), {}),
        'gray-alpha.png': (photo.convert('LA'), {}),
        'alpha.png': (photo.convert('RGBA'), {}),
        'palette.png': (photo.convert('P'), {}),
        'bits.png': (photo.convert('1'), {}),
        'cmyk.jpg': (photo.convert('CMYK'), {}),
        'profile.jpg': (photo, {'icc_profile': b'no profile'}),
        'turned.jpg': (photo, {'exif': upside_down}),
        'moving.webp': (photo, {'save_all': True, 'append_images': [photo.rotate(9)]}),
        'tall.bmp': (photo.resize((40, 160)), {}),
        'sliver.png': (photo.resize((300, 2)), {}),
        'one.png': (photo.resize((1, 1)), {}),
        'large.webp': (photo.resize((900, 700)), {}),
    }
    paths = []
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
        paths.append(str(folder / name))
    return paths


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """One of each network, untrained."""
    networks = {
        'meta': MetaIQA(TINY, pretrained=False, input_size=64, hidden=16),
        'rank': RankIQA(TINY, pretrained=False, crop_size=48, crops=4),
        'hyper': HyperIQA(TINY, pretrained=False, crop_size=64, crops=4, resize=70),
    }
    paths = {}
    for name, network in networks.items():
        paths[name] = str(tmp_path_factory.mktemp('networks') / f'{name}.safetensors')
        write_state_dict(paths[name], network.state_dict())
    return paths


@pytest.fixture(scope='module')
def expected(checkpoints, odd_images):
    metrics = {name: open_metric(path) for name, path in checkpoints.items()}
    return {
        name: [metric(path).item() for path in odd_images]
        for name, metric in metrics.items()
    }


@pytest.mark.parametrize('network', ['meta', 'rank', 'hyper'])
@pytest.mark.parametrize(
    ('engine', 'batch_size', 'workers'),
    [('torch', 1, 1), ('torch', 3, 2), ('torch', 40, 3), ('openvino', None, 2)],
)
def test_every_kind_of_image_scores_as_in_pyiqa(
    checkpoints, odd_images, expected, network, engine, batch_size, workers
):
    scorers = open_scorers(
        [checkpoints[network]], engine=engine, batch_size=batch_size, device='cpu'
    )
    rows = list(score_images(odd_images * 2, scorers, workers))
    assert [row.path for row in rows] == odd_images * 2
    assert [row.error for row in rows] == [''] * len(rows)
    got = [row.scores[0] for row in rows]
    np.testing.assert_allclose(got, expected[network] * 2, atol=1e-5)
    sizes = [Image.open(path).size for path in odd_images]
    assert [(row.width, row.height) for row in rows[: len(sizes)]] == sizes


def test_the_metric_that_ships_scores_as_in_pyiqa(photos):
    paths = [str(path) for path in photos[8:11]]
    metric = pyiqa.create_metric('metaiqa')
    for engine in ('torch', 'openvino'):
        rows = score_images(paths, open_scorers(['metaiqa'], engine=engine))
        got = [row.scores[0] for row in rows]
        np.testing.assert_allclose(got, [metric(p).item() for p in paths], atol=1e-5)


def test_openvino_is_taken_where_it_computes_the_network(checkpoints, monkeypatch):
    monkeypatch.undo()
    network = open_metric(checkpoints['meta']).net
    assert isinstance(engines.open_engine(network), engines.OpenVINOEngine)
    monkeypatch.setattr(engines, 'AGREEING', {'fp32': -1.0})
    assert isinstance(engines.open_engine(network), engines.TorchEngine)
    with pytest.raises(UserError, match=r'does not compute this network'):
        engines.open_engine(network, 'openvino')


def test_bf16_is_near(checkpoints, odd_images, expected):
    for engine in ('torch', 'openvino'):
        scorers = open_scorers([checkpoints['meta']], engine=engine, precision='bf16')
        got = [row.scores[0] for row in score_images(odd_images, scorers)]
        np.testing.assert_allclose(got, expected['meta'], atol=0.02)


def test_broken_images_are_rows_among_the_others(checkpoints, odd_images, tmp_path):
    (tmp_path / 'cut.jpg').write_bytes(open(odd_images[1], 'rb').read()[:700])
    (tmp_path / 'text.png').write_text('no image')
    bad = [str(tmp_path / name) for name in ('cut.jpg', 'text.png', 'nowhere.png')]
    mixed = [bad[0], odd_images[0], bad[1], bad[2], odd_images[1]]
    scorers = open_scorers([checkpoints['meta'], checkpoints['rank']])
    rows = list(score_images(mixed, scorers))
    assert [row.path for row in rows] == mixed
    assert [bool(row.error) for row in rows] == [True, False, True, True, False]
    for row in rows:
        missing = [row.width is None, *(score is None for score in row.scores)]
        assert set(missing) == {bool(row.error)}
    assert "cut.jpg' cannot be read" in rows[0].error
    assert 'does not exist' in rows[3].error


def refusing(image):
    """A metric that refuses some images, by an exception or a score of NaN."""
    if image.shape[-1] == 300:
        raise AssertionError
    if image.shape[-1] == 40:
        raise RuntimeError('too\n  tall')
    mean = image.mean()
    return mean * float('nan') if image.shape[-1] == 1 else mean


def test_what_a_metric_of_pyiqa_refuses_has_the_scores_of_the_others(
    checkpoints, odd_images, expected
):
    scorers = [
        MetricScorer('refusing', refusing, lower_better=True),
        *open_scorers([checkpoints['meta']]),
    ]
    rows = {
        row.path.rpartition('/')[2]: row for row in score_images(odd_images, scorers)
    }
    errors = {name: row.error for name, row in rows.items() if row.error}
    assert errors == {
        'tall.bmp': 'too tall',
        'sliver.png': 'AssertionError',
        'one.png': 'the score is nan',
    }
    assert all(rows[name].scores[0] is None for name in errors)
    got = [row.scores[1] for row in rows.values()]
    np.testing.assert_allclose(got, expected['meta'], atol=1e-5)
    mean = np.asarray(read_rgb(odd_images[0])).mean() / 255
    assert rows['rgb.png'].scores[0] == pytest.approx(mean, abs=1e-6)


def test_whatever_loading_raises_is_the_error_of_its_row():
    def fail():
        raise KeyError('no such\nversion')

    gray = Image.new('RGB', (32, 24), (51, 51, 51))
    scorers = [MetricScorer('mean', torch.mean, lower_better=False)]
    rows = list(score_items([Item('bad', fail), Item('v1', lambda: gray)], scorers))
    assert rows == [
        ScoreRow('bad', (None,), error="'no such\\nversion'"),
        ScoreRow('v1', (pytest.approx(0.2),), 32, 24),
    ]


def test_each_error_is_told_once_before_scores_that_are_not_finite():
    def refuse(image):
        raise ValueError('too small')

    metrics = (lambda image: image.sum() * math.nan, torch.mean, refuse, refuse)
    scorers = [MetricScorer('any', metric, lower_better=False) for metric in metrics]
    items = [Item('a', lambda: Image.new('RGB', (3, 4)))]
    (row,) = score_items(items, scorers)
    error = 'too small; the score is nan'
    assert row == ScoreRow('a', (None, 0.0, None, None), 3, 4, error)


@pytest.mark.parametrize(
    ('memory', 'available', 'together'), [(0.5, 1e12, 2), (None, 1e9, 2), (None, 1, 1)]
)
def test_large_images_wait_for_each_other(monkeypatch, memory, available, together):
    monkeypatch.setattr(pipeline, 'available_memory', lambda: available)
    inside, most, lock = 0, 0, threading.Lock()

    def load():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1
        return Image.new('RGB', (8, 8))

    items = [Item(str(n), load, lambda: 10_000_000) for n in range(12)]
    scorers = [MetricScorer('mean', torch.mean, lower_better=False)]
    rows = list(score_items(items, scorers, workers=6, memory=memory))
    assert [row.path for row in rows] == [item.key for item in items]
    assert not any(row.error for row in rows)
    assert 0 < most <= together


def test_an_image_larger_than_the_memory_is_an_error(odd_images, tmp_path):
    large = tmp_path / 'large.png'
    Image.new('1', (13300, 13300)).save(large)
    assert large.stat().st_size < 30_000
    scorers = [MetricScorer('mean', torch.mean, lower_better=False)]
    rows = list(score_images([str(large), odd_images[0]], scorers, memory=1))
    assert 'needs about 4.2 GB; give --memory more' in rows[0].error
    assert not rows[1].error


def test_prepared_images_count_until_they_are_scored():
    asked = []

    def items():
        for number in range(100):
            asked.append(number)
            yield Item('a', lambda: Image.new('RGB', (1000, 1000)), lambda: 1_000_000)

    class Four(MetricScorer):
        batch_size = 4

        def submit(self, prepared):
            return lambda: [0.0] * len(prepared)

    scorers = [Four('none', None, lower_better=False)]
    rows = score_items(items(), scorers, workers=1, memory=0.03)
    next(rows)
    assert len(asked) < 8


def test_a_bare_network_scores_strictly(checkpoints, odd_images, tmp_path):
    network = open_metric(checkpoints['meta']).net
    scores = score_network(network.train(), odd_images)
    with torch.no_grad():
        images = (to_tensor(read_rgb(path)).unsqueeze(0) for path in odd_images)
        assert scores.tolist() == [network(image).item() for image in images]
    with pytest.raises(UserError, match='does not exist'):
        score_network(network, [odd_images[0], str(tmp_path / 'nowhere.png')])
    diverged = torch.nn.Linear(1, 1)
    diverged.forward = lambda image: image.sum() * float('nan')
    assert np.isnan(score_network(diverged, odd_images[:2])).all()


def test_a_metric_of_pyiqa_beside_ours(photos):
    paths = [str(photos[0])]
    metric = pyiqa.create_metric('piqe')
    (row,) = score_images(paths, open_scorers(['piqe']))
    assert row.scores == (pytest.approx(metric(paths[0]).item(), abs=1e-4),)


def test_images_without_end_are_scored_as_they_come(checkpoints, odd_images):
    asked = []

    def endless():
        for path in itertools.cycle(odd_images):
            asked.append(path)
            yield path

    scorers = open_scorers([checkpoints['meta']], engine='torch', batch_size=2)
    rows = score_images(endless(), scorers, workers=2)
    first = list(itertools.islice(rows, 20))
    rows.close()
    assert [row.path for row in first] == asked[:20]
    assert len(asked) < 45


def test_as_seen_turns_and_scales(checkpoints, odd_images, tmp_path):
    turned = next(path for path in odd_images if path.endswith('turned.jpg'))
    scorers = open_scorers([checkpoints['meta']])
    upright = str(tmp_path / 'upright.png')
    Image.fromarray(np.rot90(np.asarray(read_rgb(turned)), 2)).save(upright)
    (as_is,) = score_images([turned], scorers)
    (seen,) = score_images([turned], scorers, reader=Reader(as_seen=True))
    (wanted,) = score_images([upright], scorers)
    assert seen.scores == pytest.approx(wanted.scores, abs=1e-6)
    assert seen.scores != pytest.approx(as_is.scores, abs=1e-6)


def test_a_shrunken_jpeg_is_decoded_small_and_told_at_its_size(
    checkpoints, photos, tmp_path
):
    path = str(tmp_path / 'large.jpg')
    read_rgb(photos[0]).resize((800, 600)).save(path)
    scorers = open_scorers([checkpoints['meta']])
    reader = Reader(min_side=min_side(scorers))
    assert reader(path).size == (100, 75)
    (row,) = score_images([path], scorers, reader=reader)
    (whole,) = score_images([path], scorers)
    assert (row.width, row.height) == (800, 600)
    assert row.scores == pytest.approx(whole.scores, abs=0.02)
    with pytest.raises(UserError, match='own size'):
        min_side(open_scorers([checkpoints['meta'], checkpoints['rank']]))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'engine': 'tensorrt'}, "engine='tensorrt'"),
        ({'precision': 'int8'}, "precision='int8'"),
    ],
)
def test_what_there_is_not_is_named(checkpoints, arguments, message):
    with pytest.raises(UserError, match=message):
        open_scorers([checkpoints['meta']], **arguments)


def test_a_number_of_workers(checkpoints):
    with pytest.raises(UserError, match='workers=0'):
        list(score_images([], open_scorers([checkpoints['meta']]), workers=0))


def test_short_names_where_they_tell_metrics_apart():
    assert scorer_names(['metaiqa', 'runs/a/net.pth']) == ['metaiqa', 'net.pth']
    both = ['runs/a/net.pth', 'runs/b/net.pth']
    assert scorer_names(both) == both
