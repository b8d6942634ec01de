"""Three ways to learn from ranked pairs: pairs per second, and loss against time.

    metaiqa synthesize metaiqa_plugin/photos/kodak24 data/kodak
    python studies/ranking_speed.py --database data/kodak --out docs/results

First the steps alone: the same mini-batches of four groups of five images (40 ranked
pairs) by each form, in turns, for each network. Then training from the same random
weights, each form for the same time, with the loss of held-out photos as it goes: the
claim of the paper's Section 4.3 that the efficient form is the fastest.

Times are CPU seconds of this process with one thread, so that other work on the machine
hardly shows; reading images and measuring the held-out loss are not in them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from shared import study_parser, target, turns
from torch import Tensor, nn

from metaiqa_plugin.archs.rankiqa_arch import RankIQA
from metaiqa_plugin.data.ranked import PRESETS, RankedDataset
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.train.rankiqa_model import (
    Pairs,
    efficient,
    hardest,
    pairwise_hinge,
    ranked_pairs,
    two_branches,
)

matplotlib.use('Agg')
MARGIN = 0.2
GROUPS = 4
FORMS: dict[str, Callable[..., Tensor]] = {
    'efficient': efficient,
    'pair by pair': two_branches,
    'hard-negative mining': partial(hardest, part=0.25),
}
SPEED_HEADER = ('network', 'form', 'pairs_per_second', 'ratio_to_pairs')
HELD_OUT = 5
"""Photos, the last by name."""

Batch = tuple[Tensor, Pairs]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__)
    parser.add_argument('--database', required=True, type=Path)
    networks = ['shallow', 'alexnet', 'tf_efficientnet_lite0']
    parser.add_argument('--networks', nargs='+', default=networks)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--learning-network', default='shallow')
    parser.add_argument('--seconds', type=float, default=240)
    options = parser.parse_args(arguments)
    names = ('ranking_speed.csv', 'ranking_loss.csv', 'ranking_loss.png')
    speed, loss, picture = (target(options, name) for name in names)
    torch.set_num_threads(1)
    groups = Groups(read_groups(options.database))
    rows = []
    for name in options.networks:
        for row in speeds(name, groups, options.rounds):
            rows.append(row)
            print(*row, flush=True)
        write_table(speed, SPEED_HEADER, rows)
    network = options.learning_network
    curves = {form: curve(form, groups, options.seconds, network) for form in FORMS}
    rows = [(form, *row) for form, rows in curves.items() for row in rows]
    write_table(loss, ('form', 'cpu_seconds', 'steps', 'loss', 'pairs_in_order'), rows)
    draw(picture, curves, network)


class Groups:
    """Groups of photos and types in memory, split into train and held out."""

    def __init__(self, dataset: RankedDataset) -> None:
        groups = dataset.groups
        photos = sorted({groups.name(index)[0] for index in range(len(groups))})
        held_out = set(photos[-HELD_OUT:])
        self.train: list[tuple[list[np.ndarray], np.ndarray]] = []
        self.held_out: list[tuple[list[np.ndarray], np.ndarray]] = []
        for index in range(len(groups)):
            ranks = groups.ranks(index)
            images = [groups.pixels(index, version) for version in range(len(ranks))]
            part = self.held_out if groups.name(index)[0] in held_out else self.train
            part.append((images, ranks))
        self.crop = dataset.crop

    def batch(self, part: Sequence, chosen: Sequence[int], seed: int) -> Batch:
        generator = np.random.default_rng(seed)
        images = [
            self.crop(image, generator) for index in chosen for image in part[index][0]
        ]
        ranks = torch.from_numpy(np.stack([part[index][1] for index in chosen]))
        stacked = torch.stack(images).float().div_(255)
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        return stacked, ranked_pairs(ranks)

    def batches(self, seed: int) -> Iterator[Batch]:
        """Mini-batches of training groups without end, the same for every form."""
        generator = np.random.default_rng(seed)
        step = 0
        while True:
            order = generator.permutation(len(self.train))
            for first in range(0, len(order) - GROUPS + 1, GROUPS):
                step += 1
                yield self.batch(self.train, order[first : first + GROUPS], step)


def read_groups(database: Path) -> RankedDataset:
    block = {
        'name': 'ranking speed',
        'type': 'RankedDataset',
        'meta_info_file': str(database / f'meta_info_{database.name}.csv'),
        'dataroot_target': str(database / 'images'),
        'mos_range': [1, 5],
        'keep_distortions': list(PRESETS['live']),
        'crop_size': 224,
    }
    return RankedDataset(block)


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = RankIQA(name, pretrained=False, dropout=0.0).train()
    for module in network.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.Dropout)):
            module.eval()
    return network


def _step(network: nn.Module, form: str, batch: Batch, optimizer) -> None:
    optimizer.zero_grad()
    FORMS[form](network, *batch, MARGIN).mean().backward()
    optimizer.step()


def speeds(name: str, groups: Groups, rounds: int) -> list[tuple]:
    network = _network(name)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    batch = next(groups.batches(0))
    pairs = len(batch[1].better)
    steps = [partial(_step, network, form, batch, optimizer) for form in FORMS]
    seconds = turns(*steps, rounds=rounds, clock=time.process_time)
    medians = dict(zip(FORMS, np.median(seconds, axis=1).tolist(), strict=True))
    slow = medians['pair by pair']
    return [
        (name, form, round(pairs / median, 2), round(slow / median, 2))
        for form, median in medians.items()
    ]


def curve(
    form: str, groups: Groups, budget: float, name: str
) -> list[tuple[float, int, float, float]]:
    """Rows of (CPU seconds, steps, held-out loss, held-out pairs in order)."""
    network = _network(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    rows = [(0.0, 0, *_held_out(network, groups))]
    spent, due, steps = 0.0, budget / 16, 0
    for batch in groups.batches(1):
        started = time.process_time()
        _step(network, form, batch, optimizer)
        spent += time.process_time() - started
        steps += 1
        if spent >= due:
            rows.append((round(spent, 2), steps, *_held_out(network, groups)))
            print(form, *rows[-1], flush=True)
            due += budget / 16
        if spent >= budget:
            return rows
    return rows


@torch.no_grad()
def _held_out(network: nn.Module, groups: Groups) -> tuple[float, float]:
    losses, right = [], []
    for index in range(len(groups.held_out)):
        images, pairs = groups.batch(groups.held_out, [index], index)
        scores = network(images).squeeze(1)
        better, worse = scores[pairs.better], scores[pairs.worse]
        losses.append(pairwise_hinge(better, worse, MARGIN).mean().item())
        right.append((better > worse).float().mean().item())
    return round(statistics.mean(losses), 5), round(statistics.mean(right), 4)


def draw(path: Path, curves: dict[str, list[tuple]], name: str) -> None:
    figure = Figure(figsize=(9, 3.8), layout='constrained')
    left, right = figure.subplots(1, 2)
    for form, rows in curves.items():
        seconds, _, losses, order = zip(*rows, strict=True)
        left.plot(seconds, losses, label=form)
        right.plot(seconds, order, label=form)
    left.set(xlabel='CPU seconds of training', ylabel='ranking loss', ylim=(0, None))
    right.set(xlabel='CPU seconds of training', ylabel='pairs in order', ylim=(0.4, 1))
    left.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f'Photos that training has not, types of LIVE, network {name}')
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    sys.exit(run(main))
