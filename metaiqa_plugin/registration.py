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
from collections.abc import Callable
from typing import Any, Literal

from pyiqa.default_model_configs import DEFAULT_CONFIGS
from pyiqa.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)
from torch import nn

from metaiqa_plugin.errors import one_line

__all__ = ['METRICS', 'METRIC_OF_NETWORK', 'build_network', 'register', 'registered']


def _metric(score_range: str, **options: str) -> dict:
    return {'metric_opts': options, 'metric_mode': 'NR', 'score_range': score_range}


METRICS = {
    'metaiqa': _metric('0, 1', type='MetaIQA'),
    'metaiqa-prior': _metric('0, 1', type='MetaIQA', pretrained='prior'),
    'metaiqa-livec': _metric('0, 1', type='MetaIQA', pretrained='livec'),
    'rankiqa': _metric('~0, ~1', type='RankIQA'),
    'hyperiqa-lite0': _metric('~0, ~1', type='HyperIQA'),
    'metaiqa-official': _metric('0, 1', type='MetaIQAOfficial'),
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
    'EpisodeDataset': 'metaiqa_plugin.data.episodes',
    'LabelledDataset': 'metaiqa_plugin.data.datasets',
    'RankedDataset': 'metaiqa_plugin.data.ranked',
}

_done = False


def register() -> None:
    """Register architectures, models, datasets and metric names; idempotent."""
    global _done
    if _done:
        return
    from metaiqa_plugin.archs.hyperiqa_arch import HyperIQA
    from metaiqa_plugin.archs.metaiqa_arch import MetaIQA, MetaIQAOfficial
    from metaiqa_plugin.archs.rankiqa_arch import RankIQA

    for network in (MetaIQA, MetaIQAOfficial, RankIQA, HyperIQA):
        ARCH_REGISTRY.register(network, override=True)
    for registry, where in ((MODEL_REGISTRY, MODELS), (DATASET_REGISTRY, DATASETS)):
        for name, module in where.items():
            registry.register_lazy(name, f'{module}:{name}', override=True)
    DEFAULT_CONFIGS.update(METRICS)
    _done = True


def registered(kind: Literal['network', 'loss', 'metric'], name: str) -> Callable:
    """What pyiqa builds of ``type: name`` in an option file.

    ``'metric'`` is a function of predictions and labels, such as SROCC. A network may
    be of any package: ``'my_package.my_module.MyNet'``, which is imported.

    Raises:
        KeyError: pyiqa knows none of that name, or there is no such network.
    """
    if kind == 'network':
        from pyiqa.archs import _lazy_import_arch

        if '.' in name:
            ARCH_REGISTRY.register(_network_at(name), name=name, override=True)
        elif name not in ARCH_REGISTRY:
            _lazy_import_arch(name)
        return ARCH_REGISTRY.get(name)
    if kind == 'loss':
        from pyiqa.losses import build_loss  # noqa: F401

        return LOSS_REGISTRY.get(name)
    from pyiqa.metrics import calculate_metric  # noqa: F401

    return METRIC_REGISTRY.get(name)


def build_network(options: dict[str, Any]) -> nn.Module:
    """pyiqa's, for ``type: my_package.my_module.MyNet``, too.

    Raises:
        KeyError: no such network.
    """
    from pyiqa.archs import build_network

    registered('network', options['type'])
    return build_network(options)


def _network_at(path: str) -> type[nn.Module]:
    """The class at a dotted path; nothing else is called that an option file names."""
    module, _, name = path.rpartition('.')
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's may raise anything
        raise KeyError(
            f'{path!r} cannot be imported ({one_line(error)}); a module in the current '
            'folder is found with PYTHONPATH=. before the command'
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise KeyError(f'{path!r} is no class that derives from torch.nn.Module')
    return found
