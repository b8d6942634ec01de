"""The closed-form step against least squares in float64, and its errors left out."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from metaiqa_plugin.train.ridge import (
    Labelled,
    apply_change,
    fit_layer,
    left_out,
    ridge_change,
)

IMAGES, WIDTH = 9, 30


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(IMAGES, WIDTH, dtype=float, generator=generator)
    weight = torch.randn(WIDTH, 1, dtype=float, generator=generator)
    mos = torch.rand(IMAGES, 1, dtype=float, generator=generator)
    return Labelled(hidden, hidden @ weight / 6, mos)


def least_squares(given, penalty, slope):
    """Rows of the penalty below the images', solved by NumPy: (weight, free)."""
    hidden, logits, mos = (tensor.numpy() for tensor in given)
    score = 1 / (1 + np.exp(-logits))
    gradient = score * (1 - score)
    free = [gradient, gradient * logits] if slope else [gradient]
    rows = np.hstack([gradient * hidden, *free])
    penalised = np.zeros((WIDTH, rows.shape[1]))
    penalised[:, :WIDTH] = math.sqrt(penalty) * np.eye(WIDTH)
    target = np.vstack([mos - score, np.zeros((WIDTH, 1))])
    found = np.linalg.lstsq(np.vstack([rows, penalised]), target, rcond=None)[0]
    return found[:WIDTH], found[WIDTH:, 0]


@pytest.mark.parametrize('slope', [False, True])
@pytest.mark.parametrize('penalty', [1e-3, 0.5, 100.0])
def test_the_step_is_the_solution_of_the_ridge_regression(given, penalty, slope):
    change = ridge_change(given, penalty, slope)
    weight, free = least_squares(given, penalty, slope)
    np.testing.assert_allclose(change.weight.numpy(), weight, atol=1e-11)
    assert change.offset.item() == pytest.approx(free[0], abs=1e-11)
    assert change.slope.item() == pytest.approx(free[1] if slope else 0, abs=1e-11)


@pytest.mark.parametrize('slope', [False, True])
@pytest.mark.parametrize('penalty', [1e-2, 1.0, math.inf])
def test_an_error_left_out_is_that_of_a_fit_to_the_others(given, penalty, slope):
    found = left_out(given, [penalty], slope)[0]
    for one in range(IMAGES):
        others = [index for index in range(IMAGES) if index != one]
        rest = Labelled(*(tensor[others] for tensor in given))
        change = ridge_change(rest, penalty, slope)
        hidden, logits, mos = (tensor[one : one + 1] for tensor in given)
        score = torch.sigmoid(logits)
        moved = (change.of(hidden, logits) - logits) * score * (1 - score)
        assert found[one].item() == pytest.approx(
            (mos - score - moved).item(), abs=1e-9
        )


def test_an_infinite_penalty_is_a_line_on_the_logit(given):
    change = ridge_change(given, math.inf, slope=True)
    assert change.weight.abs().max() == 0
    assert change.slope != 0


def test_gradients_pass_through_the_step(given):
    penalty = torch.tensor(0.7, dtype=float, requires_grad=True)
    tensors = [tensor.clone().requires_grad_() for tensor in given]

    def weight(hidden, logits, mos, penalty):
        change = ridge_change(Labelled(hidden, logits, mos), penalty, slope=False)
        return change.weight, change.offset

    assert torch.autograd.gradcheck(weight, (*tensors, penalty))


def test_a_layer_takes_up_the_change(given):
    layer = nn.Linear(WIDTH, 1).double()
    logits = layer(given.hidden)
    change = ridge_change(given._replace(logits=logits.detach()), 0.3, slope=True)
    expected = change.of(given.hidden, logits)
    apply_change(layer, change)
    torch.testing.assert_close(layer(given.hidden), expected)


def moved_labels(given, move):
    """MOS that ``move`` makes of logits."""
    return torch.sigmoid(move(given.hidden, given.logits))


@pytest.mark.parametrize(
    ('move', 'left'),
    [
        (lambda hidden, logits: logits + 0.8, 1e-6),
        (lambda hidden, logits: 0.4 * logits - 0.3, 1e-6),
        (lambda hidden, logits: logits + hidden[:, :1], 0.6),
    ],
    ids=['offset', 'line', 'layer'],
)
def test_a_layer_is_fitted_as_its_labels_ask(move, left):
    generator = torch.Generator().manual_seed(1)
    hidden = 3 * torch.randn(60, 5, dtype=float, generator=generator)
    layer = nn.Linear(5, 1).double()
    nn.init.constant_(layer.weight, 0.2)
    given = Labelled(hidden, layer(hidden).detach(), None)
    mos = moved_labels(given, move)
    before = torch.sigmoid(given.logits)
    fit = fit_layer(layer, hidden, mos)
    after = torch.sigmoid(layer(hidden))
    assert fit.kind != 'none'
    assert (after - mos).norm() < left * (before - mos).norm()
    torch.testing.assert_close(fit.before, before[:, 0])


def test_labels_that_are_noise_fit_nothing(given):
    """Noise that no line explains: each fit is worse for a label that was left out."""
    layer = nn.Linear(WIDTH, 1).double()
    with torch.no_grad():
        score = torch.sigmoid(layer(given.hidden))
    gradient = score * (1 - score)
    free = torch.cat([gradient, gradient * torch.logit(score)], 1)
    noise = given.mos - 0.5
    noise = noise - free @ torch.linalg.lstsq(free, noise).solution
    start = [tensor.clone() for tensor in layer.parameters()]
    fit = fit_layer(layer, given.hidden, score + 0.1 * noise)
    assert fit.kind == 'none'
    assert all(map(torch.equal, layer.parameters(), start))
    torch.testing.assert_close(fit.left_out, score[:, 0])
