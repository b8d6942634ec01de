"""A training's option file, bent to what a protocol lets it see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.methods import Stage
from metaiqa_plugin.benchmark.protocols import Database
from metaiqa_plugin.data.database_block import DATABASE_OPTIONS
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import OUR_DATASETS, changed, check_options

__all__ = [
    'START',
    'TEST_TABLE',
    'TRAIN_TABLE',
    'located',
    'stage_options',
    'train_tables',
]

TRAIN_TABLE = 'train.csv'
TEST_TABLE = 'test-{}.csv'
START = 'the prior'
"""Stands for the weights that a training starts from until the cell runs."""

CURVE_METRICS = {
    'srcc': {'type': 'calculate_srcc'},
    'plcc': {'type': 'calculate_plcc'},
}


def stage_options(
    stage: Stage,
    common: Mapping[str, Any],
    databases: Sequence[Database],
    images: int,
    seed: int,
    starts_from_prior: bool,
    curve_of: Database | None = None,
    least_steps: int = 0,
) -> dict[str, Any]:
    """The options of one training of a cell.

    What the file says about data, validation and logging is replaced; all else is the
    file's, then ``common``, then the stage's own changes. Paths are still names within
    the cell's folder, see :func:`located`.

    Args:
        stage: file and changes.
        common: changes to the files of all methods.
        databases: that the images are of.
        images: how many there are to learn from; a larger batch is made as small.
        seed: of weights, batches and crops.
        starts_from_prior: whether a training came before.
        curve_of: database to validate on after each epoch; None: no validation.
        least_steps: where the epochs of the file are fewer steps, there are more
            epochs, and a schedule as long as the training gets as long.

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
    own = {
        key: value
        for key, value in block.items()
        if key not in DATABASE_OPTIONS and key not in ('databases', 'store')
    }
    labelled = block['type'] == 'LabelledDataset'
    train = own | _learnt_from(databases) | {'seed': seed}
    options['datasets'] = {'train': train}
    if labelled:
        size = min(train['batch_size_per_gpu'], images)
        train['batch_size_per_gpu'] = size
        _lengthen(options['train'], images // size, least_steps)
    options.pop('val', None)
    if curve_of is not None:
        options['datasets']['val'] = {
            'name': 'test',
            'type': 'LabelledDataset',
            **_images(curve_of, TEST_TABLE.format(curve_of.name)),
            'override_phase': 'test',
        }
        options['val'] = {
            'val_freq': images // train['batch_size_per_gpu'],
            'save_img': False,
            'key_metric': 'srcc',
            'metrics': CURVE_METRICS,
        }
    options |= {'name': 'run', 'manual_seed': seed}
    start = {'pretrain_network': START} if starts_from_prior else {}
    if not starts_from_prior and 'path.pretrain_network' not in stage.change:
        start = {'pretrain_network': None}
    options['path'] = {**(options.get('path') or {}), **start}
    options['logger'] = {
        'print_freq': options['logger']['print_freq'],
        'save_checkpoint_freq': 10**9,
        'save_latest_freq': options['logger']['save_latest_freq'],
        'keep_states': 1,
        'use_tb_logger': False,
    }
    check_options(options, f'{stage.file} (experiments call it {name})')
    return options


def located(
    options: Mapping[str, Any], folder: Path, start: str | None
) -> dict[str, Any]:
    """Options with the paths of a cell in place of their names.

    Args:
        options: of :func:`stage_options`.
        folder: of the cell, with its tables.
        start: weights in the place of ``START``.
    """
    change: dict[str, Any] = {}
    for phase, block in options['datasets'].items():
        where = f'datasets.{phase}'
        if 'databases' in block:
            parts = [_in_folder(part, folder) for part in block['databases']]
            change[f'{where}.databases'] = parts
        else:
            change[where] = _in_folder(block, folder)
    if options['path'].get('pretrain_network') == START:
        change['path.pretrain_network'] = start
    return changed(options, change, str(folder))


def train_tables(databases: Sequence[Database]) -> list[str]:
    """Names of the tables of the images to learn from, one a database."""
    if len(databases) == 1:
        return [TRAIN_TABLE]
    return [f'train-{database.name}.csv' for database in databases]


def _learnt_from(databases: Sequence[Database]) -> dict[str, Any]:
    tables = train_tables(databases)
    blocks = [_images(*pair) for pair in zip(databases, tables, strict=True)]
    stores = {database.store for database in databases}
    if len(stores) > 1:
        raise UserError(
            f'databases {[database.name for database in databases]}: one training '
            f'reads them all, so their store must be the same, not {stores}'
        )
    store = {} if stores == {None} else {'store': stores.pop()}
    if len(blocks) == 1:
        return blocks[0] | store
    named = [
        {'name': database.name} | block
        for database, block in zip(databases, blocks, strict=True)
    ]
    return {'databases': named} | store


def _images(database: Database, table: str) -> dict[str, Any]:
    return {
        'meta_info_file': table,
        'dataroot_target': str(database.options.dataroot_target),
        'mos_range': [0, 1],
    }


def _in_folder(block: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {**block, 'meta_info_file': str(folder / block['meta_info_file'])}


def _lengthen(train: dict[str, Any], per_epoch: int, least_steps: int) -> None:
    epochs = train.get('total_epoch')
    if epochs is None or epochs * per_epoch >= least_steps:
        return
    train['total_epoch'] = math.ceil(least_steps / per_epoch)
    schedule = train.get('scheduler') or {}
    if schedule.get('T_max') == epochs:
        schedule['T_max'] = train['total_epoch']
