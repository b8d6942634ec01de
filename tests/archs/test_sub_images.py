"""Where sub-images lie."""

import numpy as np
import pytest
import torch
from pyiqa.archs.arch_util import uniform_crop
from torchvision.transforms import functional

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.archs.sub_images import corners, enlarged, resized, sub_images
from metaiqa_plugin.errors import UserError


def numbered(height, width):
    """A gray image whose pixels say where they are."""
    rows, columns = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing='ij'
    )
    return (1000.0 * rows + columns)[None, None]


@pytest.mark.parametrize(
    ('placement', 'count', 'expected'),
    [
        ('centre', 1, [(3, 10)]),
        ('grid', 1, [(3, 10)]),
        ('grid', 4, [(0, 0), (0, 20), (6, 0), (6, 20)]),
        ('uniform', 4, [(0, 0), (0, 10), (3, 0), (3, 10)]),
    ],
)
def test_corners_by_hand(placement, count, expected):
    assert corners((16, 30), 10, placement, count) == expected


def test_a_grid_reaches_every_edge_and_is_even():
    found = corners((100, 70), 20, 'grid', 25)
    assert len(found) == 25
    assert [top for top, _ in found[::5]] == [0, 20, 40, 60, 80]
    assert {left for _, left in found} == {0, 12, 25, 38, 50}


def test_random_ones_stay_inside_reach_everywhere_and_follow_the_seed():
    found = np.array(corners((40, 50), 32, 'random', 2000, seed=3))
    assert found.min(axis=0).tolist() == [0, 0]
    assert found.max(axis=0).tolist() == [8, 18]
    assert corners((40, 50), 32, 'random', 5, 3) == [tuple(p) for p in found[:5]]
    assert corners((40, 50), 32, 'random', 5, 4) != [tuple(p) for p in found[:5]]
    assert abs(found[:, 1].mean() - 9) < 0.5


@pytest.mark.parametrize('size', [(20, 20), (21, 64), (57, 33), (100, 41), (12, 30)])
def test_uniform_ones_are_those_of_pyiqa(size):
    image = torch.rand(1, 3, *size)
    expected = uniform_crop([image], 20, 9)
    torch.testing.assert_close(
        sub_images(image, 20, 'uniform', 9), expected, rtol=0, atol=1e-6
    )


def test_they_are_cut_and_not_resized():
    crops = sub_images(numbered(16, 30), 10, 'grid', 4)
    assert crops.shape == (4, 1, 10, 10)
    assert torch.equal(crops[3, 0], numbered(16, 30)[0, 0, 6:, 20:])


@pytest.mark.parametrize('least', [224, 225, 48])
def test_a_small_image_of_any_size_is_enlarged_enough(least):
    for shorter in range(1, least):
        image = enlarged(torch.zeros(1, 1, shorter, shorter), least)
        assert image.shape[-2:] == (least, least)


def test_a_small_image_is_enlarged_with_its_proportions_and_a_large_one_never():
    assert enlarged(torch.rand(2, 3, 10, 15), 20).shape == (2, 3, 20, 30)
    image = torch.rand(1, 3, 30, 21)
    assert enlarged(image, 21) is image
    assert sub_images(torch.rand(1, 3, 5, 9), 20, 'random', 7).shape == (7, 3, 20, 20)


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
    torch.manual_seed(0)
    plain = RankIQA('test_efficientnet', pretrained=False, crop_size=32, crops=4)
    resizing = RankIQA(
        'test_efficientnet', pretrained=False, crop_size=32, crops=4, resize=40
    )
    resizing.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 80, 120)
    with torch.no_grad():
        small = plain.eval()(resized(image, 40))
        assert torch.equal(resizing.eval()(image), small)
        assert not torch.equal(plain(image), small)


@pytest.mark.parametrize(
    ('placement', 'count'), [('centre', 2), ('grid', 5), ('uniform', 30)]
)
def test_a_number_that_a_placement_can_not_have_is_named(placement, count):
    with pytest.raises(UserError, match=f"crops={count}.*sampling='{placement}'"):
        corners((40, 40), 32, placement, count)
