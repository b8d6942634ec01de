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

__all__ = ['METRICS', 'register']

METRICS = {
    'metaiqa': {
        'metric_opts': {'type': 'MetaIQA'},
        'metric_mode': 'NR',
        'score_range': '0, 1',
    },
    'metaiqa-official': {
        'metric_opts': {'type': 'MetaIQAOfficial'},
        'metric_mode': 'NR',
        'score_range': '0, 1',
    },
}

_done = False


def register() -> None:
    """Register architectures, models, datasets and metric names; idempotent."""
    global _done
    if _done:
        return
    importlib.import_module('pyiqa.archs.metaiqa_arch')
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA
    from metaiqa_plugin.archs.official_arch import MetaIQAOfficial

    ARCH_REGISTRY.register(MetaIQA, override=True)
    ARCH_REGISTRY.register(MetaIQAOfficial, override=True)
    MODEL_REGISTRY.register_lazy(
        'MetaIQAModel',
        'metaiqa_plugin.models.metaiqa_model:MetaIQAModel',
        override=True,
    )
    MODEL_REGISTRY.register_lazy(
        'IQAModel', 'metaiqa_plugin.models.iqa_model:IQAModel', override=True
    )
    DATASET_REGISTRY.register_lazy(
        'EpisodeDataset',
        'metaiqa_plugin.data.episode_dataset:EpisodeDataset',
        override=True,
    )
    DATASET_REGISTRY.register_lazy(
        'LabelledDataset',
        'metaiqa_plugin.data.labelled_dataset:LabelledDataset',
        override=True,
    )
    DEFAULT_CONFIGS.update(METRICS)
    _done = True
