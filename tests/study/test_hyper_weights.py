"""Maps of generated weights: places, neighbours and what chance would give."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import pairwise_distances

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study import hyper_weights
from metaiqa_plugin.study.hyper_weights import (
    DPI,
    MAP,
    THUMBNAIL,
    Version,
    draw_map,
    embed,
    nearest,
    neighbour_shares,
    spaced_out,
    weights_and_score,
)


def test_the_vector_is_the_first_generated_layer_and_the_score_that_of_the_image():
    torch.manual_seed(0)
    network = HyperIQA(
        pretrained=False, backbone='test_efficientnet', crop_size=64, crops=4
    ).eval()
    image = torch.rand(1, 3, 80, 96)
    vector, score = weights_and_score(network, image)
    with torch.inference_mode():
        layers = network.generated_weights(image).weights
        expected = network(image)
    assert vector.dtype == np.float32
    assert vector.shape == (112 * 224,)
    assert np.array_equal(vector.reshape(112, 224), layers[0][0].numpy())
    assert score == expected


def test_the_nearest_is_another_one_and_of_equals_the_first():
    points = np.array([[0.0, 0], [3, 0], [5, 0], [5, 1], [0, -3]])
    assert nearest(points).tolist() == [1, 2, 3, 2, 0]
    assert nearest(points + 1e6).tolist() == [1, 2, 3, 2, 0]
    same = np.array([[1.0, 2], [5, 5], [1, 2]], np.float32)
    assert nearest(same).tolist() == [2, 0, 0]


def test_shares_and_chance_by_hand():
    vectors = np.array([[0.0], [1], [10], [12], [30]])
    shares = neighbour_shares(vectors, list('aabba'), list('xyxyx'))
    assert nearest(vectors).tolist() == [1, 0, 3, 2, 3]
    assert shares.content == 4 / 5
    assert shares.version == 0
    # of the four others: a has two alike (three images), b one (two images)
    assert shares.chance_content == pytest.approx((3 * 2 + 2 * 1) / 5 / 4)
    assert shares.chance_version == pytest.approx((3 * 2 + 2 * 1) / 5 / 4)
    by_version = neighbour_shares(vectors, list('xyxyx'), list('aabbb'))
    assert (by_version.content, by_version.version) == (0, 1)
    assert '100.0% (chance 40.0%)' in str(by_version)


def test_principal_components_keep_distances_in_a_plane_the_widest_first():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(12, 2)) * (5, 1)
    basis, _ = np.linalg.qr(rng.normal(size=(60, 2)))
    places = embed(flat @ basis.T + 3, 'pca')
    assert places.shape == (12, 2)
    assert np.allclose(pairwise_distances(places), pairwise_distances(flat))
    assert places[:, 0].std() > places[:, 1].std()


def test_tsne_keeps_groups_together_and_repeats_itself():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 8)
    vectors = rng.normal(size=(24, 80)) + 30 * groups[:, None]
    places = embed(vectors, seed=3)
    assert np.array_equal(places, embed(vectors, 'tsne', 3))
    assert (groups[nearest(places)] == groups).all()
    assert not np.allclose(places, embed(vectors, 'pca', 3))


def test_four_images_are_enough():
    vectors = np.random.default_rng(0).normal(size=(4, 10))
    for method in ('tsne', 'pca'):
        places = embed(vectors, method)
        assert places.shape == (4, 2)
        assert np.isfinite(places).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((np.eye(3),), 'needs at least 4 images that can be read, got 3'),
        ((np.ones((5, 3)),), 'all 5 images have the same weights'),
        ((np.eye(5), 'umap'), "method='umap'"),
        ((np.eye(5), 'pca', -1), 'seed=-1'),
    ],
)
def test_bad_arguments_name_themselves(arguments, message):
    with pytest.raises(UserError, match=message):
        embed(*arguments)


def test_squares_do_not_overlap_and_the_first_in_order_win():
    places = np.array([[0.0, 0], [0.9, 0.9], [1, 0], [0.5, 5], [0, -1]])
    assert spaced_out(places, 1, [0, 1, 2, 3, 4]) == [0, 2, 3, 4]
    assert spaced_out(places, 1, [1, 0, 2, 3, 4]) == [1, 3, 4]
    assert spaced_out(places, 0.5, [4, 3]) == [4, 3]


def test_thumbnails_are_of_the_first_version_first_and_as_large_as_said(
    tmp_path, monkeypatch
):
    places = np.array([[0.0, 0], [0.01, 0], [100, 0], [0, 80]])
    asked = []

    def read(path):
        asked.append(path)
        return Image.new('RGB', (300, 300), (255, 0, 0))

    monkeypatch.setattr(hyper_weights, 'read_rgb', read)
    path = tmp_path / 'map.png'
    names = ['original', 'jpeg', 'original', 'original']
    versions = [Version(*one) for one in zip('aabc', names, strict=True)]
    draw_map(path, places, [1, 2, 3, 4], versions, 'Title')
    assert asked == ['a', 'b', 'c']
    pixels = np.asarray(Image.open(path).convert('RGB'))
    red = (pixels == (255, 0, 0)).all(axis=2)
    side = THUMBNAIL * DPI
    assert 0.8 * 3 * side**2 < red.sum() < 3 * side**2
    rows, columns = red.any(axis=1), red.any(axis=0)
    assert rows.sum() == pytest.approx(2 * side, abs=4)
    assert columns.sum() == pytest.approx(2 * side, abs=4)
    left, bottom, width, height = (DPI * length for length in MAP)
    assert left < columns.argmax()
    assert columns.nonzero()[0].max() < left + width
    assert len(red) - bottom - height < rows.argmax()
    assert rows.nonzero()[0].max() < len(red) - bottom
