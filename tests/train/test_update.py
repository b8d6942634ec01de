"""The bi-level update against a naive implementation that shares no code with it."""

import math

import numpy as np
import pytest
import torch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.update import (
    AdamSettings,
    InnerAdam,
    Task,
    adam_steps,
    task_differences,
)

SETTINGS = [
    AdamSettings(),
    AdamSettings(bias_correction=True),
    AdamSettings(mu1=0.5, mu2=0.9, eps=1e-3, weight_decay=0.1),
    AdamSettings(weight_decay=0.2, bias_correction=True),
    AdamSettings(moments='task'),
    AdamSettings(moments='carried', bias_correction=True),
]


class Quadratic:
    """Leaf tensors w and b, and the loss 0.5 (w.x + b - y)^2 averaged over a batch."""

    def __init__(self, theta, settings=None):
        self.parameters = [p.clone().requires_grad_() for p in theta]
        self.adam = InnerAdam(self.parameters, settings) if settings else None

    def loss(self, batch):
        x, y = batch
        weight, bias = self.parameters
        return 0.5 * (x @ weight + bias - y).square().mean()

    def steps(self, batches, alphas):
        losses = adam_steps(self.adam, batches, self.loss, alphas)
        return [p.detach() for p in self.parameters], losses

    def differences(self, tasks, alphas, support_alphas=None):
        support_alphas = support_alphas or alphas
        return task_differences(self.adam, tasks, self.loss, support_alphas, alphas)


def naive_adam(theta, batches, alphas, settings, moments=None):
    """Eq. 3-6 number by number, gradients by hand, in Python floats.

    ``moments`` (m, v, s) is changed in place; None: fresh ones.
    """
    theta = list(theta)
    features = len(theta) - 1
    m, v, count = moments or ([0.0] * len(theta), [0.0] * len(theta), [0])
    for x, y in batches:
        count[0] += 1
        errors = [
            sum(w * float(a) for w, a in zip(theta[:-1], row, strict=True))
            + theta[-1]
            - float(target)
            for row, target in zip(x, y, strict=True)
        ]
        for j in range(len(theta)):
            inputs = [float(row[j]) if j < features else 1.0 for row in x]
            g = sum(e * a for e, a in zip(errors, inputs, strict=True)) / len(errors)
            g += settings.weight_decay * theta[j]
            m[j] = settings.mu1 * m[j] + (1 - settings.mu1) * g
            v[j] = settings.mu2 * v[j] + (1 - settings.mu2) * g * g
        for j in range(len(theta)):
            mj, vj = m[j], v[j]
            if settings.bias_correction:
                mj /= 1 - settings.mu1 ** count[0]
                vj /= 1 - settings.mu2 ** count[0]
            rate = alphas[0] if j < features else alphas[1]
            theta[j] -= rate * mj / (math.sqrt(vj) + settings.eps)
    return theta


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
        Task(
            f't{index}',
            [batch() for _ in range(steps)],
            [batch() for _ in range(steps)],
        )
        for index in range(tasks)
    ]


def naive_differences(theta, tasks, alphas, settings):
    start = [*map(float, theta[0]), float(theta[1])]
    total = np.zeros(len(start))
    moments = None
    for task in tasks:
        if settings.moments != 'carried' or moments is None:
            moments = [0.0] * len(start), [0.0] * len(start), [0]
        adapted = naive_adam(start, task.support, alphas, settings, moments)
        if settings.moments == 'set':
            moments = None
        adapted = naive_adam(adapted, task.query, alphas, settings, moments)
        total += np.array(start) - np.array(adapted)
    return total


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('seed', range(3))
def test_the_differences_equal_the_naive_ones(settings, seed):
    theta, tasks = random_problem(seed)
    alphas = [0.01, 0.05]
    total = Quadratic(theta, settings).differences(tasks, alphas).total
    expected = naive_differences(theta, tasks, alphas, settings)
    assert np.abs(expected).max() > 0.01
    found = [*total[0].tolist(), total[1].item()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('weight_decay', [0.0, 0.3])
def test_bias_correction_is_the_adam_of_torch(weight_decay):
    theta, tasks = random_problem(7, tasks=1, steps=6)
    settings = AdamSettings(bias_correction=True, weight_decay=weight_decay)
    ours, _ = Quadratic(theta, settings).steps(tasks[0].support, [0.02, 0.02])

    theirs = Quadratic(theta)
    optimizer = torch.optim.Adam(
        theirs.parameters, lr=0.02, betas=(0.9, 0.99), weight_decay=weight_decay
    )
    for batch in tasks[0].support:
        optimizer.zero_grad()
        theirs.loss(batch).backward()
        optimizer.step()

    for mine, other, start in zip(ours, theirs.parameters, theta, strict=True):
        torch.testing.assert_close(
            mine - start, other.detach() - start, rtol=0, atol=1e-12
        )


def test_the_ways_of_the_moments_differ():
    theta, tasks = random_problem(1, tasks=2)
    found = {
        moments: Quadratic(theta, AdamSettings(moments=moments))
        .differences(tasks, [0.1, 0.1])
        .total[0]
        for moments in ('set', 'task', 'carried')
    }
    assert (found['set'] - found['task']).abs().max() > 1e-3
    assert (found['task'] - found['carried']).abs().max() > 1e-3


def test_theta_is_left_as_it_was_and_tasks_are_independent():
    theta, tasks = random_problem(2)
    problem = Quadratic(theta, AdamSettings())
    together = problem.differences(tasks, [0.1, 0.1])
    alone = [problem.differences([task], [0.1, 0.1]) for task in tasks]
    for index, start in enumerate(theta):
        assert torch.equal(problem.parameters[index].detach(), start)
        total = sum(single.total[index] for single in alone)
        torch.testing.assert_close(together.total[index], total, rtol=0, atol=1e-14)
    assert together.losses == [single.losses[0] for single in alone]


def test_no_task_has_no_difference():
    theta, _ = random_problem(4)
    nothing = Quadratic(theta, AdamSettings()).differences([], [0.1, 0.1])
    assert all(not tensor.any() for tensor in nothing.total)
    assert nothing.losses == []


def test_losses_are_those_before_each_step():
    theta, tasks = random_problem(3, tasks=1)
    problem = Quadratic(theta, AdamSettings())
    first = problem.loss(tasks[0].support[0]).item()
    losses = problem.differences(tasks, [0.1, 0.1]).losses[0]
    assert losses.task == 't0'
    assert losses.support[0] == pytest.approx(first, abs=1e-12)
    assert len(losses.support) == len(losses.query) == 4


def test_a_parameter_without_a_rate_stays_in_the_support_steps():
    theta, tasks = random_problem(6, tasks=1)
    problem = Quadratic(theta, AdamSettings())
    after, _ = problem.steps(tasks[0].support, [None, 0.1])
    assert torch.equal(after[0], theta[0]) and not torch.equal(after[1], theta[1])
    assert all(parameter.requires_grad for parameter in problem.parameters)
    both = problem.differences(tasks, [0.1, 0.1], [None, 0.1])
    assert both.total[0].abs().max() > 1e-3


def test_gradients_are_used_up():
    theta, tasks = random_problem(8)
    problem = Quadratic(theta, AdamSettings())
    problem.differences(tasks, [0.1, 0.1])
    assert all(parameter.grad is None for parameter in problem.parameters)


def test_a_diverging_task_is_named_and_theta_put_back():
    theta, tasks = random_problem(5)
    x, y = tasks[1].query[2]
    tasks[1].query[2] = (x * float('nan'), y)
    problem = Quadratic(theta, AdamSettings())
    with pytest.raises(FloatingPointError, match=r"task 't1': .* step 3 is nan"):
        problem.differences(tasks, [0.1, 0.1])
    for parameter, start in zip(problem.parameters, theta, strict=True):
        assert torch.equal(parameter.detach(), start)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('mu1', 1.0),
        ('mu2', -0.1),
        ('eps', float('nan')),
        ('weight_decay', '1e-4'),
        ('moments', 'never'),
    ],
)
def test_settings_out_of_range_name_themselves(name, value):
    with pytest.raises(UserError, match=name):
        AdamSettings(**{name: value})
