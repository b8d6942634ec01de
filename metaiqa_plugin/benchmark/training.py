"""A training's option file, bent to what a protocol lets it see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.methods import Stage
from metaiqa_plugin.benchmark.parts import LabelledDatabase, Part
from metaiqa_plugin.data.datasets import DATABASE_OPTIONS
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import OUR_DATASETS, check_options

__all__ = ['START', 'Learned', 'stage_options']

START = 'the prior'
"""Stands for the weights that a training starts from until the cell runs."""

CURVE_METRICS = {
    'srcc': {'type': 'calculate_srcc'},
    'plcc': {'type': 'calculate_plcc'},
}
Learned = tuple[LabelledDatabase, Part]


def stage_options(
    stage: Stage,
    common: Mapping[str, Any],
    learned: Sequence[Learned],
    seed: int,
    starts_from_prior: bool,
    curve_of: Learned | None = None,
    min_steps: int = 0,
) -> dict[str, Any]:
    """The options of one training of a cell.

    What the file says about data, validation and logging is replaced; all else is the
    file's, then ``common``, then the stage's own changes. ``path.pretrain_network`` is
    ``START`` where a training came before.

    Args:
        stage: file and changes.
        common: changes to the files of all methods.
        learned: the images to learn from; a batch larger than all is made as small.
        seed: of weights, batches and crops.
        starts_from_prior: whether a training came before.
        curve_of: images to validate on after each epoch; None: no validation.
        min_steps: where the epochs of the file are fewer steps, there are more epochs,
            and a schedule as long as the training gets as long.

    Raises:
        UserError: a fault in the options; all of them are named.
    """
    options = stage.options(common)
    name = str(options.get('name', Path(stage.file).stem))
    block = (options.get('datasets') or {}).get('train')
    if not isinstance(block, dict) or block.get('type') not in OUR_DATASETS:
        raise UserError(
            f'{stage.file}: datasets.train.type must be one of {sorted(OUR_DATASETS)}, '
            'which can read any list of images'
        )
    replaced = {*DATABASE_OPTIONS, 'databases', 'store'}
    own = {key: value for key, value in block.items() if key not in replaced}
    train = own | _learnt_from(learned) | {'seed': seed}
    options['datasets'] = {'train': train}
    images = sum(len(part) for _, part in learned)
    if block['type'] == 'LabelledDataset':
        size = min(train['batch_size_per_gpu'], images)
        train['batch_size_per_gpu'] = size
        _lengthen(options['train'], images // size, min_steps)
    options.pop('val', None)
    if curve_of is not None:
        database, part = curve_of
        options['datasets']['val'] = {
            'name': 'test',
            'type': 'LabelledDataset',
            **database.block(part),
            'override_phase': 'test',
        }
        options['val'] = {
            'val_freq': images // train['batch_size_per_gpu'],
            'save_img': False,
            'key_metric': 'srcc',
            'metrics': CURVE_METRICS,
        }
    options |= {'name': 'run', 'manual_seed': seed}
    options['path'] = dict(options.get('path') or {})
    if starts_from_prior or 'path.pretrain_network' not in stage.change:
        options['path']['pretrain_network'] = START if starts_from_prior else None
    options['logger'] = {
        'print_freq': options['logger']['print_freq'],
        'save_checkpoint_freq': 10**9,
        'save_latest_freq': options['logger']['save_latest_freq'],
        'keep_states': 1,
        'use_tb_logger': False,
    }
    check_options(options, f'{stage.file} (experiments call it {name})')
    return options


def _learnt_from(learned: Sequence[Learned]) -> dict[str, Any]:
    stores = {database.store for database, _ in learned}
    if len(stores) > 1:
        raise UserError(
            f'databases {[database.name for database, _ in learned]}: one training '
            f'reads them all, so their store must be the same, not {stores}'
        )
    store = {} if stores == {None} else {'store': stores.pop()}
    blocks = [database.block(part) for database, part in learned]
    if len(blocks) == 1:
        return blocks[0] | store
    for (database, _), block in zip(learned, blocks, strict=True):
        block['name'] = database.name
    return {'databases': blocks} | store


def _lengthen(train: dict[str, Any], per_epoch: int, min_steps: int) -> None:
    epochs = train.get('total_epoch')
    if epochs is None or epochs * per_epoch >= min_steps:
        return
    train['total_epoch'] = math.ceil(min_steps / per_epoch)
    schedule = train.get('scheduler') or {}
    if schedule.get('T_max') == epochs:
        schedule['T_max'] = train['total_epoch']
