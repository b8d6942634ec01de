"""Where sub-images lie, and what networks make of them."""

import numpy as np
import pytest
import torch
from pyiqa.archs.arch_util import uniform_crop
from torchvision.transforms import functional

from metaiqa_plugin.archs import sub_images
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.archs.sub_images import SubImageConfig, resized
from metaiqa_plugin.errors import UserError


def network(**arguments):
    torch.manual_seed(0)
    given = {'crop_size': 32, 'crops': 4, 'least_part': 0}
    return RankIQA('test_efficientnet', pretrained=False, **given | arguments).eval()


def numbered(height, width):
    """An image whose pixels say where they are."""
    rows, columns = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing='ij'
    )
    return (1000.0 * rows + columns)[None, None].expand(1, 3, -1, -1)


@pytest.mark.parametrize(
    ('sampling', 'count', 'expected'),
    [
        ('centre', 1, [(3, 10)]),
        ('grid', 1, [(3, 10)]),
        ('grid', 4, [(0, 0), (0, 20), (6, 0), (6, 20)]),
        ('uniform', 4, [(0, 0), (0, 10), (3, 0), (3, 10)]),
    ],
)
def test_corners_by_hand(sampling, count, expected):
    config = SubImageConfig(sampling=sampling, crops=count)
    assert config.corners((16, 30), 10) == expected


def test_a_grid_reaches_every_edge_and_is_even():
    found = SubImageConfig(crops=25).corners((100, 70), 20)
    assert len(found) == 25
    assert [top for top, _ in found[::5]] == [0, 20, 40, 60, 80]
    assert {left for _, left in found} == {0, 12, 25, 38, 50}


def test_random_ones_stay_inside_reach_everywhere_and_follow_the_seed():
    def corners(count, seed):
        config = SubImageConfig(sampling='random', crops=count, seed=seed)
        return config.corners((40, 50), 32)

    found = np.array(corners(2000, 3))
    assert found.min(axis=0).tolist() == [0, 0]
    assert found.max(axis=0).tolist() == [8, 18]
    assert corners(5, 3) == [tuple(p) for p in found[:5]]
    assert corners(5, 4) != [tuple(p) for p in found[:5]]
    assert abs(found[:, 1].mean() - 9) < 0.5


def test_the_papers_thirty_at_random_are_the_same_each_time():
    grid = network()
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        first, again, other = (
            network(sampling='random', crops=30, seed=seed)(image) for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, grid(image))


@pytest.mark.parametrize('size', [(32, 32), (33, 64), (57, 43), (100, 41), (12, 30)])
def test_uniform_ones_are_those_of_pyiqa(size):
    image = torch.rand(1, 3, *size)
    expected = uniform_crop([image], 32, 9)
    found = network(sampling='uniform', crops=9).views(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_they_are_cut_and_not_resized():
    crops = network().views(numbered(38, 52))
    assert crops.shape == (4, 3, 32, 32)
    assert torch.equal(crops[3], numbered(38, 52)[0, :, 6:, 20:])
    two = torch.cat([numbered(38, 52), 1 + numbered(38, 52)])
    assert torch.equal(network().sub_images((38, 52)).of(two)[::2], crops)


@pytest.mark.parametrize('side', [224, 225, 48])
def test_a_small_image_of_any_size_is_enlarged_enough(side):
    whole = network(crop_size=side, crops=1, sampling='centre')
    for shorter in range(1, side):
        views = whole.views(torch.zeros(1, 1, shorter, shorter))
        assert views.shape[-2:] == (side, side)


def test_a_small_image_is_enlarged_with_its_proportions_and_a_large_one_never():
    image = torch.rand(1, 3, 16, 32)
    large = functional.resize(image, [32, 64], antialias=False)
    expected = torch.cat([large[..., :32], large[..., 32:]])
    found = network().views(image)[:2]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert network().sub_images((32, 70)).enlarged_by == 1


@pytest.mark.parametrize(('shorter', 'size'), [(30, (30, 45)), (120, (120, 180))])
def test_a_shorter_side_that_is_asked_for_is_torchvisions(shorter, size):
    image = torch.rand(2, 3, 60, 90)
    found = resized(image, shorter)
    expected = functional.resize(image, list(size), antialias=True)
    assert found.shape[-2:] == size
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert resized(image, 0) is image
    assert resized(image, 60) is image


def test_a_network_that_resizes_scores_the_resized_image():
    plain, resizing = network(), network(resize=40)
    image = torch.rand(1, 3, 80, 120)
    with torch.no_grad():
        small = plain(resized(image, 40))
        assert torch.equal(resizing(image), small)
        assert not torch.equal(plain(image), small)


@pytest.mark.parametrize(
    ('sampling', 'count'), [('centre', 2), ('grid', 5), ('uniform', 30)]
)
def test_a_number_that_a_placement_cannot_have_is_named(sampling, count):
    with pytest.raises(UserError, match=f"crops={count}.*sampling='{sampling}'"):
        SubImageConfig(sampling=sampling, crops=count)


@pytest.mark.parametrize('size', [(1, 5000), (600, 3)])
@pytest.mark.parametrize(
    'arguments',
    [{}, {'resize': 40}, {'sampling': 'uniform', 'crops': 9}],
    ids=['grid', 'resized', 'uniform'],
)
def test_a_sliver_is_not_enlarged_as_a_whole(monkeypatch, size, arguments):
    image = torch.rand(2, 3, *size)
    views = network(**arguments).sub_images(size)
    with monkeypatch.context() as patched:
        patched.setattr(sub_images, 'SLIVER', 1e9)
        expected = views.of(image)
    monkeypatch.setattr(sub_images.functional, 'interpolate', None)
    torch.testing.assert_close(views.of(image), expected, rtol=0, atol=0.02)
