"""What adaptation makes of a few labels, by its settings.

    python studies/adapt_labels.py data/LIVEC/meta_info_parts.csv data/LIVEC/Images \
        --start imagenet prior=experiments/MetaIQA_prior_kodak/models/net_latest.pth \
        --out docs/results

Each draw takes so many photos of the part that split 1 of the table trains on, adapts
the network to them and scores the photos that the split tests on. With the table of
recipe_parts.py no test photo of a given split is seen. Half an hour on a core.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from shared import livec, paths_of, study_parser, target

from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
from metaiqa_plugin.data.crops import maps_of
from metaiqa_plugin.data.images import read_resized
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import Correlation, correlate
from metaiqa_plugin.train.adapt import AdaptSettings, LabelledImages, adapt

FRESH = {
    'backbone': 'tf_efficientnet_lite0',
    'levels': (5, 6),
    'frozen': 5,
    'standardised': True,
    'hidden': 256,
    'dropout': 0.3,
    'pretrained': 'imagenet',
    'input_size': 500,
}
SETTINGS = {
    'head first (default)': AdaptSettings(),
    'head alone': AdaptSettings(head_steps=300, steps=0),
    'no head first': AdaptSettings(head_steps=0),
    'no head first, BatchNorm running': AdaptSettings(
        head_steps=0, batchnorm='running'
    ),
    'head first, a third of the rates': AdaptSettings(lr=3e-5, lr_head=3e-4),
}
HEADER = ('start', 'labels', 'settings', 'srocc', 'plcc', 'sd_of_srocc')
BATCH = 16


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'table', 'images')
    parser.add_argument('--start', nargs='+', default=['imagenet'])
    parser.add_argument('--labels', type=int, nargs='+', default=[10, 50, 200])
    parser.add_argument('--draws', type=int, default=5)
    parser.add_argument('--settings', nargs='+', default=[*SETTINGS], choices=SETTINGS)
    options = parser.parse_args(arguments)
    path = target(options, 'adapt_labels.csv')
    keep_freed_memory()
    learned, tested = (
        livec(options.table, options.images, 1, part) for part in ('train', 'test')
    )
    found = []
    for start in options.start:
        name, _, weights = start.partition('=')
        network = _network(weights)
        maps = _maps(network, paths_of(tested))
        _note(found, (name, 0, 'none'), [_agreement(network, maps, tested.mos)])
        for labels in options.labels:
            draws = [_drawn(learned, labels, draw) for draw in range(options.draws)]
            for title in options.settings:
                agreements = []
                for draw, labelled in enumerate(draws):
                    adapted = copy.deepcopy(network)
                    settings = replace(SETTINGS[title], seed=draw)
                    adapt(adapted, labelled, settings, progress=False)
                    agreements.append(_agreement(adapted, maps, tested.mos))
                _note(found, (name, labels, title), agreements)
                write_table(path, HEADER, found)


def _network(path: str) -> MetaIQA:
    if path:
        return MetaIQA(pretrained_model_path=path).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MetaIQA(**FRESH).eval()


def _drawn(rows, labels: int, draw: int) -> LabelledImages:
    chosen = np.random.default_rng([draw, labels]).permutation(len(rows))[:labels]
    return LabelledImages([rows.path(i) for i in chosen], rows.mos[chosen].tolist())


def _maps(network: MetaIQA, paths: Sequence) -> torch.Tensor:
    size = network.config.input_size
    maps = [maps_of(network, read_resized(path, size)) for path in paths]
    return torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2)


@torch.no_grad()
def _agreement(network: MetaIQA, maps: torch.Tensor, mos: np.ndarray) -> Correlation:
    scores = [network(batch.float()).view(-1) for batch in maps.split(BATCH)]
    return correlate(torch.cat(scores).numpy(), mos)


def _note(found: list, key: tuple, agreements: Sequence[Correlation]) -> None:
    srocc = [agreement.srocc for agreement in agreements]
    plcc = [agreement.plcc for agreement in agreements]
    spread = np.std(srocc, ddof=1) if len(srocc) > 1 else 0.0
    means = (np.mean(srocc), np.mean(plcc), spread)
    found.append((*key, *(round(float(number), 4) for number in means)))
    print(*found[-1], sep='\t', flush=True)


if __name__ == '__main__':
    sys.exit(run(main))
