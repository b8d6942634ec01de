"""MetaIQA: the weight files of others, its resize, its heads."""

import pyiqa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiqa.archs.metaiqa_arch import MetaIQA as PyiqaMetaIQA
from torch import nn
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import (
    MAX_ASPECT,
    MetaIQA,
    MetaIQAConfig,
    target_size,
)
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.photos import carried_photos

TINY = 'test_efficientnet'


@pytest.fixture(scope='module')
def official():
    """pyiqa's own network with random weights and statistics."""
    torch.manual_seed(3)
    network = PyiqaMetaIQA(pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def authors_layout(state):
    renamed = {key.replace('head.', 'net.'): value for key, value in state.items()}
    return {key: value for key, value in renamed.items() if key not in ('mean', 'std')}


@pytest.mark.parametrize('layout', ['pyiqa', 'authors'])
def test_checkpoints_of_the_authors_give_the_scores_of_pyiqa(
    official, tmp_path, layout
):
    state = official.state_dict()
    path = tmp_path / 'official.pth'
    torch.save(state if layout == 'pyiqa' else authors_layout(state), path)
    ours = pyiqa.create_metric('metaiqa', pretrained_model_path=str(path))
    assert ours.net.config.backbone == 'resnet18'
    for size in ((224, 224), (300, 400)):
        images = torch.rand(3, 3, *size)
        with torch.no_grad():
            expected = official(images)
        assert expected.std() > 1e-4
        torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('change', ['missing', 'extra'])
def test_a_key_too_few_or_too_many_is_refused(official, tmp_path, change):
    state = authors_layout(official.state_dict())
    if change == 'missing':
        del state['net.fc2.bias']
    else:
        state['net.fc9.bias'] = torch.zeros(1)
    torch.save(state, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError, match=r'fc2\.bias|fc9\.bias'):
        MetaIQA(pretrained_model_path=str(tmp_path / 'damaged.pth'))


@pytest.fixture(scope='module')
def small():
    torch.manual_seed(0)
    return MetaIQA(TINY, pretrained=False, input_size=64).eval()


@settings(max_examples=25)
@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_any_size_is_scored(small, height, width):
    with torch.no_grad():
        score = small(torch.rand(1, 3, height, width))
    assert score.shape == (1, 1)
    assert 0 <= score.item() <= 1


@settings(max_examples=200)
@given(height=st.integers(1, 30_000), width=st.integers(1, 30_000))
def test_resize_keeps_the_aspect_up_to_its_bound(height, width):
    config = MetaIQAConfig(input_size=64)
    tall, wide = target_size((height, width), config)
    assert min(tall, wide) == config.input_size
    assert max(tall, wide) <= config.input_size * MAX_ASPECT
    aspect = max(height, width) / min(height, width)
    if aspect <= MAX_ASPECT:
        assert max(tall, wide) == pytest.approx(config.input_size * aspect, abs=0.5)


def test_as_loss_gives_gradients_of_the_image(checkpoint):
    metric = pyiqa.create_metric(
        'metaiqa', as_loss=True, pretrained_model_path=checkpoint
    )
    image = torch.rand(1, 3, 100, 130, requires_grad=True)
    metric(image).backward()
    assert image.grad.abs().sum() > 0


def test_a_backbone_of_one_size_sets_the_size(tmp_path):
    network = MetaIQA('test_vit', pretrained=False)
    assert (network.config.input_size, network.config.resize) == (160, 'squash')
    path = str(tmp_path / 'vit.pth')
    write_state_dict(path, network.state_dict())
    with pytest.raises(UserError, match='input_size=96: test_vit takes 160x160'):
        MetaIQA(input_size=96, pretrained_model_path=path)


def test_the_head_takes_features_standardised_by_the_carried_photos():
    net = MetaIQA(
        levels=[2, 3], standardised=True, pretrained='imagenet', input_size=64
    ).eval()
    photos = (to_tensor(read_rgb(path))[None] for path in carried_photos())
    with torch.no_grad():
        features = [net.backbone(net.normalised(net.views(photo))) for photo in photos]
    standard = net.head[0](torch.cat(features)).double()
    assert standard.shape == (24, 128)
    assert torch.allclose(standard.mean(0), torch.zeros(128).double(), atol=1e-4)
    assert torch.allclose(standard.std(0), torch.ones(128).double(), atol=1e-4)


def test_what_standardises_travels_with_the_weights(tmp_path):
    arguments = {'pretrained': False, 'levels': [3, 4], 'standardised': True}
    net = MetaIQA(TINY, input_size=64, **arguments).eval()
    net.head[0].fit(torch.rand(5, net.backbone.num_features))
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    again = MetaIQA(pretrained_model_path=str(tmp_path / 'net.pth')).eval()
    images = torch.rand(2, 3, 96, 96)
    assert torch.equal(again(images), net(images))
    assert not [name for name, _ in net.named_parameters() if 'head.0' in name]
