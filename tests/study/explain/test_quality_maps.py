"""Scores of patches: where they lie, and how networks see them."""

import pytest
import torch

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.explain.quality_maps import (
    patch_scoring,
    quality_map,
    seen_image,
)


@pytest.fixture
def image():
    return torch.rand(1, 3, 11, 16, generator=torch.Generator().manual_seed(0))


def mean(patches):
    return patches.mean((1, 2, 3)).view(-1, 1)


def test_every_patch_has_its_own_score_from_edge_to_edge(image):
    found = quality_map(mean, image, patch=4, stride=3)
    assert found.tops == (0, 3, 6, 7)
    assert found.lefts == (0, 3, 6, 9, 12)
    assert found.scores.shape == (4, 5)
    assert found.scores.dtype == torch.float64
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            expected = image[..., top : top + 4, left : left + 4].mean().item()
            assert found.scores[row, column].item() == pytest.approx(expected, 1e-6)


@pytest.mark.parametrize('batch', [1, 7, 100])
def test_scores_do_not_depend_on_how_many_are_scored_at_a_time(image, batch):
    sizes = []

    def score(patches):
        sizes.append(len(patches))
        return mean(patches)

    found = quality_map(score, image, 4, 3, batch)
    assert max(sizes) <= batch
    assert sum(sizes) == 20
    torch.testing.assert_close(found.scores, quality_map(mean, image, 4, 3).scores)


def test_a_pixel_has_the_mean_score_of_the_patches_that_it_lies_in(image):
    found = quality_map(mean, image, patch=4, stride=3)
    pixels = found.pixels()
    assert pixels.shape == (11, 16)
    for row in range(11):
        for column in range(16):
            covering = [
                found.scores[i, j].item()
                for i, top in enumerate(found.tops)
                for j, left in enumerate(found.lefts)
                if top <= row < top + 4 and left <= column < left + 4
            ]
            expected = sum(covering) / len(covering)
            assert pixels[row, column].item() == pytest.approx(expected)


def test_a_patch_as_large_as_the_image_is_its_score():
    image = torch.rand(1, 3, 9, 9)
    found = quality_map(mean, image, 9, 9)
    assert found.scores.shape == (1, 1)
    assert found.scores.item() == pytest.approx(image.mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((12, 3), 'patch=12 is larger than the image, 16x11 pixels'),
        ((4, 5), 'stride=5 leaves gaps'),
        ((0, 1), 'patch=0'),
        ((4, 0), 'stride=0'),
        ((4, 3, 0), 'batch=0'),
        ((4.0, 3), 'patch=4.0'),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(image, arguments, message):
    with pytest.raises(UserError, match=message):
        quality_map(mean, image, *arguments)


def test_patches_of_our_networks_are_not_resized_a_second_time(tiny_network):
    image = torch.rand(1, 3, 128, 160)
    score, seen = patch_scoring(tiny_network, image)
    assert seen.shape == (1, 3, 64, 80)
    torch.testing.assert_close(score(seen), tiny_network(image))
    sizes = []
    tiny_network.backbone.register_forward_pre_hook(
        lambda module, inputs: sizes.append(tuple(inputs[0].shape[-2:]))
    )
    quality_map(score, seen, 32, 16)
    assert set(sizes) == {(32, 32)}


def test_patches_of_networks_of_sub_images_are_scored_as_those():
    torch.manual_seed(0)
    network = RankIQA(
        'test_efficientnet',
        resize=64,
        crop_size=64,
        crops=1,
        sampling='centre',
        pretrained=False,
    ).eval()
    image = torch.rand(1, 3, 128, 128)
    score, seen = patch_scoring(network, image)
    assert seen.shape == seen_image(network, image).shape == (1, 3, 64, 64)
    torch.testing.assert_close(score(seen), network(image))


def test_other_metrics_get_patches_of_the_image_itself():
    image = torch.rand(1, 3, 8, 8)
    network = torch.nn.Flatten()
    assert patch_scoring(network, image) == (network, image)
