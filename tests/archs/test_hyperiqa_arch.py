"""HyperIQA: pyiqa's network is a case of it, and its parts do what they say."""

import itertools

import pytest
import timm
import torch
from pyiqa.archs.hypernet_arch import HyperNet
from torch import nn

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.archs.hyperiqa_arch import (
    FixedHead,
    HyperIQA,
    TargetWeights,
    target_network,
)
from metaiqa_plugin.errors import CheckpointError, UserError

TINY = 'test_efficientnet'
create_model = timm.create_model


def without_the_hub(name, pretrained=False, **arguments):
    return create_model(name, pretrained=False, **arguments)


@pytest.fixture(scope='module')
def theirs():
    """pyiqa's network with random weights and statistics; it asks for hub weights."""
    torch.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, 'create_model', without_the_hub)
        network = HyperNet(pretrained=False, num_crop=4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope='module')
def their_file(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp('pyiqa') / 'hypernet.pth'
    torch.save({'params': theirs.state_dict()}, path)
    return str(path)


@pytest.fixture(scope='module')
def ours(their_file):
    return HyperIQA(pretrained_model_path=their_file, crops=4)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return HyperIQA(TINY, pretrained=False, crop_size=64, crops=4).eval()


@pytest.mark.parametrize('size', [(224, 224), (240, 330)])
def test_pyiqas_checkpoint_gives_pyiqas_scores(theirs, ours, size):
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        expected = theirs.eval()(images).reshape(1, 1)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=0, atol=1e-5)


def test_it_does_so_in_training_mode_too(theirs, ours):
    crops = torch.rand(3, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.train()(crops)
        assert expected.std() > 1e-4
        torch.testing.assert_close(ours.train()(crops), expected, rtol=0, atol=1e-5)


def test_a_key_too_few_is_refused(theirs, tmp_path):
    state = theirs.state_dict()
    del state['fc_w_modules.4.2.bias']
    torch.save(state, tmp_path / 'damaged.pth')
    with pytest.raises(CheckpointError, match=r'hyper\.weights\.4\.2\.bias'):
        HyperIQA(pretrained_model_path=str(tmp_path / 'damaged.pth'))


def test_the_target_network_by_loops():
    """Each image's own fully connected layers, one number at a time in float64."""
    torch.manual_seed(1)
    widths = (6, 4, 3, 1)
    sizes = list(itertools.pairwise(widths))
    weights = [torch.randn(2, out, width).double() for width, out in sizes]
    biases = [torch.randn(2, out).double() for _, out in sizes]
    features = torch.randn(2, 6).double()
    found = target_network(features, TargetWeights(weights, biases))
    for image in range(2):
        hidden = features[image].tolist()
        for place in range(3):
            sums = [
                sum(w * h for w, h in zip(row, hidden, strict=True)) + bias
                for row, bias in zip(
                    weights[place][image].tolist(),
                    biases[place][image].tolist(),
                    strict=True,
                )
            ]
            last = place == 2
            hidden = [s if last else 1 / (1 + 2.718281828459045**-s) for s in sums]
        assert found[image].tolist() == pytest.approx(hidden, abs=1e-9)


@pytest.mark.parametrize('local', [True, False])
@pytest.mark.parametrize('hyper', [True, False])
def test_the_ablations_are_the_network_without_a_part(local, hyper, tmp_path):
    torch.manual_seed(0)
    arguments = {'local_features': local, 'hyper_network': hyper}
    network = HyperIQA(TINY, pretrained=False, crop_size=64, crops=1, **arguments)
    features, semantic = network.features(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 224)
    assert semantic.shape[1] == network.features.channels
    assert len(network.features.local) == (4 if local else 1)
    assert isinstance(getattr(network, 'head', None), FixedHead) is not hyper
    assert hasattr(network, 'hyper') is hyper
    path = tmp_path / 'weights.safetensors'
    write_state_dict(path, network.state_dict())
    again = HyperIQA(pretrained_model_path=str(path))
    images = torch.rand(2, 3, 80, 70)
    assert torch.equal(again.eval()(images), network.eval()(images))
    with pytest.raises(UserError, match=f'local_features={not local}'):
        HyperIQA(local_features=not local, pretrained_model_path=str(path))


def test_fresh_parts_begin_as_in_the_authors_code():
    """He et al.'s normal initialisation: variance 2 / fan-in."""
    torch.manual_seed(0)
    network = HyperIQA('resnet18', pretrained=False)
    for layer, fan_in in (
        (network.hyper.weights[0], 112 * 9),
        (network.hyper.biases[0][-1], 112),
        (network.features.local[0][-1], 16 * 64),
        (network.features.local[2][0], 256),
    ):
        expected = (2 / fan_in) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_the_fixed_head_is_as_wide_as_the_target_network():
    shapes = [tuple(p.shape) for p in FixedHead().parameters() if p.ndim == 2]
    assert shapes == [(112, 224), (56, 112), (28, 56), (14, 28), (1, 14)]


def test_more_sub_images_than_a_chunk_change_nothing(network, monkeypatch):
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        whole = network(image), network.generated_weights(image)
        for module in ('hyperiqa_arch', 'sub_images'):
            monkeypatch.setattr(f'metaiqa_plugin.archs.{module}.CHUNK', 3)
        torch.testing.assert_close(network(image), whole[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(
            network.generated_weights(image).weights[0], whole[1].weights[0]
        )


def test_generated_weights_are_those_that_score(network):
    """With one sub-image the target network of the weights gives the image's score."""
    network.config = network.config.__class__(TINY, crop_size=64, crops=1)
    images = torch.rand(2, 3, 65, 65)
    with torch.no_grad():
        generated = network.generated_weights(images)
        crops = images[..., :64, :64]
        features = network.features(network.normalised(crops))[0]
        scores = target_network(features, generated)
        torch.testing.assert_close(network(images), scores, rtol=0, atol=1e-5)
    assert [tuple(w.shape) for w in generated.weights] == [
        (2, 112, 224),
        (2, 56, 112),
        (2, 28, 56),
        (2, 14, 28),
        (2, 1, 14),
    ]
    assert [tuple(b.shape) for b in generated.biases] == [
        (2, out) for out in (112, 56, 28, 14, 1)
    ]


def test_a_fixed_head_generates_nothing():
    network = HyperIQA(TINY, pretrained=False, hyper_network=False)
    with pytest.raises(UserError, match='hyper_network=False'):
        network.generated_weights(torch.rand(1, 3, 64, 64))
