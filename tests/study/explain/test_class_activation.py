"""Class activation maps on networks whose answer is known."""

import pytest
import torch
from torch import nn

from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.explain.class_activation import (
    activation_cells,
    class_activation_map,
)

WEIGHTS = (2.0, -1.0, 0.5)
TINY = 'test_efficientnet'


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
