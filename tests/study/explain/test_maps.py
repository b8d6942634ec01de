"""Maps by their names; class activation and quality where the answer is known."""

import pytest
import torch
from torch import nn

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
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
    activation_cells,
    class_activation_map,
    compute_map,
    patch_scoring,
    quality_map,
    usable_methods,
)

SETTINGS = MapSettings(noise=0.2, copies=2, seed=5, baseline='gray', steps=3, patch=0.5)
CPU = torch.device('cpu')
WEIGHTS = (2.0, -1.0, 0.5)
TINY = 'test_efficientnet'


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
    assert method in usable_methods(tiny_network, CPU)
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


def mean(patches):
    return patches.mean((1, 2, 3)).view(-1, 1)


@pytest.mark.parametrize('batch', [1, 7, 100])
def test_a_pixel_has_the_mean_score_of_the_patches_that_it_lies_in(batch):
    image = torch.rand(1, 3, 11, 16, generator=torch.Generator().manual_seed(0))
    sizes = []

    def score(patches):
        sizes.append(len(patches))
        return mean(patches)

    found = quality_map(score, image, patch=4, stride=3, batch=batch)
    assert max(sizes) <= batch and sum(sizes) == 20
    assert found.dtype == torch.float64
    assert found.shape == (11, 16)
    for row in range(11):
        for column in range(16):
            covering = [
                image[..., top : top + 4, left : left + 4].mean().item()
                for top in (0, 3, 6, 7)
                for left in (0, 3, 6, 9, 12)
                if top <= row < top + 4 and left <= column < left + 4
            ]
            expected = sum(covering) / len(covering)
            assert found[row, column].item() == pytest.approx(expected, rel=1e-6)


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
def test_arguments_out_of_range_are_refused_by_name(arguments, message):
    image = torch.rand(1, 3, 11, 16)
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
    assert seen.shape == (1, 3, 64, 64)
    torch.testing.assert_close(score(seen), network(image))


def test_other_metrics_get_patches_of_the_image_itself():
    image = torch.rand(1, 3, 8, 8)
    network = torch.nn.Flatten()
    assert patch_scoring(network, image) == (network, image)


def handmade(crops, resize=0):
    """The mean over 32-pixel sub-images of a weighted sum of R, G, B; 4x4 cells."""
    network = RankIQA(
        TINY, dropout=0.0, resize=resize, crop_size=32, crops=crops, pretrained=False
    )
    network.backbone = nn.Sequential(
        nn.AvgPool2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network.backbone.pretrained_cfg = {'input_size': (3, 32, 32)}
    network.head = nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        network.head[-1].weight.copy_(torch.tensor([WEIGHTS]))
    return network.eval()


def value(network, pixel):
    """Of a pixel: its weighted sum, normalised as the network does."""
    normalised = network.normalised(pixel.view(1, 3, 1, 1)).flatten()
    return (normalised @ torch.tensor(WEIGHTS)).item()


def test_cells_are_features_weighted_by_the_mean_gradient():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    gradients = torch.tensor([[[[0.0, 2.0]], [[-3.0, 1.0]]]])
    expected = torch.tensor([[[1 * 1 - 1 * 3, 1 * 2 - 1 * 4]]]).float()
    assert torch.equal(activation_cells(features, gradients), expected)


def test_a_known_network_is_raised_where_it_should_and_lowered_where_it_should():
    network = handmade(crops=4)
    image = torch.zeros(1, 3, 64, 64)
    image[:, 0, :, :32] = 1.0
    image[:, 1, :, 32:] = 1.0
    found = class_activation_map(network, image)
    raised, lowered = (value(network, image[0, :, 0, column]) for column in (0, 63))
    assert raised > 0 > lowered
    torch.testing.assert_close(found[:, :32], torch.full((64, 32), raised / 64**2))
    torch.testing.assert_close(found[:, 32:], torch.full((64, 32), lowered / 64**2))


def test_the_map_of_a_linear_head_sums_to_the_score():
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 3, 64, 96, generator=generator)
    for crops in (1, 4, 9):
        network = handmade(crops)
        found = class_activation_map(network, image)
        assert found.sum().item() == pytest.approx(network(image).item(), rel=1e-4)


def test_pixels_in_several_sub_images_get_the_sum():
    network = handmade(crops=4)
    image = torch.full((1, 3, 48, 48), 0.9)
    found = class_activation_map(network, image)
    one = value(network, image[0, :, 0, 0]) / (4 * 32**2)
    torch.testing.assert_close(found[:16, :16], torch.full((16, 16), one))
    torch.testing.assert_close(found[16:32, :16], torch.full((16, 16), 2 * one))
    torch.testing.assert_close(found[16:32, 16:32], torch.full((16, 16), 4 * one))


def test_a_network_that_resizes_has_a_map_of_the_image_s_own_size():
    network = handmade(crops=4, resize=64)
    image = torch.full((1, 3, 128, 128), 0.9)
    image[..., 64:] = 0.1
    found = class_activation_map(network, image)
    assert found.shape == (128, 128)
    assert found.sum().item() == pytest.approx(network(image).item(), abs=1e-3)
    assert found[64, 10].item() == pytest.approx(
        value(network, image[0, :, 0, 0]) / 128**2, rel=1e-4
    )
    assert found[64, 10] > 0 > found[64, 120]


@pytest.mark.parametrize(
    ('kind', 'own'),
    [(MetaIQA, {}), (MetaIQA, {'levels': [3, 4]}), (RankIQA, {}), (HyperIQA, {})],
)
def test_networks_of_this_package_have_maps_of_the_whole_image(kind, own):
    torch.manual_seed(0)
    size = own if kind is HyperIQA else own | {'backbone': TINY}
    size |= {'input_size': 64} if kind is MetaIQA else {'crop_size': 64, 'crops': 1}
    size |= {} if kind is MetaIQA else {'sampling': 'centre'}
    network = kind(pretrained=False, **size).eval()
    with torch.random.fork_rng():
        found = class_activation_map(network, torch.rand(1, 3, 70, 90))
    assert found.shape == (70, 90)
    assert found.isfinite().all()
    assert found.std() > 0
    assert not any(module._forward_hooks for module in network.modules())


def test_hyperiqa_s_map_is_that_of_the_semantic_features():
    torch.manual_seed(0)
    network = HyperIQA(pretrained=False, crop_size=64, crops=1, sampling='centre')
    network = network.eval()
    image = torch.rand(1, 3, 64, 64)
    semantic = network.features(network.normalised(image))[1]
    assert semantic.shape[-2:] == (2, 2)
    kept = {}

    def keep(module, inputs, output):
        kept['semantic'] = output[-1]

    hook = network.features.backbone.register_forward_hook(keep)
    score = network(image.requires_grad_())
    hook.remove()
    gradient = torch.autograd.grad(score.sum(), kept['semantic'])[0]
    cells = activation_cells(kept['semantic'], gradient)
    found = class_activation_map(network, image)
    assert found.sum().item() == pytest.approx(cells.sum().item(), rel=1e-4)


def test_a_transformer_pools_no_feature_map_and_is_refused():
    network = MetaIQA('vit_tiny_patch16_224', pretrained=False, hidden=16).eval()
    with pytest.raises(UserError, match=r'vit_tiny_patch16_224.*no feature map'):
        class_activation_map(network, torch.rand(1, 3, 64, 64))


def test_another_network_is_refused():
    with pytest.raises(UserError, match='network of this package'):
        class_activation_map(nn.Flatten(), torch.rand(1, 3, 64, 64))
