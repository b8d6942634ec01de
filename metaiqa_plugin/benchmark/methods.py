"""What a benchmark file may compare: networks that are trained, metrics, regressions.

::

    methods:
      MetaIQA:                        # a network, trained once, twice or thrice
        start: options/train/RankIQA/rank_kodak.yml
        prior: options/train/MetaIQA/metaiqa_kodak.yml
        adapt:
          file: options/train/MetaIQA/adapt_livec.yml
          change: {train.total_epoch: 4}
      NIQE: {metric: niqe}            # any no-reference metric of pyiqa, as it is
      BRISQUE: {features: brisque}    # features, and a support vector regression
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.protocols import Part, block_of
from metaiqa_plugin.data.datasets import DATABASE_OPTIONS
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import (
    OUR_DATASETS,
    changed,
    check_options,
    option_file,
    read_options,
)

__all__ = ['STAGES', 'START', 'Method', 'Stage', 'read_methods']

STAGES = ('start', 'prior', 'adapt')
START = 'the prior'
"""Stands for the weights that a training starts from until the cell runs."""

SYMBOLS = {
    'k': 'datasets.train.batch_size_per_gpu',
    'S': 'train.meta.steps',
    'alpha': 'train.meta.alpha',
    'beta': 'train.optim.lr',
}
"""The paper's symbols in a sweep; other names are dotted keys of the prior's file."""

KEYS = {
    'trained': {*STAGES},
    'metric': {'metric', 'arguments'},
    'regressed': {'features', 'arguments'},
}
CURVE_METRICS = {name: {'type': f'calculate_{name}'} for name in ('srcc', 'plcc')}


@dataclass(frozen=True)
class Stage:
    """One training: an option file and what is changed in it.

    Attributes:
        file: the option file, see ``option_file``.
        change: values by dotted key, e.g. ``{'train.meta.steps': 1}``.
    """

    file: str
    change: Mapping[str, Any] = field(default_factory=dict)

    def options(self, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options: the file, then ``change``, then the stage's own changes.

        Raises:
            UserError: no such file; a key whose parent is not a block.
        """
        change = {**(change or {}), **self.change}
        file = option_file(self.file, 'train')
        return changed(read_options(file), change, self.file)

    def training(
        self,
        common: Mapping[str, Any] | None,
        learned: Sequence[Part],
        seed: int,
        starts_from_prior: bool,
        curve_of: Part | None = None,
        min_steps: int = 0,
    ) -> dict[str, Any]:
        """The options of one training of a cell, bent to what it may see.

        What the file says about data, validation and logging is replaced; all else is
        the file's, then ``common``, then the stage's own changes.
        ``path.pretrain_network`` is ``START`` where a training came before.

        Args:
            common: changes to the files of all methods.
            learned: the images to learn from; a batch larger than all is made as small.
            seed: of weights, batches and crops.
            starts_from_prior: whether a training came before.
            curve_of: images to validate on after each epoch; None: no validation.
            min_steps: where the epochs of the file are fewer steps, there are more
                epochs, and a schedule as long as the training gets as long.

        Raises:
            UserError: a fault in the options; all of them are named.
        """
        options = self.options(common)
        name = str(options.get('name', Path(self.file).stem))
        block = (options.get('datasets') or {}).get('train')
        if not isinstance(block, dict) or block.get('type') not in OUR_DATASETS:
            raise UserError(
                f'{self.file}: datasets.train.type must be one of '
                f'{sorted(OUR_DATASETS)}, which can read any list of images'
            )
        replaced = {*DATABASE_OPTIONS, 'databases', 'store'}
        own = {key: value for key, value in block.items() if key not in replaced}
        train = own | _learnt_from(learned) | {'seed': seed}
        options['datasets'] = {'train': train}
        images = sum(map(len, learned))
        if block['type'] == 'LabelledDataset':
            size = min(train['batch_size_per_gpu'], images)
            train['batch_size_per_gpu'] = size
            _lengthen(options['train'], images // size, min_steps)
        options.pop('val', None)
        if curve_of is not None:
            of = {'name': 'test', 'type': 'LabelledDataset', 'override_phase': 'test'}
            options['datasets']['val'] = curve_of.block() | of
            options['val'] = {
                'val_freq': images // train['batch_size_per_gpu'],
                'save_img': False,
                'key_metric': 'srcc',
                'metrics': CURVE_METRICS,
            }
        options |= {'name': 'run', 'manual_seed': seed}
        options['path'] = dict(options.get('path') or {})
        if starts_from_prior or 'path.pretrain_network' not in self.change:
            options['path']['pretrain_network'] = START if starts_from_prior else None
        kept = {
            key: options['logger'][key] for key in ('print_freq', 'save_latest_freq')
        }
        options['logger'] = kept | {
            'save_checkpoint_freq': 10**9,
            'keep_states': 1,
            'use_tb_logger': False,
        }
        check_options(options, f'{self.file} (experiments call it {name})')
        return options


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes:
        name: as the tables show it.
        kind: ``'trained'``, ``'metric'`` or ``'regressed'``.
        start, prior: trained: what it learns from the source, one after the other, if
            it does.
        adapt: trained: what it learns from labelled images of the target.
        metric: a name that ``pyiqa.create_metric`` knows.
        features: a key of ``handcrafted.FEATURES``.
        arguments: of the metric or of the features.
        facets: of a sweep: the values of this point.
    """

    name: str
    kind: str
    start: Stage | None = None
    prior: Stage | None = None
    adapt: Stage | None = None
    metric: str | None = None
    features: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> list[tuple[str, Stage]]:
        """The trainings on the source in their order, with their keys."""
        stages = [('start', self.start), ('prior', self.prior)]
        return [(key, stage) for key, stage in stages if stage is not None]


def read_methods(
    blocks: Mapping[str, Any],
    sweep: Mapping[str, Any] | None = None,
    change: Mapping[str, Any] | None = None,
) -> list[Method]:
    """The methods of a benchmark file; the points of a sweep come first.

    Args:
        blocks: by name.
        sweep: ``method``, whose prior is varied, and ``points``, values by parameter.
        change: of the option files of all priors.

    Raises:
        UserError: a block that is not a method, or a sweep of something missing.
    """
    methods = [_method(name, block) for name, block in blocks.items()]
    if sweep is None:
        return methods
    block_of('sweep', sweep, ('method', 'points'))
    points = block_of('sweep.points', sweep.get('points'))
    for name, values in points.items():
        if not isinstance(values, list) or not values:
            raise UserError(f'sweep.points.{name}={values!r}: expected a list')
    wanted = sweep.get('method')
    bases = [method for method in methods if method.name == wanted and method.prior]
    if not bases:
        raise UserError(f'sweep.method={wanted!r}: expected a method with a prior')
    others = [method for method in methods if method.name != wanted]
    return [*_points(*bases, points, change), *others]


def _points(
    base: Method, points: Mapping[str, Sequence], change: Mapping[str, Any] | None
) -> list[Method]:
    """The base, and each value of each parameter with the others as in the base."""
    resolved = base.prior.options(change)
    usual = {name: _at(resolved, SYMBOLS.get(name, name)) for name in points}
    found = {}
    for name, values in points.items():
        for value in values:
            facets = usual | {name: value}
            label = ', '.join(f'{key}={item}' for key, item in facets.items())
            own = {**base.prior.change, SYMBOLS.get(name, name): value}
            prior = Stage(base.prior.file, own)
            point = replace(base, name=label, prior=prior, facets=facets)
            found.setdefault(label, point)
    return list(found.values())


def _at(options: Mapping[str, Any], path: str) -> Any:
    for key in path.split('.'):
        if not isinstance(options, Mapping) or key not in options:
            raise UserError(f'sweep.points: the file of the prior has no {path}')
        options = options[key]
    return options


def _method(name: str, block: Any) -> Method:
    """A method of a benchmark file.

    Raises:
        UserError: a block of none of the three kinds, or with a key of another kind.
    """
    where = f'methods.{name}'
    given = {*block_of(where, block)} - {'arguments'}
    kinds = [kind for kind, keys in KEYS.items() if given & keys]
    if len(kinds) != 1:
        raise UserError(
            f'{where} has the keys {sorted(block)}; expected start, prior and/or '
            'adapt, or metric, or features'
        )
    (kind,) = kinds
    block_of(where, block, KEYS[kind])
    if kind == 'trained':
        given = {key: value for key, value in block.items() if value is not None}
        stages = {key: _stage(f'{where}.{key}', given[key]) for key in given}
        return Method(name, kind, **stages)
    arguments = block_of(f'{where}.arguments', block.get('arguments') or {})
    key = 'metric' if kind == 'metric' else 'features'
    if not isinstance(block[key], str):
        raise UserError(f'{where}.{key}={block[key]!r}: expected a name')
    return Method(name, kind, arguments=arguments, **{key: block[key]})


def _stage(where: str, block: Any) -> Stage:
    block = {'file': block} if isinstance(block, str) else block
    block_of(where, block, ('file', 'change'))
    if not isinstance(block.get('file'), str):
        raise UserError(f'{where}.file={block.get("file")!r}: expected an option file')
    return Stage(block['file'], block_of(f'{where}.change', block.get('change') or {}))


def _learnt_from(learned: Sequence[Part]) -> dict[str, Any]:
    databases = [part.database for part in learned]
    stores = {database.store for database in databases}
    if len(stores) > 1:
        raise UserError(
            f'databases {[database.name for database in databases]}: one training '
            f'reads them all, so their store must be the same, not {stores}'
        )
    store = {} if stores == {None} else {'store': stores.pop()}
    blocks = [part.block() for part in learned]
    if len(blocks) == 1:
        return blocks[0] | store
    for database, block in zip(databases, blocks, strict=True):
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
