"""What all networks share: arguments, checkpoints, and the contract of scores."""

import inspect

import pyiqa
import pytest
import torch
from pyiqa.archs import build_network
from torch import nn

from metaiqa_plugin.archs.base import network_name
from metaiqa_plugin.archs.checkpoint import (
    decode_config,
    encode_config,
    write_state_dict,
)
from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.errors import CheckpointError, UserError

TINY = 'test_efficientnet'
NETWORKS = (MetaIQA, RankIQA, HyperIQA)
METRICS = {'MetaIQA': 'metaiqa', 'RankIQA': 'rankiqa', 'HyperIQA': 'hyperiqa-lite0'}
SMALL = {
    MetaIQA: {'input_size': 64, 'hidden': 24},
    RankIQA: {'crop_size': 64, 'crops': 4},
    HyperIQA: {'crop_size': 64, 'crops': 4},
}


def made(kind, backbone=TINY, **arguments):
    torch.manual_seed(0)
    return kind(backbone, pretrained=False, **SMALL[kind] | arguments)


@pytest.fixture(scope='module', params=NETWORKS, ids=lambda kind: kind.NAME)
def network(request):
    return made(request.param).eval()


@pytest.fixture(scope='module')
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / f'{network.NAME}.safetensors'
    write_state_dict(path, network.state_dict())
    return str(path)


@pytest.mark.parametrize(
    ('kind', 'backbone', 'arguments'),
    [
        *((MetaIQA, name, {}) for name in (TINY, 'test_resnet', 'test_convnext')),
        *((MetaIQA, name, {'head': 'authors'}) for name in (TINY, 'test_convnext')),
        (MetaIQA, 'test_vit', {'input_size': 160}),
        (MetaIQA, 'test_vit', {'input_size': 160, 'head': 'authors'}),
        *((RankIQA, name, {}) for name in (TINY, 'test_resnet', 'shallow')),
        (RankIQA, 'test_vit', {'crop_size': 160}),
        *((HyperIQA, name, {}) for name in (TINY, 'test_resnet', 'test_convnext')),
        (HyperIQA, TINY, {'crop_size': 96}),
    ],
)
def test_any_backbone_scores_and_learns(kind, backbone, arguments):
    network = made(kind, backbone, **arguments)
    side = arguments.get(kind.SIZE, 64)
    scores = network.train()(torch.rand(4, 3, side, side))
    assert scores.shape == (4, 1)
    assert scores.dtype == torch.float32
    assert scores.std() > 0
    scores.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        scores = network.eval()(torch.rand(2, 1, 50, 70))
    assert scores.shape == (2, 1)
    assert scores.isfinite().all()


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_saved_and_loaded_it_is_the_same_network(tmp_path, network, suffix):
    path = tmp_path / f'weights{suffix}'
    write_state_dict(path, network.state_dict())
    assert network_name(str(path)) == network.NAME
    name = METRICS[network.NAME]
    metric = pyiqa.create_metric(name, pretrained_model_path=str(path))
    assert not metric.lower_better
    assert metric.net.config == network.config
    for shape in ((1, 3, 80, 64), (2, 1, 9, 14)):
        images = torch.rand(shape)
        assert torch.equal(metric(images), network(images))


def test_a_metric_stays_one_in_a_parent_that_trains(network, path):
    name = METRICS[network.NAME]
    metric = pyiqa.create_metric(name, as_loss=True, pretrained_model_path=path)
    before = {key: value.clone() for key, value in metric.state_dict().items()}
    parent = nn.Sequential(nn.Conv2d(3, 3, 1), metric).train()
    optimizer = torch.optim.SGD(parent.parameters(), lr=1.0)
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    parent(image).backward()
    optimizer.step()
    assert image.grad.abs().sum() > 0
    assert parent[0].weight.grad.abs().sum() > 0
    assert all(torch.equal(before[k], v) for k, v in metric.state_dict().items())
    assert not any(parameter.requires_grad for parameter in metric.net.parameters())


def test_a_metric_without_weights_takes_the_state_of_any(network, path):
    name = METRICS[network.NAME]
    state = pyiqa.create_metric(name, pretrained_model_path=path).state_dict()
    metric = pyiqa.create_metric(name, pretrained=False)
    metric.load_state_dict(state)
    assert metric.net.config == network.config
    image = torch.rand(1, 3, 80, 64)
    assert torch.equal(metric.train()(image), network(image))
    given = pyiqa.create_metric(name, pretrained=False, **{network.SIZE: 96})
    given.load_state_dict(state)
    assert getattr(given.net.config, network.SIZE) == 96
    other = pyiqa.create_metric(name, pretrained=False, backbone='test_resnet')
    with pytest.raises(UserError, match="backbone='test_resnet' contradicts"):
        other.load_state_dict(state)


def test_a_metric_leaves_the_generator_alone(network, path):
    before = torch.get_rng_state()
    pyiqa.create_metric(METRICS[network.NAME], pretrained_model_path=path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize('precision', [torch.float64, torch.float16, torch.bfloat16])
def test_any_precision_is_scored_in_that_of_the_weights(network, precision):
    image = torch.rand(2, 1, 80, 64).to(precision)
    scores = network(image)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, network(image.float()))


@pytest.mark.parametrize('kind', [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_refused(network, kind):
    with pytest.raises(ValueError, match=r'images is torch\..*images\.float\(\) / 255'):
        network(torch.ones(1, 3, 64, 64, dtype=kind))


def test_other_networks_train_and_so_does_a_copy_of_a_metrics(network, path):
    name = METRICS[network.NAME]
    metric = pyiqa.create_metric(name, pretrained_model_path=path)
    options = {'type': network.NAME, 'pretrained_model_path': path}
    for built in (build_network(options), metric.net.trainable()):
        assert built.train().training
        assert all(parameter.requires_grad for parameter in built.parameters())
        loaded = built.state_dict()
        assert all(
            torch.equal(loaded[k], v) for k, v in metric.net.state_dict().items()
        )


def test_a_file_written_by_pyiqas_trainer_carries_the_arguments(tmp_path, network):
    torch.save({'params': network.state_dict()}, tmp_path / 'net_best.pth')
    kind = type(network)
    loaded = kind(pretrained_model_path=str(tmp_path / 'net_best.pth'))
    assert loaded.config == network.config


def test_half_precision_file_loads_as_float32(tmp_path, network):
    path = tmp_path / 'half.safetensors'
    write_state_dict(path, network.state_dict(), half=True)
    loaded = type(network)(pretrained_model_path=str(path)).eval()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    images = torch.rand(1, 3, 64, 64)
    assert (loaded(images) - network(images)).abs() < 2e-3


def test_arguments_that_contradict_the_weights_are_refused(network, path):
    kind = type(network)
    with pytest.raises(UserError, match="backbone='test_resnet' contradicts"):
        kind('test_resnet', pretrained_model_path=path)
    changed = kind(pretrained_model_path=path, **{kind.SIZE: 96})
    assert getattr(changed.config, kind.SIZE) == 96
    with pytest.raises(CheckpointError, match=f"backbone='{TINY}'"):
        made(kind, 'test_resnet').load_state_dict(network.state_dict())


def test_a_checkpoint_of_another_network_is_named(tmp_path, network, path):
    other = NETWORKS[(NETWORKS.index(type(network)) + 1) % 3]
    with pytest.raises(
        CheckpointError, match=f'of {network.NAME}, not of {other.NAME}'
    ):
        other(pretrained_model_path=path)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / 'linear.pth')
    with pytest.raises(CheckpointError, match=f'not a checkpoint of {network.NAME}'):
        type(network)(pretrained_model_path=str(tmp_path / 'linear.pth'))


@pytest.mark.parametrize(
    ('kind', 'changes', 'message'),
    [
        *((kind, {'backbone': None}, 'backbone=None') for kind in NETWORKS),
        *((kind, {'backbone': 'convnext_xlarge'}, 'not fit') for kind in NETWORKS),
        *((kind, {'mean': None}, 'arguments that no network') for kind in NETWORKS),
        (MetaIQA, {'std': [0, 0, 0]}, 'std=0'),
        (MetaIQA, {'hidden': 10**9}, 'hidden=1000000000'),
        (MetaIQA, {'hidden': 60_000}, 'does not fit the network'),
        (MetaIQA, {'input_size': 10**9}, 'input_size=1000000000'),
        (RankIQA, {'crops': 10**10}, 'crops=10000000000'),
        (HyperIQA, {'crop_size': 10**9}, 'crop_size=1000000000'),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_a_network_is_built(
    tmp_path, monkeypatch, kind, changes, message
):
    state = made(kind).state_dict()
    values = decode_config(state['_extra_state'])
    state['_extra_state'] = encode_config(values | changes)
    path = tmp_path / 'giant.pth'
    torch.save(state, path)
    monkeypatch.setattr(kind, '_build_unseen', pytest.fail)
    with pytest.raises(CheckpointError, match=message):
        pyiqa.create_metric(METRICS[kind.NAME], pretrained_model_path=str(path))


@pytest.mark.parametrize('kind', NETWORKS)
def test_a_network_tells_its_arguments_and_takes_no_others(kind):
    parameters = inspect.signature(kind).parameters
    assert next(iter(parameters)) == 'backbone'
    assert {kind.SIZE, 'mean', 'pretrained', 'pretrained_model_path'} < set(parameters)
    with pytest.raises(TypeError, match='colour'):
        kind(TINY, pretrained=False, colour='red')


def test_the_same_score_alone_and_in_a_batch(network):
    images = torch.rand(3, 3, 90, 130)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
        assert torch.equal(together, network(images))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_gray_equals_rgb_of_equal_channels(network):
    gray = torch.rand(2, 1, 64, 80)
    with torch.no_grad():
        rgb = network(gray.expand(-1, 3, -1, -1).contiguous())
        torch.testing.assert_close(network(gray), rgb, rtol=0, atol=1e-6)


def test_a_score_is_the_mean_over_the_views(network):
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        expected = network.view_scores(network.views(image)).mean()
        assert network(image).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize('shape', [(3, 64, 64), (1, 4, 64, 64), (1, 3, 0, 64)])
def test_wrong_shapes_are_named(network, shape):
    with pytest.raises(ValueError, match='images has shape'):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        (MetaIQA, {'backbone': 'resnet_18'}, "backbone='resnet_18'"),
        (MetaIQA, {'head': 'linear'}, "head='linear'"),
        (MetaIQA, {'hidden': 0}, 'hidden=0'),
        (MetaIQA, {'dropout': 1.0}, r'dropout=1\.0'),
        (MetaIQA, {'input_size': -3}, 'input_size=-3'),
        (MetaIQA, {'resize': 'crop'}, "resize='crop'"),
        (MetaIQA, {'interpolation': 'lanczos'}, "interpolation='lanczos'"),
        (MetaIQA, {'antialias': 'yes'}, "antialias='yes'"),
        (MetaIQA, {'mean': [0.5]}, r'mean=\(0\.5,\): expected three numbers'),
        (MetaIQA, {'pretrained': 'livec2'}, "pretrained='livec2'"),
        (MetaIQA, {'backbone': 'test_vit'}, 'input_size=64: test_vit takes 160x160'),
        (RankIQA, {'backbone': 'no_such_net'}, 'is not a timm model'),
        (RankIQA, {'backbone': 'test_vit'}, 'crop_size=64: test_vit takes 160x160'),
        (RankIQA, {'crop_size': 31}, 'crop_size=31'),
        (RankIQA, {'crops': 30}, 'crops=30: expected a square'),
        (RankIQA, {'least_part': 2}, 'least_part=2'),
        (RankIQA, {'dropout': 1.0}, r'dropout=1\.0'),
        (RankIQA, {'seed': -1}, 'seed=-1'),
        (RankIQA, {'resize': -1}, 'resize=-1'),
        (HyperIQA, {'backbone': 'test_vit'}, 'has feature maps of 3 stages'),
        (HyperIQA, {'crops': 0}, 'crops=0'),
        (HyperIQA, {'sampling': 'everywhere'}, "sampling='everywhere'"),
        (HyperIQA, {'local_features': 1}, 'local_features=1'),
        (HyperIQA, {'pretrained': 'places'}, "pretrained='places'"),
    ],
)
def test_bad_arguments_are_named(kind, arguments, message):
    with pytest.raises(UserError, match=message):
        kind(**{'backbone': TINY, 'pretrained': False} | SMALL[kind] | arguments)
