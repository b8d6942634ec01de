"""Maps by their names, of our networks and of other metrics."""

import pytest
import torch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.study.explain.gradient_maps import (
    gradient_map,
    integrated_gradients,
    smooth_gradient_map,
)
from metaiqa_plugin.study.explain.maps import (
    METHODS,
    MapSettings,
    compute_map,
    usable_methods,
)

SETTINGS = MapSettings(noise=0.2, copies=2, seed=5, baseline='gray', steps=3, patch=0.5)
CPU = torch.device('cpu')


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))


class SumAndMore(torch.nn.Module):
    def forward(self, images):
        return images.square().mean((1, 2, 3)).view(-1, 1), 'beside it'


def test_each_name_is_its_map_with_its_settings(tiny_network, image):
    expected = {
        'gradient': gradient_map(tiny_network, image),
        'smooth': smooth_gradient_map(tiny_network, image, 0.2, 2, 5),
        'integrated': integrated_gradients(tiny_network, image, 'gray', 3),
    }
    for method, values in expected.items():
        found = compute_map(method, tiny_network, image, SETTINGS)
        assert torch.equal(found, values)


@pytest.mark.parametrize('method', METHODS)
def test_maps_have_the_size_of_the_image(tiny_network, method):
    image = torch.rand(1, 3, 70, 130)
    found = compute_map(method, tiny_network, image, SETTINGS)
    assert found.shape == (70, 130)
    assert found.isfinite().all()


def test_a_quality_map_of_one_patch_has_the_score_of_the_image_everywhere():
    image = torch.rand(1, 3, 64, 64)
    found = compute_map('quality', SumAndMore(), image, MapSettings(patch=1.0))
    expected = image.square().mean().item()
    torch.testing.assert_close(found, torch.full((64, 64), expected).double())


def test_a_quality_map_follows_what_the_metric_measures():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:] = 1.0
    found = compute_map('quality', SumAndMore(), image, MapSettings(patch=0.25))
    assert found[:, :16].max() == 0
    assert found[:, -16:].min() == pytest.approx(1)


def test_piqe_has_a_quality_map_alone(image):
    piqe = open_metric('piqe').net
    assert usable_methods(piqe, CPU) == ('quality',)
    big = torch.rand(1, 3, 96, 96)
    assert compute_map('quality', piqe, big, SETTINGS).std() > 0
    with pytest.raises(UserError, match='no gradient'):
        compute_map('gradient', piqe, image, SETTINGS)


def test_other_differentiable_metrics_have_all_but_activation_maps(image):
    network = SumAndMore()
    assert usable_methods(network, CPU) == tuple(m for m in METHODS if m != 'cam')
    found = compute_map('gradient', network, image, SETTINGS)
    torch.testing.assert_close(found, 2 * image.sum(1)[0] / image.numel())
    with pytest.raises(UserError, match='network of this package'):
        compute_map('cam', network, image, SETTINGS)


def test_our_networks_have_all(tiny_network):
    assert usable_methods(tiny_network, CPU) == METHODS


def test_an_unknown_method_is_refused(tiny_network, image):
    with pytest.raises(UserError, match="method='lime'"):
        compute_map('lime', tiny_network, image, SETTINGS)


@pytest.mark.parametrize(
    'argument',
    [
        {'noise': 1.0},
        {'copies': 0},
        {'seed': -1},
        {'baseline': 'white'},
        {'steps': 0},
        {'patch': 0.0},
        {'patch': 1.5},
    ],
)
def test_settings_out_of_range_are_refused_by_name(argument):
    with pytest.raises(UserError, match=next(iter(argument))):
        MapSettings(**argument)
