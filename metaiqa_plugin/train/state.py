"""What a run resumes from: collected, written whole, read, compared, put back.

A state is a dict of tensors, numbers, strings, lists and dicts, in torch's zip format,
which carries a checksum of each entry. It is data: reading one runs no code. The newest
few are kept, damaged ones skipped.
"""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = [
    'collect',
    'differences',
    'fixed_options',
    'newest_state',
    'put_back',
    'random_states',
    'read_state',
    'refuse_other_options',
    'save_durably',
    'set_random_states',
    'state_files',
    'write_state',
]

SUFFIX = '.state'
KEEP_STATES = 2
"""How many are kept where ``logger.keep_states`` does not say."""
FIXED = ('model_type', 'manual_seed', 'network', 'train', 'datasets.train')
"""Options that a resumed run must have as it began."""
MAY_CHANGE = {'total_epoch', 'total_iter', 'num_worker_per_gpu', 'pin_memory'}


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
        'best': _numbers(getattr(model, 'best_metric_results', {})),
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


def _numbers(value: Any) -> Any:
    """NumPy's numbers, which pyiqa's metrics give, as Python's."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
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
    np.random.set_state(('MT19937', *states['numpy']))
    torch.set_rng_state(states['torch'])
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states['cuda'])


def save_durably(content: Any, path: Path) -> None:
    """``torch.save``, whole or not at all, on the disk when it returns.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    memory = io.BytesIO()
    torch.save(content, memory)
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(memory.getbuffer())


def write_state(opt: dict[str, Any], state: dict[str, Any]) -> None:
    """Write ``ITERATION.state``, then delete all but the newest few.

    Args:
        opt: pyiqa's; says where, and with ``logger.keep_states`` how many.
        state: its ``iter`` is the iteration.

    Raises:
        OSError: it cannot be written; the states that were there are untouched.
    """
    folder = Path(opt['path']['training_states'])
    save_durably(state, folder / f'{state["iter"]}{SUFFIX}')
    for old in state_files(folder)[opt['logger'].get('keep_states', KEEP_STATES) :]:
        old.unlink(missing_ok=True)


def state_files(folder: str | os.PathLike) -> list[Path]:
    """The state files of a folder, the newest first."""
    found = [path for path in Path(folder).glob(f'*{SUFFIX}') if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def newest_state(
    folder: str | os.PathLike, warn: Callable[[str], None]
) -> tuple[Path, dict[str, Any]] | None:
    """The newest state that can be read.

    Args:
        folder: of the states.
        warn: takes the message about each damaged one.

    Raises:
        UserError: there are states, and none can be read.
    """
    paths = state_files(folder)
    for path in paths:
        try:
            return path, read_state(path)
        except UserError as error:
            warn(f'{error}; taking the one before')
    if paths:
        raise UserError(
            f'none of the {len(paths)} states in {str(folder)!r} can be read; start '
            'over without --resume'
        )
    return None


def read_state(path: str | os.PathLike) -> dict[str, Any]:
    """A state file.

    Raises:
        UserError: it is missing, damaged, or no state of ours.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(name) as archive:
            broken = archive.testzip()
        if broken:
            raise ValueError(f'{broken} fails its checksum')
        state = torch.load(name, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f'state {name!r} does not exist') from error
    except Exception as error:  # zipfile, pickle and torch each have their own
        reason = str(error).strip().split('\n')[0][:200]
        raise UserError(f'state {name!r} is damaged ({reason})') from error
    if not isinstance(state, dict) or 'network' not in state:
        raise UserError(
            f'state {name!r} holds no weights; pyiqa 0.1.16 writes such states, and '
            'no run can resume from them'
        )
    return state


def fixed_options(opt: dict[str, Any]) -> str:
    """JSON of the options that a resumed run must have as it began."""
    kept = {}
    for path in FIXED:
        value = opt
        for key in path.split('.'):
            value = value[key]
        kept[path] = _compared(value)
    return json.dumps(kept, default=str)


def refuse_other_options(opt: dict[str, Any], state: dict[str, Any]) -> None:
    """Raises UserError where the run of ``state`` began with other options."""
    if 'options' not in state:
        raise UserError(
            f'--resume: the state of iteration {state["iter"]} was written under '
            'pyiqa.train and does not know its place in the data; continue there, or '
            'start over with path.pretrain_network'
        )
    now, then = json.loads(fixed_options(opt)), json.loads(state['options'])
    for name in FIXED:
        for where, value, before in differences(name, now[name], then[name]):
            raise UserError(
                f'--resume: {where} is {value!r}, the run began with {before!r}; '
                'restore that value, or start a run of another name'
            )


def _compared(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in MAY_CHANGE}
        return {key: _compared(item) for key, item in kept.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_compared(item) for item in value]
    return value


def differences(where: str, now: Any, then: Any) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values of all that is not the same in nested options."""
    if isinstance(now, dict) and isinstance(then, dict):
        for key in [*now, *(key for key in then if key not in now)]:
            yield from differences(f'{where}.{key}', now.get(key), then.get(key))
    elif now != then:
        yield where, now, then
