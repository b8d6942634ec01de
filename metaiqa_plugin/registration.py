"""Makes the plugin known to pyiqa: the only file that talks to its registries.

pyiqa calls :func:`register` through entry points, once per registry, the first time
a name is looked up that it does not know. Importing :mod:`metaiqa_plugin` calls it,
too, so it may run more than once.

pyiqa 0.1.16 already registers an architecture ``MetaIQA`` and a metric ``metaiqa``.
Its class is imported first, because its module could not be imported after ours has
taken the name (``register`` raises on a second registration).
"""

from __future__ import annotations

import importlib

from pyiqa.default_model_configs import DEFAULT_CONFIGS
from pyiqa.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

__all__ = ['METRICS', 'METRIC_OF_NETWORK', 'register']

METRICS = {
    'metaiqa': {
        'metric_opts': {'type': 'MetaIQA'},
        'metric_mode': 'NR',
        'score_range': '0, 1',
    },
    'metaiqa-prior': {
        'metric_opts': {'type': 'MetaIQA', 'pretrained': 'prior'},
        'metric_mode': 'NR',
        'score_range': '0, 1',
    },
    'rankiqa': {
        'metric_opts': {'type': 'RankIQA'},
        'metric_mode': 'NR',
        'score_range': '~0, ~1',
    },
    'hyperiqa-lite0': {
        'metric_opts': {'type': 'HyperIQA'},
        'metric_mode': 'NR',
        'score_range': '~0, ~1',
    },
    'metaiqa-official': {
        'metric_opts': {'type': 'MetaIQAOfficial'},
        'metric_mode': 'NR',
        'score_range': '0, 1',
    },
}

METRIC_OF_NETWORK = {
    'MetaIQA': 'metaiqa',
    'RankIQA': 'rankiqa',
    'HyperIQA': 'hyperiqa-lite0',
}
"""The metric that scores with a checkpoint of ours, by what its network is."""

MODELS = {
    'IQAModel': 'metaiqa_plugin.train.iqa_model',
    'MetaIQAModel': 'metaiqa_plugin.train.metaiqa_model',
    'RankIQAModel': 'metaiqa_plugin.train.rankiqa_model',
}
DATASETS = {
    'EpisodeDataset': 'metaiqa_plugin.data.episode_dataset',
    'LabelledDataset': 'metaiqa_plugin.data.labelled_dataset',
    'RankedDataset': 'metaiqa_plugin.data.ranked_dataset',
}

_done = False


def register() -> None:
    """Register architectures, models, datasets and metric names; idempotent."""
    global _done
    if _done:
        return
    importlib.import_module('pyiqa.archs.metaiqa_arch')
    from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
    from metaiqa_plugin.archs.official_arch import MetaIQAOfficial
    from metaiqa_plugin.archs.rankiqa_arch import RankIQA

    for network in (MetaIQA, MetaIQAOfficial, RankIQA, HyperIQA):
        ARCH_REGISTRY.register(network, override=True)
    for registry, where in (
        (MODEL_REGISTRY, MODELS),
        (DATASET_REGISTRY, DATASETS),
    ):
        for name, module in where.items():
            registry.register_lazy(name, f'{module}:{name}', override=True)
    DEFAULT_CONFIGS.update(METRICS)
    _done = True
