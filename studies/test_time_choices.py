r"""What a view of the photo is worth at test time, and what it costs.

    python studies/recipe_parts.py data/LIVEC/meta_info_LIVEC.csv
    PARTS=data/LIVEC/meta_info_parts.csv
    for part in 1 2; do
      metaiqa train -opt options/train/MetaIQA/metric_livec.yml \
        --set name=part_0$part --set datasets.train.meta_info_file=$PARTS \
        --set datasets.train.split_index=$part \
        --set datasets.val.meta_info_file=$PARTS --set datasets.val.split_index=$part
    done
    python studies/test_time_choices.py $PARTS data/LIVEC/Images \
        --weights 'experiments/part_{}/models/net_latest.pth' --splits 1 2 \
        --out docs/results

The weights of each split, ``{}`` being its number with two digits, score the photos
that it tests on, seen in several ways; SROCC and PLCC are means over splits. The time
is the median of ``--rounds`` turns, of three images of 500x500 and of 1024x768 pixels
each, on ``--threads`` threads, reading not included. Five minutes a split on a core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from shared import livec, paths_of, study_parser, target, tensor_of
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import correlate

SIZES = ((500, 500), (768, 1024))
HEADER = ('view', 'srocc', 'plcc', 'ms_500x500', 'ms_1024x768')

Score = Callable[[MetaIQA, Tensor], Tensor]


def resized(**change) -> Score:
    """The whole image under another configuration of the network's resize."""

    def score(network: MetaIQA, image: Tensor) -> Tensor:
        kept = network.config
        network.config = replace(kept, **change)
        try:
            return network(image)
        finally:
            network.config = kept

    return score


def mirrored(network: MetaIQA, image: Tensor) -> Tensor:
    return network(torch.cat([image, image.flip(-1)])).mean(0, keepdim=True)


def crops(side: int, count: int) -> Score:
    """The mean of ``count`` crops of the resized image: centre, corners."""

    def score(network: MetaIQA, image: Tensor) -> Tensor:
        view = network.views(image)
        height, width = (max(0, size - side) for size in view.shape[-2:])
        corners = [(0, 0), (0, width), (height, 0), (height, width)]
        places = [(height // 2, width // 2), *corners][:count]
        cut = [view[..., top:, left:][..., :side, :side] for top, left in places]
        return network.view_scores(torch.cat(cut)).mean(0, keepdim=True)

    return score


def two_sizes(network: MetaIQA, image: Tensor) -> Tensor:
    smaller = functional.interpolate(
        network.views(image), scale_factor=0.75, mode='bilinear', antialias=True
    )
    return (network(image) + network.view_scores(smaller)) / 2


VIEWS: dict[str, Score] = {
    'whole image, 500 pixels (default)': resized(),
    'and its mirror image': mirrored,
    'at 375 pixels': resized(input_size=375),
    'at 375 pixels, no antialiasing': resized(input_size=375, antialias=False),
    'at 448 pixels': resized(input_size=448),
    'at 640 pixels': resized(input_size=640),
    'centre of 400x400 pixels': crops(400, 1),
    'five crops of 400x400 pixels': crops(400, 5),
    'five crops of 224x224 pixels': crops(224, 5),
    'at 500 and 375 pixels': two_sizes,
    'squashed to 500x500': resized(resize='squash'),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    parser.add_argument('--weights', required=True)
    parser.add_argument('--splits', type=int, nargs='+', required=True)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args(arguments)
    path = target(options, 'test_time_choices.csv')
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    agreements: dict[str, list[tuple[float, float]]] = {name: [] for name in VIEWS}
    for split in options.splits:
        weights = options.weights.format(f'{split:02d}')
        network = MetaIQA(pretrained_model_path=weights).eval()
        rows = livec(options.table, options.images, split)
        photos = [tensor_of(read_photo(photo)) for photo in paths_of(rows)]
        for name, score in VIEWS.items():
            scores = [_scored(score, network, photo) for photo in tqdm(photos, name)]
            found = correlate(scores, rows.mos)
            agreements[name].append((found.srocc, found.plcc))
            print(split, name, *np.round(agreements[name][-1], 4), sep='\t', flush=True)
    times = _milliseconds_of_views(network, options.rounds)
    table = []
    for name in VIEWS:
        means = np.mean(agreements[name], axis=0).round(4)
        table.append((name, *means, *times[name]))
        print(*table[-1], sep='\t', flush=True)
    write_table(path, HEADER, table)


@torch.no_grad()
def _scored(score: Score, network: MetaIQA, image: Tensor) -> float:
    return score(network, image).item()


def _milliseconds_of_views(
    network: MetaIQA, rounds: int
) -> dict[str, tuple[float, ...]]:
    """Medians over rounds, in each of which every view has its turn."""
    found = [
        {
            name: [_milliseconds(score, network, size) for size in SIZES]
            for name, score in VIEWS.items()
        }
        for _ in tqdm(range(rounds), 'time')
    ]
    return {
        name: tuple(np.median([times[name] for times in found], axis=0).round(1))
        for name in VIEWS
    }


def _milliseconds(score: Score, network: MetaIQA, size: tuple[int, int]) -> float:
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    _scored(score, network, image)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        _scored(score, network, image)
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


if __name__ == '__main__':
    sys.exit(run(main))
