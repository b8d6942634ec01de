"""The ways to train from the same episodes, on small networks, in float64 where maths.

BatchNorm is in evaluation mode in the float64 comparisons, or frozen.
"""

import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from pyiqa.archs import build_network
from torch import nn
from torch.func import functional_call

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.learners import LEARNERS, Placed
from metaiqa_plugin.train.network import Network
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.update import Task

ALPHA = 0.05


class Small(nn.Module):
    """(N, 3, 6, 6) to (N, 1), smooth, with a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten())
        self.head = nn.Linear(64, 1)

    def forward(self, images):
        return self.head(self.body(images.double()))


def learner(update, module=None, optimizer=None, **settings):
    torch.manual_seed(0)
    module = module or Small().double()
    meta = MetaSettings(update=update, steps=2, **{'alpha': ALPHA} | settings)
    network = Network(module, [nn.MSELoss()], meta, torch.device('cpu'))
    network.train()
    optimizer = optimizer or torch.optim.SGD(network.parameters, lr=1.0)
    return LEARNERS[update](network, meta, optimizer)


def tasks(count=2, steps=2, size=5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def batches():
        return [
            (
                torch.randint(
                    0, 256, (size, 3, 6, 6), generator=generator, dtype=torch.uint8
                ),
                torch.rand(size, 1, generator=generator, dtype=torch.float64),
            )
            for _ in range(steps)
        ]

    return [
        Placed(Task(f't{place}', batches(), batches()), place, 100 + place)
        for place in range(count)
    ]


def loss_of(module, batch, parameters=None):
    images = batch[0].float() / 255
    if parameters is None:
        return nn.functional.mse_loss(module(images), batch[1])
    return nn.functional.mse_loss(
        functional_call(module, parameters, (images,)), batch[1]
    )


def state(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def test_single_is_one_adam_over_the_batches_in_their_order():
    control = learner('single', bias_correction=True)
    reference = deepcopy(control.network.module)
    adam = torch.optim.Adam(reference.parameters(), lr=ALPHA, betas=(0.9, 0.99))
    for seed in (0, 1):
        given = tasks(seed=seed)
        control.update(given)
        for placed in given:
            for batch in (*placed.task.support, *placed.task.query):
                adam.zero_grad()
                loss_of(reference, batch).backward()
                adam.step()
    expected = state(reference)
    for name, value in state(control.network.module).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)


def test_joint_takes_the_same_images_in_mixed_batches():
    baseline = learner('joint')
    seen = []
    baseline.network.module.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].detach().clone())
    )
    given = tasks()
    losses = baseline.update(given)
    batches = [b for p in given for b in (*p.task.support, *p.task.query)]
    assert [len(images) for images in seen] == [len(images) for images, _ in batches]
    before = torch.cat([images.float() / 255 for images, _ in batches]).flatten(1)
    after = torch.cat(seen).flatten(1)
    assert not torch.equal(before, after)
    assert torch.equal(before.sum(1).sort().values, after.sum(1).sort().values)
    assert len(losses) == 1 and len(losses[0].support) == len(batches)


@pytest.mark.parametrize('decay', [1.0, 0.5])
def test_maml_follows_the_second_derivative(decay):
    outer = learner('maml')
    outer.optimizer.param_groups[0] |= {'initial_lr': 1.0, 'lr': decay}
    module = outer.network.module
    reference = deepcopy(module)
    given = tasks()
    theta = {n: p.detach().requires_grad_() for n, p in reference.named_parameters()}
    total = 0
    for placed in given:
        fast = theta
        for batch in placed.task.support:
            loss = loss_of(reference, batch, fast)
            gradients = torch.autograd.grad(loss, fast.values(), create_graph=True)
            fast = {
                name: value - decay * ALPHA * gradient
                for (name, value), gradient in zip(fast.items(), gradients, strict=True)
            }
        losses = [loss_of(reference, batch, fast) for batch in placed.task.query]
        total = total + sum(losses) / len(losses) / len(given)
    expected = torch.autograd.grad(total, list(theta.values()))
    outer.update(given)
    for (name, after), gradient in zip(state(module).items(), expected, strict=True):
        torch.testing.assert_close(
            after, theta[name].detach() - decay * gradient, rtol=0, atol=1e-10
        )


def test_maml_leaves_frozen_parameters_and_moves_the_others():
    module = Small().double()
    module.body.requires_grad_(False)
    start = state(module)
    outer = learner('maml', module)
    outer.update(tasks())
    after = state(module)
    assert torch.equal(after['body.0.weight'], start['body.0.weight'])
    assert not torch.equal(after['head.weight'], start['head.weight'])


class Hidden(Small):
    """With a last layer and what it takes, as the heads of MetaIQA have them."""

    def __init__(self):
        super().__init__()
        self.head.last = nn.Linear(64, 1)

    def hidden(self, images):
        return self.body(images.double())


def test_exact_follows_the_ridge_regression_of_the_support_set():
    outer = learner('exact', Hidden().double(), penalty=0.3)
    module = outer.network.module
    reference, theta = deepcopy(module), state(module)
    given = tasks()
    total = 0
    for placed in given:
        (images, mos), (asked, target) = (
            [torch.cat(part) for part in zip(*batches, strict=True)]
            for batches in (placed.task.support, placed.task.query)
        )
        hidden = reference.hidden(images / 255.0)
        score = torch.sigmoid(reference.head.last(hidden))
        rows = torch.cat([hidden, torch.ones(len(hidden), 1)], 1) * score * (1 - score)
        penalty = torch.diag(torch.tensor([0.3] * 64 + [0.0], dtype=float))
        step = torch.linalg.solve(rows.T @ rows + penalty, rows.T @ (mos - score))
        hidden = reference.hidden(asked / 255.0)
        moved = reference.head.last(hidden) + hidden @ step[:-1] + step[-1]
        loss = nn.functional.mse_loss(torch.sigmoid(moved), target)
        total = total + loss / len(given)
    total.backward()
    outer.update(given)
    for name, parameter in reference.named_parameters():
        gradient = torch.zeros(()) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(
            state(module)[name], theta[name] - gradient, rtol=0, atol=1e-10
        )
    assert reference.body[0].weight.grad.abs().max() > 1e-6


def test_exact_needs_a_last_layer():
    with pytest.raises(UserError, match=r'exact needs the last layer.*not Small'):
        learner('exact')


def test_anil_moves_the_head_alone_in_the_support_steps():
    anil = learner('bilevel', inner='head')
    given = tasks(count=1)
    reference = deepcopy(anil.network.module)
    anil.update(given)
    task = given[0].task
    whole = learner('bilevel')
    whole.network.module.load_state_dict(reference.state_dict())
    whole.update(given)
    assert not torch.equal(
        anil.network.module.head.weight, whole.network.module.head.weight
    )
    head_only = learner('bilevel', inner='head')
    head_only.network.module.load_state_dict(reference.state_dict())
    head_only.update([given[0]._replace(task=task._replace(query=[]))])
    start, after = state(reference), state(head_only.network.module)
    assert torch.equal(start['body.0.weight'], after['body.0.weight'])
    assert not torch.equal(start['head.weight'], after['head.weight'])


def test_an_outer_optimizer_takes_the_meta_gradient():
    torch.manual_seed(0)
    module = Small().double()
    start = state(module)
    plain = learner('bilevel', deepcopy(module))
    plain.update(tasks())
    mean = {
        name: start[name] - value for name, value in state(plain.network.module).items()
    }
    adam = torch.optim.Adam(module.parameters(), lr=1e-3)
    learner('bilevel', module, adam).update(tasks())
    for name, value in state(module).items():
        step = 1e-3 * mean[name] / (mean[name].abs() + 1e-8)
        torch.testing.assert_close(start[name] - value, step, rtol=0, atol=1e-9)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(108, 1)

    def forward(self, images):
        return self.head(self.norm(images).flatten(1))


def in_float(given):
    def convert(batches):
        return [(images, mos.float()) for images, mos in batches]

    return [
        placed._replace(
            task=Task(
                placed.task.name,
                convert(placed.task.support),
                convert(placed.task.query),
            )
        )
        for placed in given
    ]


@pytest.mark.parametrize(
    ('update', 'optimizer', 'share'),
    [('bilevel', 'SGD', 0.5), ('bilevel', 'Adam', 1.0), ('maml', 'SGD', 1.0)],
)
def test_statistics_move_by_beta_or_to_the_mean(update, optimizer, share):
    module = Normed()
    start = module.norm.running_mean.clone()
    each = []
    for placed in in_float(tasks()):
        copy = deepcopy(module)
        rate = torch.optim.SGD(copy.parameters(), lr=1.0)
        learner(update, copy, rate).update([placed])
        each.append(copy.norm.running_mean)
    outer = getattr(torch.optim, optimizer)(module.parameters(), lr=0.5)
    learner(update, module, outer).update(in_float(tasks()))
    expected = start + share * (sum(each) / 2 - start)
    torch.testing.assert_close(module.norm.running_mean, expected)
    assert (expected - start).abs().min() > 1e-3


def test_an_error_leaves_the_network_as_it_was():
    module = Normed()
    before = deepcopy(module.state_dict())
    given = in_float(tasks())
    given[1].task.query[0][1].fill_(float('nan'))
    with pytest.raises(FloatingPointError, match="task 't1': the loss of step 1"):
        learner('bilevel', module).update(given)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[name])


def test_a_meta_gradient_that_is_not_finite_is_refused():
    given = tasks()
    bilevel = learner('bilevel', alpha=1e200)
    with pytest.raises(FloatingPointError):
        bilevel.update(given)


PYIQA_NETWORKS = {
    'CNNIQA': ({'type': 'CNNIQA', 'pretrained': None}, ('fc',)),
    'WaDIQaM': (
        {'type': 'WaDIQaM', 'metric_type': 'NR', 'pretrained': False},
        ('fc_q.', 'fc_w.'),
    ),
}


@pytest.mark.parametrize('update', ['bilevel', 'joint', 'maml'])
@pytest.mark.parametrize('name', PYIQA_NETWORKS)
def test_networks_of_pyiqas_are_trained(name, update):
    options, head = PYIQA_NETWORKS[name]
    torch.manual_seed(0)
    module = build_network(dict(options))
    rate = {} if update == 'maml' else {'alpha_head': 1e-2}
    given = learner(update, module, alpha=1e-3, head=head, **rate)
    generator = torch.Generator().manual_seed(1)

    def batches():
        images = torch.randint(
            0, 256, (2, 3, 48, 48), generator=generator, dtype=torch.uint8
        )
        return [(images, torch.rand(2, 1, generator=generator))]

    before = state(module)
    losses = given.update([Placed(Task('jpeg', batches(), batches()), 0, 7)])
    assert all(len(part.query) >= 1 for part in losses)
    moved = [n for n, v in state(module).items() if not torch.equal(v, before[n])]
    assert any(name.startswith(head) for name in moved)
    assert any(not name.startswith(head) for name in moved)


def test_a_head_that_is_not_there_is_named():
    module = build_network({'type': 'CNNIQA', 'pretrained': None})
    with pytest.raises(UserError, match=r"\['head\.'\].*CNNIQA.*'conv1\.', 'fc1\.'"):
        learner('bilevel', module, alpha_head=1e-2)


def test_a_network_of_another_shape_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    with pytest.raises(UserError, match=r'gives \(5, 2\) for 5 images'):
        learner('bilevel', module).update(in_float(tasks()))


MEMORY = """
import re, resource, torch
from torch import nn
from metaiqa_plugin.train.learners import Bilevel, Placed
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.update import Task
from metaiqa_plugin.train.network import Network

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(40)))
        self.head = nn.Linear(1000, 1)
    def forward(self, images):
        means = images.mean(dim=(1, 2, 3))[:, None]
        return self.head(self.layers(means.expand(-1, 1000)))

module = Wide()
size = sum(p.numel() * p.element_size() for p in module.parameters())
with open('/proc/self/statm') as file:
    base = int(file.read().split()[1]) * resource.getpagesize() - size
meta = MetaSettings(steps=2)
network = Network(module, [nn.MSELoss()], meta, torch.device('cpu'))
learner = Bilevel(network, meta, torch.optim.SGD(network.parameters, lr=1.0))
batch = (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.rand(2, 1))
tasks = [Placed(Task(str(i), [batch] * 2, [batch] * 2), i, i) for i in range(3)]
learner.update(tasks)
learner.update(tasks)
peak = int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) * 1024
print((peak - base) / size)
"""


def test_an_update_holds_about_five_times_the_parameters():
    done = subprocess.run(
        [sys.executable, '-c', MEMORY], capture_output=True, text=True, check=True
    )
    assert 4.5 < float(done.stdout) < 5.9
