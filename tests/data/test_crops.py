"""Crops of pixels and of frozen maps: where they are cut, and how often mirrored."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data import store
from metaiqa_plugin.data.crops import FrozenMaps, MapCrop, RandomCrop, maps_of
from metaiqa_plugin.data.datasets import DatasetImages, LabelledDataset
from metaiqa_plugin.data.episodes import EpisodeDataset
from metaiqa_plugin.data.images import read_resized
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.iqa_model import require_same_stages

MAPS = {'backbone': 'tf_efficientnet_lite0', 'stages': 3}


def coordinates(height, width):
    """Each pixel says where it is."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def draws(crop, image, count):
    generator = np.random.default_rng(0)
    return [crop(image, generator) for _ in range(count)]


def test_a_crop_is_a_window_and_perhaps_mirrored():
    places, mirrored = Counter(), 0
    for cut in draws(RandomCrop(10, 8), coordinates(10, 12), 3000):
        assert cut.shape == (3, 8, 8) and cut.dtype == torch.uint8
        top, left, right = cut[0, 0, 0], cut[1, 0, 0], cut[1, 0, 7]
        flip = bool(left > right)
        mirrored += flip
        corner = int(min(left, right))
        expected = coordinates(10, 12)[int(top) :, corner:][:8, :8]
        expected = expected[:, ::-1] if flip else expected
        assert np.array_equal(cut.permute(1, 2, 0).numpy(), expected)
        places[int(top), corner] += 1
    assert len(places) == 3 * 5
    assert chisquare(list(places.values())).pvalue > 1e-3
    assert binomtest(mirrored, 3000).pvalue > 1e-3


def test_mirroring_can_be_left_out():
    for cut in draws(RandomCrop(10, 8, hflip=False), coordinates(10, 12), 50):
        assert cut[1, 0, 0] < cut[1, 0, 7]


def test_a_crop_does_not_share_the_memory_of_its_image():
    image = coordinates(9, 9)
    cut = draws(RandomCrop(9, 9, hflip=False), image, 1)[0]
    cut.zero_()
    assert np.array_equal(image, coordinates(9, 9))


def test_impossible_sizes_are_named():
    with pytest.raises(UserError, match='crop_size=33 is larger than resize=32'):
        RandomCrop(32, 33)
    with pytest.raises(UserError, match='resize=-1'):
        RandomCrop(-1, 32)
    with pytest.raises(UserError, match='crop_size=0'):
        RandomCrop(0, 0)


def test_an_image_below_the_crop_is_enlarged_to_it():
    pixels = np.full((20, 50, 3), 7, np.uint8)
    crop = RandomCrop(0, 32)(pixels, np.random.default_rng(0))
    assert crop.shape == (3, 32, 32)
    assert (crop == 7).all()


def block(database, **changes):
    return {
        'name': 'small',
        'phase': 'train',
        'meta_info_file': str(database / 'meta_info_small.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
        'resize': 64,
        'crop_size': 64,
        'seed': 3,
        'batch_size_per_gpu': 2,
        'store': str(database / 'maps'),
        'maps': MAPS,
    } | changes


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return MetaIQA(levels=[3, 4], frozen=3, pretrained='imagenet', input_size=64)


@pytest.fixture(scope='module')
def dataset(database):
    with pytest.MonkeyPatch.context() as patch:
        # a process to start takes longer than so few small images
        patch.setattr(store, 'available_cores', lambda: 1)
        return LabelledDataset(block(database))


def test_the_store_holds_what_the_network_makes_of_the_images(dataset, network):
    network.eval()
    for index in (0, 5):
        pixels = read_resized(dataset.rows.path(index), 64)
        plain, mirrored = dataset.pixels[index]
        assert plain.dtype == np.float16 and plain.shape[2] == 40
        for kept, seen in ((plain, pixels), (mirrored, pixels[:, ::-1])):
            image = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None] / 255
            with torch.no_grad():
                expected = network.maps(image)[0].permute(1, 2, 0)
            assert np.allclose(kept, expected, rtol=1e-3, atol=1e-3)


def test_a_network_scores_a_crop_of_the_whole_as_it_scores_the_image(dataset, network):
    network.eval()
    index = 0
    pixels = read_resized(dataset.rows.path(index), 64)[:, :64]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    whole = torch.from_numpy(maps_of(network, pixels)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        assert torch.allclose(network(whole), network(image), atol=1e-3)


def test_items_differ_from_batch_to_batch_and_not_from_run_to_run(database, dataset):
    first = dataset.__getitems__([0, 1])
    again = LabelledDataset(block(database)).__getitems__([0, 1])
    assert first[0]['img'].shape == (40, 8, 8)
    assert first[0]['img'].dtype == torch.float32
    assert all(
        torch.equal(a['img'], b['img']) for a, b in zip(first, again, strict=True)
    )
    others = [dataset.__getitems__([0, other])[0]['img'] for other in range(2, 12)]
    assert any(not torch.equal(first[0]['img'], other) for other in others)


def test_episodes_are_of_maps(database):
    own = {'support_size': 4, 'query_size': 4, 'images_per_reference': 2}
    episodes = EpisodeDataset(block(database, tasks_per_epoch=2, **own))
    item = episodes[0]
    assert item['support_img'].shape == (4, 40, 8, 8)
    assert item['support_img'].dtype == torch.float16


def test_a_crop_is_cut_from_the_image_or_from_the_mirrored_one():
    plain = np.arange(6 * 7, dtype=np.float16).reshape(6, 7, 1)
    both = (plain, -plain)
    generator = np.random.default_rng(0)
    crops = [MapCrop(4)(both, generator) for _ in range(50)]
    assert {crop.shape for crop in crops} == {(1, 4, 4)}
    assert {bool((crop <= 0).all()) for crop in crops} == {True, False}
    corners = {abs(crop[0, 0, 0].item()) for crop in crops}
    assert corners == {
        float(plain[top, left, 0]) for top in range(3) for left in range(4)
    }
    unmirrored = [MapCrop(4, hflip=False)(both, generator) for _ in range(20)]
    assert all((crop >= 0).all() for crop in unmirrored)


def test_parts_that_are_there_are_not_made_again(database, dataset, monkeypatch):
    monkeypatch.setattr(FrozenMaps, 'made_of', None)
    assert len(LabelledDataset(block(database)).pixels) == len(dataset.pixels)


def test_stages_that_were_float16_on_disk_are_taken_for_the_same(network):
    rounded = copy.deepcopy(network)
    for tensor in rounded.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    weight = rounded.backbone.frozen_state()['stem.0.weight']
    assert not torch.equal(weight, network.state_dict()['backbone.stem.0.weight'])
    require_same_stages(rounded, MAPS)
    with torch.no_grad():
        weight[0, 0, 0, 0] += 0.01
    with pytest.raises(UserError, match='differ from them'):
        require_same_stages(rounded, MAPS)


def test_other_stages_are_refused(network):
    require_same_stages(network, MAPS)
    with pytest.raises(UserError, match='frozen=3; they must be the same'):
        require_same_stages(network, MAPS | {'stages': 2})
    with pytest.raises(UserError, match='backbone=None'):
        require_same_stages(torch.nn.Linear(2, 2), MAPS)
    random = MetaIQA(levels=[3, 4], frozen=3, pretrained=False)
    with pytest.raises(UserError, match='differ from them'):
        require_same_stages(random, MAPS)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'maps': {'stage': 3}}, 'expected a block of backbone and stages'),
        ({'maps': 3}, 'expected a block of backbone and stages'),
        ({'maps': {'stages': 9}}, 'has 7 stages'),
        ({'maps': {'stages': 0}}, 'maps.stages=0'),
        ({'resize': 0}, 'with maps, resize'),
        ({'store': None}, 'maps are kept in the store'),
        ({'crop_size': 65}, 'crop_size=65 is larger'),
    ],
)
def test_bad_options_are_named(database, changes, message):
    with pytest.raises(UserError, match=message):
        LabelledDataset(block(database, **changes))


def test_pixels_and_maps_share_a_store(database, dataset):
    databases = DatasetImages(
        {
            key: value
            for key, value in block(database).items()
            if key in ('meta_info_file', 'dataroot_target', 'mos_range', 'store')
        },
        'small',
    )
    pixels = databases.pixels(64)
    assert np.array_equal(pixels[0], read_resized(databases.rows.path(0), 64))
    assert dataset.pixels[0][0].dtype == np.float16
