"""RankIQA's network: the paper's backbones, and the sides of its sub-images."""

import pytest
import torch
from torch import nn
from torchvision.models import alexnet

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.errors import UserError


def test_alexnet_is_torchvisions_with_one_output():
    torch.manual_seed(0)
    network = RankIQA('alexnet', pretrained=False).eval()
    whole = alexnet(weights=None).eval()
    whole.classifier[-1] = nn.Linear(4096, 1)
    ours = list(network.parameters())
    for mine, theirs in zip(ours, whole.parameters(), strict=True):
        theirs.data.copy_(mine)
    crops = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = whole(network.normalised(crops))
        torch.testing.assert_close(network.view_scores(crops), expected)
    assert network.sub_image_side((900, 1200)) == 224  # it keeps its view


def test_vgg16_ends_in_the_papers_layers():
    network = RankIQA('vgg16', pretrained=False)
    assert network.head[-1].in_features == 4096
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len([m for m in convolutions if m.kernel_size == (3, 3)]) == 13


def test_the_shallow_network_has_four_convolutions_and_one_connected_layer():
    kinds = [type(module) for module in RankIQA('shallow', pretrained=False).modules()]
    assert kinds.count(nn.Conv2d) == 4
    assert kinds.count(nn.Linear) == 1
    with pytest.raises(UserError, match='no such weights'):
        RankIQA('shallow', pretrained='imagenet')


@pytest.mark.parametrize(
    ('size', 'side'),
    [((64, 300), 64), ((192, 400), 64), ((300, 200), 67), ((900, 1200), 300)],
)
def test_sub_images_cover_a_third_of_the_photo(size, side):
    network = RankIQA('test_efficientnet', pretrained=False, crop_size=64)
    assert network.sub_image_side(size) == side
