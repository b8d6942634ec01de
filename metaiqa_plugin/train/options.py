"""Option files: reading them, and finding what nobody would read.

pyiqa ignores keys that it does not know. Here every key of a file must be one that
pyiqa's trainer, the dataset, the network, the loss or the model reads.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

import metaiqa_plugin
from metaiqa_plugin.data.datasets import (
    LOADER_OPTIONS,
    LabelledDataset,
    block_options,
    named_databases,
    split_block,
)
from metaiqa_plugin.data.episodes import EpisodeDataset
from metaiqa_plugin.data.ranked import RankedDataset
from metaiqa_plugin.errors import UserError, file_name, whole_number
from metaiqa_plugin.option_yaml import parse
from metaiqa_plugin.registration import registered
from metaiqa_plugin.train.settings import (
    HeadFirst,
    MetaSettings,
    RankingSettings,
    WarmupCosine,
)

__all__ = [
    'changed',
    'check_options',
    'find_faults',
    'option_file',
    'read_options',
    'require_data',
    'require_paths',
    'shipped_options',
]

_PACKAGE = Path(metaiqa_plugin.__file__).parent
SHIPPED = next(
    (
        folder
        for folder in (_PACKAGE / 'options', _PACKAGE.parent / 'options')
        if folder.is_dir()
    ),
    _PACKAGE / 'options',
)
"""The option files that come with the package: in it, or beside it in a checkout."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOP = _names(
    'name model_type num_gpu manual_seed datasets network path train val logger '
    'dist_params find_unused_parameters'
)
SECTIONS = {
    'path': _names('pretrain_network resume_state ignore_resume_networks'),
    'val': _names('val_freq save_img pbar key_metric metrics'),
    'logger': _names(
        'print_freq save_checkpoint_freq save_latest_freq keep_states use_tb_logger '
        'log_imgs_freq wandb'
    ),
    'train': _names(
        'optim scheduler total_epoch total_iter warmup_iter mos_loss_opt '
        'metric_loss_opt use_ref batchnorm head_first meta ranking'
    ),
}
REQUIRED = (
    'name model_type num_gpu datasets.train.batch_size_per_gpu '
    'datasets.train.num_worker_per_gpu network path train.optim train.scheduler '
    'logger.print_freq logger.save_latest_freq logger.use_tb_logger'
).split()
PYIQA_DATASET_OPTIONS = LOADER_OPTIONS | _names(
    'dataroot_target dataroot_ref meta_info_file split_file split_index split_ratio '
    'override_phase mos_range mos_normalize lower_better augment img_range'
)
OUR_DATASETS = {
    'EpisodeDataset': EpisodeDataset,
    'LabelledDataset': LabelledDataset,
    'RankedDataset': RankedDataset,
}
LARGEST_SEED = 2**32 - 1
"""That NumPy's global generator takes."""

PATHS = ('meta_info_file', 'dataroot_target', 'dataroot_ref', 'split_file', 'photos')
AUGMENTATIONS = _names(
    'random_crop center_crop resize adaptive_resize random_square_resize '
    'random_arp_resize ada_pad rot90 randomerase hflip vflip totensor'
)


def shipped_options(kind: Literal['train', 'benchmark']) -> list[Path]:
    """The option files that come with the package; those in fewer folders first."""
    found = sorted((SHIPPED / kind).rglob('*.yml'))
    return sorted(found, key=lambda path: len(path.parts))


def option_file(name: str, kind: Literal['train', 'benchmark']) -> str:
    """The file that an option file is asked for by.

    Args:
        name: a path; or the end of one that comes with the package, with or without
            ``.yml``, such as ``metaiqa_kodak`` or ``small/authentic_livec``.
        kind: what it is for.

    Returns:
        ``name`` itself where there is such a file, or none.
    """
    wanted = Path(name if name.endswith('.yml') else f'{name}.yml').parts
    if Path(name).is_file():
        return name
    shipped = shipped_options(kind)
    return next((str(p) for p in shipped if p.parts[-len(wanted) :] == wanted), name)


def read_options(path: str | os.PathLike) -> dict[str, Any]:
    """The parsed YAML file; reading it runs nothing that it says.

    Raises:
        UserError: no such file, or no YAML mapping in it.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        raise UserError(
            f'-opt {name!r}: no such option file; metaiqa options lists those that '
            'come with the package'
        )
    try:
        text = Path(name).read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise UserError(f'-opt {name!r} is not a YAML file: {error}') from error
    except OSError as error:
        raise UserError(f'-opt {name!r} cannot be read: {error.strerror}') from error
    options = parse(text, f'-opt {name!r}')
    if not isinstance(options, dict):
        raise UserError(f'-opt {name!r} holds no options')
    return options


def changed(
    options: Mapping[str, Any], change: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """A copy of ``options`` with values set by dotted keys.

    None in the way becomes a block; ``*`` in a key stands for every block there, as
    in ``datasets.*.store``.

    Raises:
        UserError: the parent of a key is neither a block nor missing.
    """
    result = copy.deepcopy(dict(options))
    for path, value in change.items():
        *parents, last = str(path).split('.')
        blocks = {'': result}
        for parent in parents:
            blocks = dict(_inside(blocks, parent, f'{where}: change of {path!r}'))
        for block in blocks.values():
            block[last] = copy.deepcopy(value)
    return result


def _inside(
    blocks: Mapping[str, dict], wanted: str, where: str
) -> Iterator[tuple[str, dict]]:
    """Blocks by their path, one level below; missing ones are made."""
    for path, block in blocks.items():
        for key in list(block) if wanted == '*' else [wanted]:
            if block.get(key) is None:
                block[key] = {}
            inner, below = block[key], f'{path}.{key}'.lstrip('.')
            if not isinstance(inner, dict):
                raise UserError(f'{where}: {below} is {inner!r}, no block of options')
            yield below, inner


def check_options(options: dict[str, Any], source: str) -> None:
    """Raises UserError with all faults of an option file on one line."""
    faults = list(find_faults(options))
    if faults:
        raise UserError(f'{source}: ' + '; '.join(faults))


def find_faults(options: dict[str, Any]) -> Iterator[str]:
    """What is missing in the options, and which keys nobody reads."""
    yield from (f'{key} is missing' for key in REQUIRED if not _has(options, key))
    if 'name' in options:
        yield from _raised(file_name, 'name', options['name'])
    yield from _unknown('', options, TOP)
    seed = options.get('manual_seed')
    if seed is not None:
        yield from _raised(whole_number, 'manual_seed', seed, 0, LARGEST_SEED)
    for section, known in SECTIONS.items():
        yield from _unknown(section, options.get(section), known)
    yield from _signature('network', options.get('network'), 'network')
    train = options.get('train') or {}
    for loss in ('mos_loss_opt', 'metric_loss_opt'):
        yield from _signature(f'train.{loss}', train.get(loss), 'loss')
    yield from _torch_class('train.optim', train.get('optim'), torch.optim)
    yield from _scheduler_faults(train.get('scheduler'))
    for settings in (HeadFirst, MetaSettings, RankingSettings):
        yield from _raised(settings.from_options, train.get(settings.BLOCK) or {})
    for name, metric in ((options.get('val') or {}).get('metrics') or {}).items():
        allowed = {'better'}
        yield from _signature(f'val.metrics.{name}', metric, 'metric', allowed)
    for phase, block in (options.get('datasets') or {}).items():
        yield from _dataset_faults(f'datasets.{phase}', block)


def require_data(options: dict[str, Any]) -> None:
    """Raises UserError where a folder or csv of a data set is not there.

    Args:
        options: without faults, see :func:`check_options`.
    """
    for phase, block in options['datasets'].items():
        where = f'datasets.{phase}'
        parts = [block]
        ours = OUR_DATASETS.get(block['type'])
        if ours is not None and block.get('photos') is None:
            databases, _ = split_block(block, ours.configure)
            databases.pop('store', None)
            found = named_databases(databases, block['name'], where)
            parts = [vars(database) for _, database in found]
        for part in parts:
            require_paths(part, where)


def require_paths(block: Mapping[str, Any], where: str) -> None:
    """Raises UserError where a folder or file of a block is not there."""
    for key in PATHS:
        path = block.get(key)
        if path is not None and not os.path.exists(str(path)):
            raise UserError(
                f'{where}.{key}={str(path)!r} is not there; metaiqa prepare or '
                'metaiqa synthesize makes it, as the first lines of the option file '
                'say, or name another'
            )


def _raised(check: Callable, *arguments: Any) -> Iterator[str]:
    try:
        check(*arguments)
    except UserError as error:
        yield str(error)


def _has(options: Any, path: str) -> bool:
    for key in path.split('.'):
        if not isinstance(options, dict) or key not in options:
            return False
        options = options[key]
    return True


def _dataset_faults(where: str, block: Any) -> Iterator[str]:
    if not isinstance(block, dict) or not {'name', 'type'} <= set(block):
        yield f'{where} needs name and type'
        return
    ours = OUR_DATASETS.get(block['type'])
    if ours is not None:
        yield from _unknown(where, block, block_options(ours.configure))
        databases, own = split_block(block, ours.configure, strict=False)
        databases.pop('store', None)
        if own.get('photos') is None:
            yield from _raised(named_databases, databases, block['name'], where)
        return
    yield from _unknown(where, block, PYIQA_DATASET_OPTIONS)
    yield from _unknown(f'{where}.augment', block.get('augment'), AUGMENTATIONS)


def _unknown(where: str, block: Any, known: set[str] | frozenset[str]) -> Iterator[str]:
    if block is None:
        return
    if not isinstance(block, dict):
        yield f'{where} is {type(block).__name__}, expected a block of options'
        return
    prefix = f'{where}.' if where else ''
    for key in block:
        if key not in known:
            yield f'unknown option {prefix}{key} (known: {", ".join(sorted(known))})'


def _signature(
    where: str,
    block: Any,
    kind: Literal['network', 'loss', 'metric'],
    extra: set[str] | frozenset[str] = frozenset(),
) -> Iterator[str]:
    """``type`` is registered and takes the other keys."""
    if block is None:
        return
    if not isinstance(block, dict) or 'type' not in block:
        yield f'{where}.type is missing'
        return
    try:
        target = registered(kind, str(block['type']))
    except KeyError as error:
        yield f'{where}.type: {error.args[0]}'
        return
    yield from _arguments(where, block, target, extra)


def _scheduler_faults(block: Any) -> Iterator[str]:
    if isinstance(block, dict) and block.get('type') == WarmupCosine.__name__:
        yield from _arguments('train.scheduler', block, WarmupCosine, frozenset())
        return
    yield from _torch_class('train.scheduler', block, torch.optim.lr_scheduler)


def _torch_class(where: str, block: Any, module) -> Iterator[str]:
    if block is None:
        return
    if not isinstance(block, dict) or 'type' not in block:
        yield f'{where}.type is missing'
        return
    target = getattr(module, block['type'], None)
    if target is None:
        if block['type'] not in ('MultiStepRestartLR', 'CosineAnnealingRestartLR'):
            yield f'{where}.type: torch has no {block["type"]!r}'
        return
    rates = {key for key in block if key.startswith(('lr_', 'weight_decay_'))}
    yield from _arguments(where, block, target, rates)


def _arguments(where: str, block: dict, target, extra) -> Iterator[str]:
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = {parameter.name for parameter in parameters} | set(extra) | {'type'}
    yield from _unknown(where, block, known)
