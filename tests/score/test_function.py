"""``metaiqa_plugin.score``: whatever images are given as, the command's scores."""

import inspect
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, to_tensor

import metaiqa_plugin
from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import function, open_metric
from metaiqa_plugin.score.scorers import MetricScorer

SCORED_AS_FILES = {
    'path': lambda path: path,
    'pathlib': Path,
    'bytes': lambda path: Path(path).read_bytes(),
    'PIL': Image.open,
    'array of bytes': lambda path: np.array(Image.open(path)),
    'array with alpha': lambda path: np.array(Image.open(path).convert('RGBA')),
    'real array': lambda path: np.array(Image.open(path)) / 255,
    'tensor of bytes': lambda path: pil_to_tensor(Image.open(path)),
    'tensor': lambda path: to_tensor(Image.open(path)).requires_grad_(),
    'half tensor': lambda path: to_tensor(Image.open(path)).bfloat16(),
    'batch of one': lambda path: to_tensor(Image.open(path))[None],
}


@pytest.fixture
def paths(small_photos):
    return [str(path) for path in sorted(small_photos.iterdir())]


@pytest.fixture
def score(checkpoint):
    return partial(metaiqa_plugin.score, metric=checkpoint, engine='torch')


@pytest.fixture
def expected(checkpoint, paths):
    metric = open_metric(checkpoint)
    return np.array([metric(path).item() for path in paths])


@pytest.mark.parametrize('kind', SCORED_AS_FILES)
def test_an_image_scores_the_same_whatever_it_is_given_as(kind, score, paths, expected):
    image = SCORED_AS_FILES[kind](paths[0])
    close = 2e-3 if kind == 'half tensor' else 1e-5
    several = score([image, paths[1]])
    np.testing.assert_allclose(several, expected[:2], atol=close)
    if kind != 'batch of one':
        lone = score(image)
        assert type(lone) is float and lone == pytest.approx(several[0], abs=1e-5)


def test_lists_iterators_folders_and_stacks(score, paths, expected):
    stack = np.stack([np.array(Image.open(path)) for path in paths])
    folder = os.path.dirname(paths[0])
    tensors = torch.from_numpy(stack).movedim(-1, 1)
    for given in (paths, iter(paths), map(Image.open, paths), stack, tensors, folder):
        got = score(given)
        assert (got.shape, got.dtype) == ((len(paths),), np.float64)
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert score([]).shape == (0,)


def test_real_numbers_are_not_rounded_to_bytes(monkeypatch):
    scorers = [MetricScorer('mean', torch.mean, lower_better=False)]
    monkeypatch.setattr(function, 'open_scorers', lambda *_: scorers)
    for image in (torch.full((3, 8, 9), 0.1234), np.full((8, 9), 0.1234)):
        got = metaiqa_plugin.score(image, 'the mean of a test')
        assert got == pytest.approx(0.1234, abs=1e-6)


def test_gray(score, paths):
    gray = Image.open(paths[0]).convert('L')
    pixels = np.array(gray)
    kinds = [gray, pixels, pixels[..., None], pixels / 255, to_tensor(gray)]
    assert score(kinds) == pytest.approx([score(gray.convert('RGB'))] * 5, abs=1e-5)


def test_several_metrics_are_one_more_axis(score, checkpoint, paths):
    both = score(paths, metric=[checkpoint, 'piqe'])
    assert both.shape == (len(paths), 2)
    np.testing.assert_array_equal(both[:, 0], score(paths, metric=Path(checkpoint)))
    np.testing.assert_array_equal(score(paths[0], metric=[checkpoint, 'piqe']), both[0])


def test_the_table_is_that_of_the_command(score, paths, expected, tmp_path):
    table = score([*paths[:2], tmp_path / 'none.png', Image.open(paths[3])], table=True)
    assert list(table) == ['path', 'tiny.safetensors', 'width', 'height', 'error']
    assert list(table['path']) == [*paths[:2], str(tmp_path / 'none.png'), '3']
    wanted = [*expected[:2], np.nan, expected[3]]
    np.testing.assert_allclose(table['tiny.safetensors'], wanted, atol=1e-5)
    assert list(table['width'].fillna(0)) == [96, 96, 0, 96]
    assert [bool(error) for error in table['error']] == [False, False, True, False]


def test_what_is_no_image_is_named_and_the_others_are_scored(score, paths, expected):
    wrong = {
        'None': (None, 'NoneType is no image'),
        'range': (np.full((20, 20, 3), 200.0), 'real numbers from 200 to 200'),
        'nan': (torch.full((3, 20, 20), torch.nan), 'real numbers from nan'),
        'shape': (np.zeros((3, 20, 20), np.uint8), r'shape \(3, 20, 20\) is no image'),
        'bytes': (b'nothing', 'cannot be read'),
        'folder': (os.path.dirname(paths[0]), 'no regular file'),
        'url': ('https://nowhere.invalid/a.png', 'download=True'),
    }
    for image, message in wrong.values():
        with pytest.warns(UserWarning, match=f'1 of 2 images are NaN.*{message}'):
            got = score([image, paths[1]])
        assert np.isnan(got[0]) and got[1] == pytest.approx(expected[1], abs=1e-5)
    for kind in ('range', 'bytes', 'url'):
        with pytest.raises(UserError, match=wrong[kind][1]):
            score(wrong[kind][0])


@pytest.mark.parametrize(
    ('images', 'arguments', 'message'),
    [
        (5, {}, 'images=5: expected a path'),
        ('nothing/*.png', {}, 'no file matches'),
        ([], {'metric': []}, 'metric is empty'),
        ([], {'metric': 'nothing'}, "metric 'nothing'"),
        ([], {'device': 'moon'}, "device='moon'"),
        ([], {'workers': 0}, 'workers=0'),
    ],
)
def test_bad_arguments_are_one_line(score, images, arguments, message):
    with pytest.raises(UserError, match=message):
        score(images, **arguments)


def test_addresses_are_read_when_asked(score, paths, expected):
    handler = partial(SimpleHTTPRequestHandler, directory=os.path.dirname(paths[0]))
    handler.func.log_message = lambda *_: None
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f'http://127.0.0.1:{server.server_port}'
        lone = score(f'{at}/{os.path.basename(paths[0])}', download=True)
        table = score([f'{at}/none.png'], download=True, table=True)
        server.shutdown()
    assert lone == pytest.approx(expected[0], abs=1e-5)
    assert '404' in table['error'][0]


def test_a_metric_stays_open_until_its_file_changes(score, checkpoint, paths):
    before = score(paths[0])
    assert score(paths[0]) == before
    torch.manual_seed(1)
    other = MetaIQA('test_efficientnet', pretrained=False, input_size=64, hidden=16)
    write_state_dict(checkpoint, other.state_dict(), overwrite=True)
    os.utime(checkpoint, (1, 1))
    assert score(paths[0]) != before


def test_the_package_imports_it_when_it_is_used():
    code = (
        'import sys, metaiqa_plugin\n'
        "loaded = 'metaiqa_plugin.score' in sys.modules\n"
        'from metaiqa_plugin import score\n'
        'import metaiqa_plugin.score.pipeline\n'
        'print(loaded, callable(score), metaiqa_plugin.score is score)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ['False', 'True', 'True']
    assert next(iter(inspect.signature(metaiqa_plugin.score).parameters)) == 'images'
    with pytest.raises(AttributeError, match='nothing'):
        metaiqa_plugin.nothing  # noqa: B018
