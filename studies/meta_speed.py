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
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pyiqa.models import build_model
from torch import nn

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.datasets import EpisodeDataset
from metaiqa_plugin.train import ranks
from metaiqa_plugin.train.data_order import DataOrder, train_loader
from metaiqa_plugin.train.learners import Bilevel, Placed
from metaiqa_plugin.train.network import Network
from metaiqa_plugin.train.settings import MetaSettings
from metaiqa_plugin.train.update import Task

K, SETS, STEPS = 6, 16, 2
SIZE = SETS // STEPS


def options(kodak: Path, backbone: str, precision: str, crop: int) -> dict:
    pretrained = 'imagenet' if backbone == 'tf_efficientnet_lite0' else False
    return {
        'name': 'speed',
        'model_type': 'MetaIQAModel',
        'num_gpu': 0,
        'manual_seed': 1,
        'is_train': True,
        'dist': False,
        'datasets': {
            'train': {
                'name': 'kodak',
                'type': 'EpisodeDataset',
                'phase': 'train',
                'meta_info_file': str(kodak / f'meta_info_{kodak.name}.csv'),
                'dataroot_target': str(kodak / 'images'),
                'mos_range': [1, 5],
                'store': True,
                'support_size': SETS,
                'query_size': SETS,
                'images_per_reference': 2,
                'tasks_per_epoch': 100,
                'resize': crop * 8 // 7,
                'crop_size': crop,
                'num_worker_per_gpu': 1,
                'batch_size_per_gpu': K,
            }
        },
        'network': {
            'type': 'MetaIQA',
            'backbone': backbone,
            'pretrained': pretrained,
        },
        'path': {'pretrain_network': None},
        'train': {
            'total_iter': 10**6,
            'meta': {'steps': STEPS, 'precision': precision},
            'optim': {'type': 'SGD', 'lr': 1.0},
            'scheduler': {'type': 'StepLR', 'step_size': 5, 'gamma': 0.8},
            'mos_loss_opt': {'type': 'MSELoss'},
        },
        'logger': {},
    }


class Pipeline:
    """Updates of ``metaiqa train``, data included."""

    def __init__(self, opt: dict) -> None:
        block = opt['datasets']['train']
        dataset = EpisodeDataset(block)
        order = DataOrder(len(dataset), K, opt['train'])
        self.batches = iter(train_loader(dataset, block, order, 0, 1))
        self.model = build_model(opt)
        self.done = 0

    def turn(self) -> int:
        self.done += 1
        self.model.feed_data(next(self.batches))
        self.model.optimize_parameters(self.done)
        return K * 2 * SETS


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

    def turn(self) -> int:
        for _ in range(K * 2 * STEPS):
            with torch.autocast('cpu', torch.bfloat16, self.bf16):
                predicted = self.network(self.images).float()
            loss = nn.functional.mse_loss(predicted, self.mos)
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
        return K * 2 * SETS


def rate(turn) -> float:
    started = time.perf_counter()
    images = turn()
    return images / (time.perf_counter() - started)


def spread(ratios: np.ndarray) -> str:
    return (
        f'{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f}, '
        f'{len(ratios)} turns each)'
    )


def compare(arguments) -> None:
    opt = options(
        arguments.kodak, arguments.backbone, arguments.precision, arguments.crop
    )
    pipeline = Pipeline(opt)
    bare = Bare(arguments.backbone, arguments.precision, arguments.crop)
    pipeline.turn(), bare.turn()
    rates = np.array(
        [(rate(pipeline.turn), rate(bare.turn)) for _ in range(arguments.rounds)]
    )
    ratios = rates[:, 0] / rates[:, 1]
    print(
        f'{arguments.backbone}, {arguments.precision}, {arguments.crop} px, batches of '
        f'{SIZE}, {torch.get_num_threads()} threads: '
        f'pipeline {np.median(rates[:, 0]):.1f} images/s, '
        f'bare loop {np.median(rates[:, 1]):.1f}, ratio {spread(ratios)}',
        flush=True,
    )


def precisions(arguments) -> None:
    """bf16 against float32 in the bare loop."""
    loops = {p: Bare(arguments.backbone, p, arguments.crop) for p in ('fp32', 'bf16')}
    for loop in loops.values():
        loop.turn()
    rates = {
        name: [rate(loop.turn) for _ in range(arguments.rounds)]
        for name, loop in loops.items()
    }
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    print(
        f'{arguments.backbone}, {arguments.crop} px, batches of {SIZE}, '
        f'{torch.get_num_threads()} threads: bf16 {medians["bf16"]:.1f} images/s, fp32 '
        f'{medians["fp32"]:.1f}, ratio {medians["bf16"] / medians["fp32"]:.2f}',
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


def one_of_ranks(arguments) -> None:
    """A process of torchrun's: rank 0 prints the tasks per second of all."""
    ranks.start('pytorch')
    opt = options(
        arguments.kodak, arguments.backbone, arguments.precision, arguments.crop
    )
    pipeline = Pipeline(opt)
    pipeline.turn()
    ranks.gather(None)
    started = time.perf_counter()
    for _ in range(arguments.rounds):
        pipeline.turn()
    ranks.gather(None)
    if ranks.rank() == 0:
        print(K * arguments.rounds / (time.perf_counter() - started), flush=True)
    ranks.stop()


def compare_ranks(arguments) -> None:
    """Turn by turn; each process has one thread."""
    own = ['--kodak', str(arguments.kodak), '--backbone', arguments.backbone]
    own += ['--crop', str(arguments.crop), '--precision', arguments.precision]
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(arguments.rounds):
        for count, rates in found.items():
            command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
            command += [f'--nproc_per_node={count}', __file__, '--rank-here', *own]
            environment = os.environ | {'OMP_NUM_THREADS': '1'}
            done = subprocess.run(
                [*command, '--rounds', '3'],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env=environment,
            )
            rates.append(float(done.stdout.split()[-1]))
    one, two = (np.array(rates) for rates in found.values())
    ratios = two / one
    print(
        f'{arguments.backbone}, {arguments.precision}, {arguments.crop} px, k = {K}: '
        f'one process {np.median(one):.3f} tasks/s, two {np.median(two):.3f}, '
        f'ratio {spread(ratios)}',
        flush=True,
    )


def memory() -> None:
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
    print(
        f'peak memory of a meta-update: {peak / parameters:.2f} times the parameters '
        f'({parameters / 1e6:.0f} MB)'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kodak', type=Path, default=Path('data/kodak'))
    parser.add_argument('--backbone', default='tf_efficientnet_lite0')
    parser.add_argument('--precision', default='fp32', choices=('fp32', 'bf16'))
    parser.add_argument('--crop', type=int, default=224)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--precisions', action='store_true')
    parser.add_argument('--memory', action='store_true')
    parser.add_argument('--ranks', action='store_true')
    parser.add_argument('--rank-here', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--memory-here', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_here:
        memory()
    elif arguments.rank_here:
        one_of_ranks(arguments)
    elif arguments.ranks:
        compare_ranks(arguments)
    elif arguments.memory:
        subprocess.run([sys.executable, __file__, '--memory-here'], check=True)
    elif arguments.precisions:
        precisions(arguments)
    else:
        compare(arguments)


if __name__ == '__main__':
    main()
