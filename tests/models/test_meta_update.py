"""The bi-level update against a naive implementation that shares no code with it."""

import math

import numpy as np
import pytest
import torch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.models.meta_update import (
    AdamSettings,
    Task,
    adam_steps,
    meta_gradient,
)

SETTINGS = [
    AdamSettings(),
    AdamSettings(bias_correction=True),
    AdamSettings(mu1=0.5, mu2=0.9, eps=1e-3, weight_decay=0.1),
    AdamSettings(weight_decay=0.2, bias_correction=True),
]


def quadratic(parameters, batch):
    """Loss 0.5 (w.x + b - y)^2 averaged over the batch, by autograd."""
    x, y = batch
    weight, bias = (p.detach().requires_grad_() for p in parameters)
    with torch.enable_grad():
        loss = 0.5 * (x @ weight + bias - y).square().mean()
        return loss.detach(), torch.autograd.grad(loss, (weight, bias))


def naive_adam(weight, bias, batches, alphas, settings):
    """Eq. 3-6 number by number, gradients by hand, in Python floats."""
    theta = [*map(float, weight), float(bias)]
    rates = [alphas[0]] * len(weight) + [alphas[1]]
    m, v = [0.0] * len(theta), [0.0] * len(theta)
    for s, (x, y) in enumerate(batches, start=1):
        errors = [
            sum(w * float(a) for w, a in zip(theta[:-1], row, strict=True))
            + theta[-1]
            - float(target)
            for row, target in zip(x, y, strict=True)
        ]
        for j in range(len(theta)):
            inputs = [float(row[j]) if j < len(weight) else 1.0 for row in x]
            g = sum(e * a for e, a in zip(errors, inputs, strict=True)) / len(errors)
            g += settings.weight_decay * theta[j]
            m[j] = settings.mu1 * m[j] + (1 - settings.mu1) * g
            v[j] = settings.mu2 * v[j] + (1 - settings.mu2) * g * g
        for j in range(len(theta)):
            mj, vj = m[j], v[j]
            if settings.bias_correction:
                mj /= 1 - settings.mu1**s
                vj /= 1 - settings.mu2**s
            theta[j] -= rates[j] * mj / (math.sqrt(vj) + settings.eps)
    return theta[:-1], theta[-1]


def random_problem(seed, tasks=3, steps=4, features=5):
    generator = np.random.default_rng(seed)

    def batch():
        x = torch.tensor(generator.normal(size=(7, features)))
        return x, torch.tensor(generator.normal(size=7))

    theta = [
        torch.tensor(generator.normal(size=features)),
        torch.tensor(generator.normal(), dtype=torch.float64),
    ]
    return theta, [
        Task([batch() for _ in range(steps)], [batch() for _ in range(steps)])
        for _ in range(tasks)
    ]


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('seed', range(3))
def test_meta_gradient_equals_the_naive_one(settings, seed):
    theta, tasks = random_problem(seed)
    alphas = [0.01, 0.05]
    update = meta_gradient(theta, tasks, quadratic, alphas, settings).gradient

    expected_weight = np.zeros(5)
    expected_bias = 0.0
    for task in tasks:
        weight, bias = naive_adam(*theta, task.support, alphas, settings)
        weight, bias = naive_adam(weight, bias, task.query, alphas, settings)
        expected_weight += (theta[0].numpy() - np.array(weight)) / len(tasks)
        expected_bias += (float(theta[1]) - bias) / len(tasks)

    assert np.abs(expected_weight).max() > 0.01
    np.testing.assert_allclose(update[0].numpy(), expected_weight, rtol=0, atol=1e-12)
    assert float(update[1]) == pytest.approx(expected_bias, abs=1e-12)


@pytest.mark.parametrize('weight_decay', [0.0, 0.3])
def test_bias_correction_is_the_adam_of_torch(weight_decay):
    theta, tasks = random_problem(7, tasks=1, steps=6)
    settings = AdamSettings(bias_correction=True, weight_decay=weight_decay)
    ours, _ = adam_steps(theta, tasks[0].support, quadratic, [0.02, 0.02], settings)

    leaves = [p.clone().requires_grad_() for p in theta]
    optimizer = torch.optim.Adam(
        leaves, lr=0.02, betas=(0.9, 0.99), weight_decay=weight_decay
    )
    for batch in tasks[0].support:
        _, gradients = quadratic(leaves, batch)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        optimizer.step()

    for mine, theirs, start in zip(ours, leaves, theta, strict=True):
        torch.testing.assert_close(
            mine - start, theirs.detach() - start, rtol=0, atol=1e-12
        )


def test_query_steps_start_with_fresh_moments():
    theta, tasks = random_problem(1, tasks=1)
    settings = AdamSettings()
    two_stage = meta_gradient(theta, tasks, quadratic, [0.1, 0.1], settings).gradient
    in_one, _ = adam_steps(
        theta,
        [*tasks[0].support, *tasks[0].query],
        quadratic,
        [0.1, 0.1],
        settings,
    )
    assert (two_stage[0] - (theta[0] - in_one[0])).abs().max() > 1e-3


def test_inputs_are_left_alone_and_tasks_are_independent():
    theta, tasks = random_problem(2)
    before = [p.clone() for p in theta]
    alphas, settings = [0.1, 0.1], AdamSettings()
    together = meta_gradient(theta, tasks, quadratic, alphas, settings)
    alone = [meta_gradient(theta, [t], quadratic, alphas, settings) for t in tasks]
    for index, start in enumerate(before):
        assert torch.equal(theta[index], start)
        mean = sum(single.gradient[index] for single in alone) / len(alone)
        torch.testing.assert_close(together.gradient[index], mean, rtol=0, atol=1e-14)
    assert together.query_losses == [single.query_losses[0] for single in alone]


def test_losses_are_those_before_each_step():
    theta, tasks = random_problem(3, tasks=1)
    result = meta_gradient(theta, tasks, quadratic, [0.1, 0.1], AdamSettings())
    first = float(quadratic(theta, tasks[0].support[0])[0])
    assert result.support_losses[0][0] == pytest.approx(first, abs=1e-12)
    assert len(result.support_losses[0]) == len(result.query_losses[0]) == 4


def test_no_task_is_refused():
    theta, _ = random_problem(4)
    with pytest.raises(UserError, match='tasks is empty'):
        meta_gradient(theta, [], quadratic, [0.1, 0.1], AdamSettings())


def test_a_diverging_task_is_named():
    theta, tasks = random_problem(5)
    x, y = tasks[1].query[2]
    tasks[1].query[2] = (x * float('nan'), y)
    with pytest.raises(FloatingPointError, match=r'task 1 .* inner step 3 is nan'):
        meta_gradient(theta, tasks, quadratic, [0.1, 0.1], AdamSettings())


@pytest.mark.parametrize(
    ('name', 'value'),
    [('mu1', 1.0), ('mu2', -0.1), ('eps', float('nan')), ('weight_decay', '1e-4')],
)
def test_settings_out_of_range_name_themselves(name, value):
    with pytest.raises(UserError, match=name):
        AdamSettings(**{name: value})
