"""The head alone, before all else: on features that are computed once."""

import pytest
import torch

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.adapt import features_of, train_head
from metaiqa_plugin.train.settings import HeadFirst


def network(standardised=True, dropout=0.0):
    torch.manual_seed(3)
    return MetaIQA(
        'test_efficientnet',
        levels=[2, 3],
        frozen=2,
        standardised=standardised,
        hidden=6,
        dropout=dropout,
        input_size=64,
        pretrained=False,
    )


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    count = network().backbone.num_features
    return 3 + 2 * torch.randn(20, count, generator=generator)


@pytest.fixture
def mos():
    return torch.linspace(0, 1, 20).view(-1, 1)


def test_a_head_standardises_by_other_features_and_predicts_the_same(features):
    head = network().double().eval().head
    features = features.double()
    before = head(features)
    head.restandardise(features[:9])
    torch.testing.assert_close(head(features), before, rtol=0, atol=1e-9)
    standardised = head[0](features[:9])
    torch.testing.assert_close(standardised.mean(0), torch.zeros_like(features[0]))
    torch.testing.assert_close(standardised.std(0), torch.ones_like(features[0]))


def test_features_are_those_of_the_network_for_the_image_and_its_mirror_image():
    net = network().eval()
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    both = torch.stack([image, image.flip(-1)])
    with torch.no_grad():
        maps = net.maps(both).permute(0, 2, 3, 1).numpy()
        expected = net.backbone(net.normalised(both))
    found = features_of(net.train(), [tuple(maps), tuple(maps[::-1])])
    torch.testing.assert_close(found[:2], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[2:], found[[1, 0]])
    assert not net.training


def test_the_head_learns_and_nothing_else_changes(features, mos):
    net = network()
    before = {key: value.clone() for key, value in net.backbone.state_dict().items()}
    first = torch.nn.functional.mse_loss(net.eval().head(features), mos)
    train_head(
        net, features, mos[:, 0], HeadFirst(steps=60, batch_size=8, lr=0.01), seed=0
    )
    last = torch.nn.functional.mse_loss(net.eval().head(features), mos)
    assert last < 0.3 * first
    assert all(
        torch.equal(value, before[key])
        for key, value in net.backbone.state_dict().items()
    )
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_step_is_adamw_on_the_drawn_rows(features, mos):
    net, reference = (network(standardised=False, dropout=0.5) for _ in range(2))
    settings = HeadFirst(steps=2, batch_size=5, lr=0.02, weight_decay=0.1)
    train_head(net, features, mos[:, 0], settings, seed=4)
    head = reference.head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.1)
    torch.manual_seed(4)
    for rate in (0.02, 0.01):  # the cosine, half way
        optimizer.param_groups[0]['lr'] = rate
        rows = torch.randint(20, (5,))
        optimizer.zero_grad()
        (head(features[rows]) - mos[rows]).square().mean().backward()
        optimizer.step()
    for found, expected in zip(net.head.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_same_seed_gives_the_same_head_and_leaves_the_generator(features, mos):
    heads = []
    for seed in (1, 1, 2):
        net = network(dropout=0.5)
        torch.manual_seed(9)
        train_head(net, features, mos[:, 0], HeadFirst(steps=3, batch_size=4), seed)
        heads.append(net.head[-2].weight.detach())
        assert torch.initial_seed() == 9 and torch.rand(1) == _first_of(9)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def _first_of(seed):
    return torch.rand(1, generator=torch.Generator().manual_seed(seed))


def test_divergence_is_named(features, mos):
    message = r'head_first diverged: the loss of step 1 .*lower'
    nothing = features * float('nan')
    with pytest.raises(UserError, match=message):
        train_head(network(), nothing, mos[:, 0], HeadFirst(steps=2), 0)


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'step': 3}, r"head_first: unknown option \['step'\]"),
        ({'steps': 0}, r'head_first\.steps'),
        ({'lr': -1}, r'head_first\.lr'),
        ({'batch_size': 1.5}, r'head_first\.batch_size'),
        ({'weight_decay': -1}, r'head_first\.weight_decay'),
    ],
)
def test_a_bad_setting_is_refused(block, message):
    with pytest.raises(UserError, match=message):
        HeadFirst.from_options(block)
