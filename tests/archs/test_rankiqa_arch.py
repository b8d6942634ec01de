"""RankIQA's network: its backbones, its sub-images, its checkpoints."""

import pyiqa
import pytest
import torch
from torch import nn
from torchvision.models import alexnet

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.errors import CheckpointError, UserError

TINY = 'test_efficientnet'


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RankIQA(TINY, pretrained=False, crop_size=64, crops=4).eval()


@pytest.mark.parametrize('backbone', [TINY, 'test_resnet', 'test_vit', 'shallow'])
def test_any_backbone_scores_and_learns(backbone):
    torch.manual_seed(0)
    side = 160 if backbone == 'test_vit' else 64
    network = RankIQA(backbone, pretrained=False, crop_size=side, crops=1).train()
    scores = network(torch.rand(4, 3, side, side))
    assert scores.shape == (4, 1)
    scores.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        assert network.eval()(torch.rand(2, 3, 200, 170)).shape == (2, 1)


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


def test_vgg16_ends_in_the_papers_layers():
    network = RankIQA('vgg16', pretrained=False)
    assert network.head[-1].in_features == 4096
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len([m for m in convolutions if m.kernel_size == (3, 3)]) == 13


def test_the_shallow_network_has_four_convolutions_and_one_connected_layer():
    kinds = [type(module) for module in RankIQA('shallow', pretrained=False).modules()]
    assert kinds.count(nn.Conv2d) == 4
    assert kinds.count(nn.Linear) == 1


@pytest.mark.parametrize(
    ('size', 'side'),
    [((64, 300), 64), ((192, 400), 64), ((300, 200), 67), ((900, 1200), 300)],
)
def test_sub_images_cover_a_third_of_the_photo(network, size, side):
    assert network.sub_image_side(size) == side


def test_fully_connected_networks_keep_their_view():
    network = RankIQA('alexnet', pretrained=False)
    assert network.sub_image_side((900, 1200)) == 224


def test_a_score_is_the_mean_over_the_sub_images(network):
    image = torch.rand(1, 3, 96, 128)
    crops = [image[..., y : y + 64, x : x + 64] for y in (0, 32) for x in (0, 64)]
    with torch.no_grad():
        expected = network.view_scores(torch.cat(crops)).mean()
        assert network(image).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_papers_thirty_at_random_are_the_same_each_time(network, tmp_path):
    path = tmp_path / 'rank.safetensors'
    write_state_dict(path, network.state_dict())
    arguments = {'sampling': 'random', 'crops': 30, 'pretrained_model_path': str(path)}
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        first = RankIQA(**arguments).eval()(image)
        assert torch.equal(first, RankIQA(**arguments).eval()(image))
        assert not torch.equal(first, RankIQA(seed=1, **arguments).eval()(image))
        assert not torch.equal(first, network(image))


def test_saved_and_loaded_it_scores_the_same_and_keeps_its_sampling(tmp_path):
    torch.manual_seed(0)
    network = RankIQA('shallow', pretrained=False, crop_size=48, crops=1).eval()
    for name in ('rank.safetensors', 'rank.pth'):
        write_state_dict(tmp_path / name, network.state_dict())
        metric = pyiqa.create_metric(
            'rankiqa', pretrained_model_path=str(tmp_path / name)
        )
        image = torch.rand(1, 3, 100, 90)
        assert metric(image).item() == network(image).item()
        assert metric.net.config == network.config


def test_a_checkpoint_of_another_network_is_named(tmp_path, network):
    write_state_dict(tmp_path / 'rank.pth', network.state_dict())
    with pytest.raises(CheckpointError, match='checkpoint of RankIQA, not of MetaIQA'):
        MetaIQA(pretrained_model_path=str(tmp_path / 'rank.pth'))
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / 'linear.pth')
    with pytest.raises(CheckpointError, match='no checkpoint of RankIQA'):
        RankIQA(pretrained_model_path=str(tmp_path / 'linear.pth'))
    with pytest.raises(UserError, match="backbone='shallow' contradicts"):
        RankIQA('shallow', pretrained_model_path=str(tmp_path / 'rank.pth'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'backbone': 'no_such_net'}, 'is not a timm model'),
        ({'backbone': 'shallow', 'pretrained': 'imagenet'}, 'no such weights'),
        ({'backbone': 'test_vit', 'crop_size': 64}, 'takes 160x160 only'),
        ({'crop_size': 31}, 'crop_size=31'),
        ({'crops': 30}, 'crops=30: expected a square'),
        ({'least_part': 2}, 'least_part=2'),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'seed': -1}, 'seed=-1'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        RankIQA(**{'backbone': TINY, 'pretrained': False} | arguments)


@pytest.mark.parametrize('shape', [(3, 10, 10), (1, 4, 10, 10), (1, 3, 0, 10)])
def test_a_shape_that_is_no_batch_of_images_is_refused(network, shape):
    with pytest.raises(ValueError, match='expected'):
        network(torch.rand(shape))
