"""All that a pyiqa model needs to go on exactly: collected, and put back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from metaiqa_plugin.errors import UserError

__all__ = ['collect', 'put_back', 'random_states', 'set_random_states']


def collect(model: Any) -> dict[str, Any]:
    """Weights, optimizers, schedulers, best results, random states.

    Args:
        model: a pyiqa ``GeneralIQAModel``; what it has beyond that comes from its
            ``own_state``, if it has such a method.
    """
    own = getattr(model, 'own_state', None)
    return {
        'network': model.get_bare_model(model.net).state_dict(),
        'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in model.schedulers],
        'best': _plain(getattr(model, 'best_metric_results', {})),
        'own': own() if own else {},
        'random': random_states(),
    }


def put_back(model: Any, state: dict[str, Any]) -> None:
    """Inverse of :func:`collect`.

    Raises:
        UserError: the state is of another network, or of other optimizers.
    """
    network = model.get_bare_model(model.net)
    try:
        network.load_state_dict(state['network'])
        for name in ('optimizers', 'schedulers'):
            for mine, theirs in zip(getattr(model, name), state[name], strict=True):
                mine.load_state_dict(theirs)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = ' '.join(str(error).split())[:300]
        raise UserError(
            f'the state to resume from is of another run: {reason}'
        ) from error
    model.best_metric_results = state['best']
    if 'val' in model.opt:
        model.key_metric = model.opt['val'].get('key_metric')
    if hasattr(model, 'load_own_state'):
        model.load_own_state(state['own'])
    set_random_states(state['random'])


def _plain(value: Any) -> Any:
    """NumPy's numbers, which pyiqa's metrics give, as Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def random_states() -> dict[str, Any]:
    """Those of Python, NumPy and torch."""
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        'python': [version, list(numbers), gauss],
        'numpy': [keys.tolist(), position, has_gauss, cached],
        'torch': torch.get_rng_state(),
        'cuda': cuda,
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Inverse of :func:`random_states`."""
    version, numbers, gauss = states['python']
    random.setstate((version, tuple(numbers), gauss))
    keys, position, has_gauss, cached = states['numpy']
    keys = np.array(keys, dtype=np.uint32)
    np.random.set_state(('MT19937', keys, position, has_gauss, cached))
    torch.set_rng_state(states['torch'])
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states['cuda'])
