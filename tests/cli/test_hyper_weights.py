"""The verb hyper-weights, from images to a table and a map."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.study.hyper_weights import (
    HEADER,
    embed,
    neighbour_shares,
    weights_and_score,
)

VERSIONS = ['original', 'gaussian_blur', 'white_noise', 'jpeg']


def execute(*arguments):
    return main(['hyper-weights', *map(str, arguments)])


def written(folder, **arguments):
    torch.manual_seed(0)
    small = {'backbone': 'test_efficientnet', 'crop_size': 64, 'crops': 1}
    network = HyperIQA(pretrained=False, **small, **arguments)
    write_state_dict(folder / 'hyper.pth', network.state_dict())
    return str(folder / 'hyper.pth')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return written(tmp_path_factory.mktemp('hyper'))


@pytest.fixture
def folder(tmp_path, small_photos):
    shutil.copytree(small_photos, tmp_path / 'images' / 'below')
    (tmp_path / 'images' / 'broken.png').write_text('no image')
    return tmp_path / 'images'


def test_rows_of_all_images_and_a_broken_one(folder, checkpoint, tmp_path, capfd):
    out = tmp_path / 'out'
    assert execute(folder, '--metric', checkpoint, '--out', out) == 1
    printed = capfd.readouterr()
    assert 'broken.png' in printed.err
    assert '6 images' in printed.out
    table = pd.read_csv(out / 'hyper_weights.csv')
    assert list(table) == list(HEADER)
    paths = sorted(map(str, (folder / 'below').iterdir()))
    assert list(table['image']) == [*paths, str(folder / 'broken.png')]
    assert table['error'].notna().tolist() == [False] * 6 + [True]
    good = table[:6]
    network = HyperIQA(pretrained_model_path=checkpoint).eval()
    found = [
        weights_and_score(network, to_tensor(read_rgb(path))[None]) for path in paths
    ]
    assert good['score'].tolist() == pytest.approx([score.item() for _, score in found])
    places = embed(np.array([vector for vector, _ in found]))
    assert np.allclose(good[['x', 'y']], places, rtol=1e-4)
    with Image.open(out / 'hyper_weights.png') as picture:
        assert len(picture.convert('RGB').getcolors(2**24)) > 1000


def test_distorted_versions_and_the_shares_that_are_printed(
    small_photos, checkpoint, tmp_path, capfd
):
    command = [small_photos, '--metric', checkpoint, '--distort']
    command += ['--method', 'pca', '--seed', 5]
    assert execute(*command, '--out', tmp_path / 'one') == 0
    printed = capfd.readouterr().out
    table = pd.read_csv(tmp_path / 'one' / 'hyper_weights.csv')
    assert len(table) == 24
    assert table['image'].is_unique
    assert table['version'].tolist() == VERSIONS * 6
    contents = sorted(map(str, small_photos.iterdir()))
    assert table['content'].tolist() == list(np.repeat(contents, 4))

    network = HyperIQA(pretrained_model_path=checkpoint).eval()
    vectors = []
    for number, path in enumerate(contents):
        photo = read_rgb(path)
        for version in VERSIONS:
            image = photo
            if version != 'original':
                rng = np.random.default_rng((5, number))
                image = distort(photo, version, 4, rng)
            vector, score = weights_and_score(network, to_tensor(image)[None])
            assert table['score'][len(vectors)] == pytest.approx(score.item(), rel=1e-5)
            vectors.append(vector)
    places = embed(np.array(vectors), 'pca')
    assert np.allclose(table[['x', 'y']], places, rtol=1e-4, atol=1e-6)
    shares = neighbour_shares(np.array(vectors), table['content'], table['version'])
    assert str(shares) in printed
    assert f'{3 / 23:.1%}' in printed
    assert f'{5 / 23:.1%}' in printed

    first = (tmp_path / 'one' / 'hyper_weights.csv').read_bytes()
    assert execute(*command, '--out', tmp_path / 'one') == 2
    assert '--overwrite' in capfd.readouterr().err
    assert execute(*command, '--out', tmp_path / 'one', '--overwrite') == 0
    assert (tmp_path / 'one' / 'hyper_weights.csv').read_bytes() == first


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{empty}', '--metric', '{good}'], 'no image in this folder'),
        (
            ['{one}', '--metric', '{good}'],
            'at least 4 images that can be read, got 1',
        ),
        (['{photos}', '--metric', 'nowhere.pth'], 'nowhere.pth'),
        (['{photos}', '--metric', '{good}', '--method', 'umap'], "method='umap'"),
        (['{photos}', '--metric', '{good}', '--seed', '-1'], 'seed=-1'),
        (['{photos}', '--metric', '{fixed}'], 'generates no weights'),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    small_photos, checkpoint, tmp_path, capfd, arguments, message
):
    (tmp_path / 'empty').mkdir()
    filled = {
        'empty': tmp_path / 'empty',
        'one': min(small_photos.iterdir()),
        'photos': small_photos,
        'good': checkpoint,
        'fixed': written(tmp_path, hyper_network=False),
    }
    arguments = [argument.format(**filled) for argument in arguments]
    assert execute(*arguments, '--out', tmp_path / 'out') == 2
    lines = capfd.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith('metaiqa:')]
    assert len(told) == 1
    assert message in told[0]
    assert not list(tmp_path.glob('out/*'))
