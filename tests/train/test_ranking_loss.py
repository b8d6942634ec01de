"""The ranking losses: hand-worked values, and that the two forms are one."""

import itertools

import pytest
import torch
from torch import nn

from metaiqa_plugin.archs.rankiqa_arch import RankIQA, Shallow
from metaiqa_plugin.train.rankiqa_model import (
    Pairs,
    efficient,
    hardest,
    pairwise_hinge,
    ranked_pairs,
    two_branches,
)


def test_all_pairs_of_a_group_and_none_between_groups():
    ranks = torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 4.0]])
    pairs = ranked_pairs(ranks)
    found = set(zip(pairs.better.tolist(), pairs.worse.tolist(), strict=True))
    assert found == {(0, 1), (0, 2), (2, 1), (3, 5), (4, 5)}


def test_pairs_are_those_that_loops_find():
    ranks = torch.randint(0, 4, (5, 6), generator=torch.Generator().manual_seed(0))
    pairs = ranked_pairs(ranks)
    expected = [
        (6 * row + first, 6 * row + second)
        for row in range(5)
        for first, second in itertools.permutations(range(6), 2)
        if ranks[row, first] > ranks[row, second]
    ]
    assert list(zip(pairs.better.tolist(), pairs.worse.tolist(), strict=True)) == (
        expected
    )


def test_hinge_by_hand():
    better = torch.tensor([1.0, 0.5, 0.0, 0.1], requires_grad=True)
    worse = torch.tensor([0.0, 0.4, 0.3, 0.1], requires_grad=True)
    losses = pairwise_hinge(better, worse, margin=0.2)
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.1, 0.5, 0.2]))
    losses.sum().backward()
    assert better.grad.tolist() == [0, -1, -1, -1]
    assert worse.grad.tolist() == [0, 1, 1, 1]


class Small(nn.Module):
    """Nothing in it that depends on the other images of a batch."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(Shallow(), nn.Linear(Shallow.num_features, 1))

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Small().double()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(10, 3, 32, 32, generator=generator, dtype=torch.float64)


@pytest.fixture
def pairs():
    return ranked_pairs(torch.tensor([[5.0, 4, 3, 2, 1], [1, 2, 2, 3, 4]]))


def gradients(network, losses):
    network.zero_grad()
    losses.mean().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.parametrize('margin', [1e-3, 1.0])
def test_the_efficient_form_is_the_pair_by_pair_form(network, images, pairs, margin):
    once = efficient(network, images, pairs, margin)
    twice = two_branches(network, images, pairs, margin)
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-9)
    assert 0 < (once > 0).sum()
    both = zip(gradients(network, once), gradients(network, twice), strict=True)
    for (name, _), (first, second) in zip(
        network.named_parameters(), both, strict=True
    ):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-9)
        # the last bias is in both scores of a pair
        assert (first.abs().max() > 0) == (name != 'layers.1.bias')


def test_its_gradient_is_the_sum_over_the_pairs_of_equation_4(network, images, pairs):
    """Pair by pair, one at a time, each by the formula of the paper."""
    margin = 0.02
    expected = [torch.zeros_like(p) for p in network.parameters()]
    parameters = list(network.parameters())
    for better, worse in zip(*pairs, strict=True):
        upper = network(images[better][None])[0, 0]
        lower = network(images[worse][None])[0, 0]
        if lower - upper + margin <= 0:
            continue
        for total, up, low in zip(
            expected,
            torch.autograd.grad(upper, parameters),
            torch.autograd.grad(lower, parameters),
            strict=True,
        ):
            total += (low - up) / len(pairs.better)
    found = gradients(network, efficient(network, images, pairs, margin))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_each_image_is_forwarded_once_or_once_for_each_pair(network, images, pairs):
    seen = []

    def counting(batch):
        seen.append(len(batch))
        return network(batch)

    efficient(counting, images, pairs, 0.1)
    assert seen == [10]
    seen.clear()
    two_branches(counting, images, pairs, 0.1)
    assert seen == [len(pairs.better)] * 2


@pytest.mark.parametrize(('part', 'kept'), [(0.25, 5), (1.0, 19), (1e-9, 1)])
def test_the_hardest_pairs_are_those_of_the_highest_loss(
    network, images, pairs, part, kept
):
    assert len(pairs.better) == 19
    every = two_branches(network, images, pairs, 0.5)
    found = hardest(network, images, pairs, 0.5, part)
    expected = every.sort(descending=True).values[:kept]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert found.requires_grad


def test_some_pairs_are_chosen_by_their_place():
    pairs = Pairs(torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5]))
    some = pairs.some(torch.tensor([2, 0]))
    assert (some.better.tolist(), some.worse.tolist()) == ([2, 0], [5, 3])


def test_dropout_off_and_batchnorm_frozen_the_forms_agree_on_a_real_backbone(images):
    torch.manual_seed(0)
    network = RankIQA('test_efficientnet', pretrained=False).double().eval()
    pairs = ranked_pairs(torch.tensor([[2.0, 1.0, 0.0]]))
    once = efficient(network.view_scores, images[:3], pairs, 0.1)
    twice = two_branches(network.view_scores, images[:3], pairs, 0.1)
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-9)
