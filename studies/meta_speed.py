"""Images per second of meta-training, against a bare loop on tensors in memory.

    python studies/meta_speed.py --kodak data/kodak [--backbone resnet18]

Both do the same steps in one run, turn by turn: forward, backward and one Adam step on
SIZE images, with the same network, precision and memory layout. The pipeline is what
``metaiqa train`` runs: episodes from the image store, a worker that crops, inner steps,
differences and the outer step. The bare loop is torch's own fused Adam on batches that
are ready in memory as float32 in [0, 1].

Also bf16 against float32 (``--precisions``), the peak memory of a meta-update in units
of the parameters, on a network whose activations are small (``--memory``), and tasks
per second of two processes of one thread against one such process (``--ranks``).
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pyiqa.models import build_model
from shared import in_process, spread, turns
from torch import nn

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.episodes import EpisodeDataset
from metaiqa_plugin.errors import run
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.data_order import DataOrder, train_loader
from metaiqa_plugin.train.learners import Bilevel, Placed
from metaiqa_plugin.train.network import Network
from metaiqa_plugin.train.options import changed, read_options
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.update import Task

BASE = Path(__file__).parents[1] / 'options/train/MetaIQA/metaiqa_kodak.yml'
K, SETS, STEPS = 6, 16, 2
SIZE = SETS // STEPS
IMAGES = K * 2 * SETS
"""Of a turn."""


def training(options: argparse.Namespace) -> dict:
    """What pyiqa's models take: that file with other sizes, and no GPU."""
    kodak = options.kodak
    block = {
        'phase': 'train',
        'meta_info_file': str(kodak / f'meta_info_{kodak.name}.csv'),
        'dataroot_target': str(kodak / 'images'),
        'store': True,
        'support_size': SETS,
        'query_size': SETS,
        'tasks_per_epoch': 100,
        'resize': options.crop * 8 // 7,
        'crop_size': options.crop,
        'batch_size_per_gpu': K,
    }
    changes = {f'datasets.train.{name}': value for name, value in block.items()}
    changes |= {'num_gpu': 0, 'manual_seed': 1, 'is_train': True, 'dist': False}
    known = options.backbone == 'tf_efficientnet_lite0'
    changes |= {
        'network.backbone': options.backbone,
        'network.pretrained': 'imagenet' if known else False,
        'train.total_iter': 10**6,
        'train.meta': {'steps': STEPS, 'precision': options.precision},
    }
    return changed(read_options(BASE), changes, 'meta_speed')


class Pipeline:
    """Updates of ``metaiqa train``, data included."""

    def __init__(self, opt: dict) -> None:
        block = opt['datasets']['train']
        dataset = EpisodeDataset(block)
        order = DataOrder(len(dataset), K, opt['train'], endless=True)
        self.batches = iter(train_loader(dataset, block, order, 0, 1))
        self.model = build_model(opt)
        self.done = 0

    def turn(self) -> None:
        self.done += 1
        self.model.feed_data(next(self.batches))
        self.model.optimize_parameters(self.done)


class Bare:
    """The same forward, backward and Adam steps on ready tensors."""

    def __init__(self, backbone: str, precision: str, crop: int) -> None:
        torch.manual_seed(1)
        self.network = MetaIQA(backbone, pretrained=False).train()
        self.network.to(memory_format=torch.channels_last)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)
        images = torch.rand(SIZE, 3, crop, crop)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.mos = torch.rand(SIZE, 1)
        self.bf16 = precision == 'bf16'

    def turn(self) -> None:
        for _ in range(K * 2 * STEPS):
            with torch.autocast('cpu', torch.bfloat16, self.bf16):
                predicted = self.network(self.images).float()
            loss = nn.functional.mse_loss(predicted, self.mos)
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()


def compare(options: argparse.Namespace) -> None:
    pipeline = Pipeline(training(options))
    bare = Bare(options.backbone, options.precision, options.crop)
    found = IMAGES / turns(pipeline.turn, bare.turn, rounds=options.rounds)
    ours, other = np.median(found, axis=1)
    print(
        f'{options.backbone}, {options.precision}, {options.crop} px, batches of '
        f'{SIZE}, {torch.get_num_threads()} threads: pipeline {ours:.1f} images/s, '
        f'bare loop {other:.1f}, ratio {spread(found[0] / found[1])}',
        flush=True,
    )


def precisions(options: argparse.Namespace) -> None:
    """bf16 against float32 in the bare loop."""
    loops = [Bare(options.backbone, each, options.crop) for each in ('bf16', 'fp32')]
    found = IMAGES / turns(*(loop.turn for loop in loops), rounds=options.rounds)
    low, full = np.median(found, axis=1)
    print(
        f'{options.backbone}, {options.crop} px, batches of {SIZE}, '
        f'{torch.get_num_threads()} threads: bf16 {low:.1f} images/s, fp32 '
        f'{full:.1f}, ratio {low / full:.2f}',
        flush=True,
    )


class Wide(nn.Module):
    """100 million parameters, hardly any activation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(2000, 2000) for _ in range(25)))
        self.head = nn.Linear(2000, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(
            self.layers(images.mean(dim=(1, 2, 3))[:, None].expand(-1, 2000))
        )


def one_of_ranks(options: argparse.Namespace) -> None:
    """A process of torchrun's: rank 0 prints the tasks per second of all."""
    ranks.start('pytorch')
    pipeline = Pipeline(training(options))
    pipeline.turn()
    ranks.gather(None)
    started = time.perf_counter()
    for _ in range(options.rounds):
        pipeline.turn()
    ranks.gather(None)
    if ranks.rank() == 0:
        print(K * options.rounds / (time.perf_counter() - started), flush=True)
    ranks.stop()


def compare_ranks(options: argparse.Namespace) -> None:
    """Turn by turn; each process has one thread."""
    os.environ['OMP_NUM_THREADS'] = '1'
    own = ['--rank-here', '--kodak', options.kodak, '--backbone', options.backbone]
    own += ['--crop', options.crop, '--precision', options.precision, '--rounds', 3]
    torchrun = ['-m', 'torch.distributed.run', '--standalone']

    def tasks_per_second(processes: int) -> float:
        launcher = [*torchrun, f'--nproc_per_node={processes}']
        return in_process(__file__, *own, launcher=launcher)

    every = [[tasks_per_second(n) for n in (1, 2)] for _ in range(options.rounds)]
    one, two = np.array(every).T
    print(
        f'{options.backbone}, {options.precision}, {options.crop} px, k = {K}: '
        f'one process {np.median(one):.3f} tasks/s, two {np.median(two):.3f}, '
        f'ratio {spread(two / one)}',
        flush=True,
    )


def memory(_: argparse.Namespace) -> None:
    """Peak resident memory of one meta-update, in a process of its own."""
    module = Wide()
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    resident = int(Path('/proc/self/statm').read_text().split()[1])
    base = resident * resource.getpagesize() - parameters
    settings = MetaSettings(steps=STEPS)
    network = Network(module, [nn.MSELoss()], settings, torch.device('cpu'))
    learner = Bilevel(network, settings, torch.optim.SGD(network.parameters, lr=1.0))
    batch = (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.rand(2, 1))
    for _ in range(2):
        learner.update(
            [Placed(Task(f't{i}', [batch] * 2, [batch] * 2), i, i) for i in range(3)]
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
    print(peak / parameters)


def print_memory(options: argparse.Namespace) -> None:
    times = in_process(__file__, '--memory-here')
    print(f'peak memory of a meta-update: {times:.2f} times the parameters')


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kodak', type=Path, default=Path('data/kodak'))
    parser.add_argument('--backbone', default='tf_efficientnet_lite0')
    parser.add_argument('--precision', default='fp32', choices=('fp32', 'bf16'))
    parser.add_argument('--crop', type=int, default=224)
    parser.add_argument('--rounds', type=int, default=5)
    parser.set_defaults(part=compare)
    for name, part, told in (
        ('--precisions', precisions, 'bf16 against float32'),
        ('--memory', print_memory, 'of a meta-update'),
        ('--ranks', compare_ranks, 'two processes against one'),
        ('--rank-here', one_of_ranks, argparse.SUPPRESS),
        ('--memory-here', memory, argparse.SUPPRESS),
    ):
        parser.add_argument(
            name, dest='part', action='store_const', const=part, help=told
        )
    options = parser.parse_args(arguments)
    options.part(options)


if __name__ == '__main__':
    sys.exit(run(main))
