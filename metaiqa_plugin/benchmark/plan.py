"""From a benchmark file to a grid of cells, each described in full.

A description holds all that determines a cell's result, down to the list of images,
and nothing of where or when it runs. Work that several cells share (a prior, the
features of a database) is a cell of its own, known by a hash of its description, so
that experiments share it, too.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.methods import Method, Stage, read_method
from metaiqa_plugin.benchmark.protocols import PROTOCOLS, Database, Part, Split
from metaiqa_plugin.benchmark.stages import TEST_TABLE, TRAIN_TABLE, stage_options
from metaiqa_plugin.checks import whole_number
from metaiqa_plugin.data.database_block import DATABASE_OPTIONS
from metaiqa_plugin.data.labels import DatabaseOptions
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.options import read_options

__all__ = ['Cell', 'Plan', 'fingerprint', 'read_plan']

SHARED = 'shared'
TOP = {
    'name',
    'title',
    'about',
    'protocol',
    'databases',
    'methods',
    'seeds',
    'threads',
    'compare_with',
    'published',
    'change',
    'curve',
    'keep_weights',
    'least_steps',
    'sweep',
}
REQUIRED = ('name', 'protocol', 'databases', 'methods')
SYMBOLS = {
    'k': 'datasets.train.batch_size_per_gpu',
    'S': 'train.meta.steps',
    'alpha': 'train.meta.alpha',
    'beta': 'train.optim.lr',
}
"""The paper's symbols in a sweep; other names are dotted keys of the prior's file."""


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        folder: below the folder of all experiments.
        description: all that determines the result; ``description['kind']`` says what
            is to be done, ``description['needs']`` the folders of shared work.
        tables: csv files of labelled images, by name in the folder.
    """

    folder: str
    description: Mapping[str, Any]
    tables: Mapping[str, str]

    @property
    def label(self) -> str:
        """For people."""
        return self.description['label']

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.description)


@dataclass(frozen=True)
class Plan:
    """An experiment as its file asks for it.

    Attributes:
        source: the benchmark file.
        options: its content.
        methods: in order.
        cells: of the grid.
        shared: what cells need, each once.
        notes: combinations that have no cell, and why.
    """

    source: str
    options: Mapping[str, Any]
    methods: Sequence[Method]
    databases: Mapping[str, Database]
    cells: Sequence[Cell]
    shared: Sequence[Cell]
    notes: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        return self.options['name']

    @property
    def alone(self) -> bool:
        """Cells that measure time or memory run one after the other."""
        return self.options['protocol']['type'] == 'runtime'

    def facts(self) -> dict[str, Any]:
        """What ``plan.json`` says of the experiment itself."""
        options = self.options
        about = options.get('about') or []
        return {
            'name': self.name,
            'title': options.get('title', self.name),
            'protocol': options['protocol']['type'],
            'about': [about] if isinstance(about, str) else list(about),
            'notes': list(self.notes),
            'option_file': self.source,
            'threads': options.get('threads', 1),
            'methods': [{'name': m.name, 'kind': m.kind} for m in self.methods],
            'compare_with': options.get('compare_with'),
            'published': options.get('published'),
            'databases': {
                name: {
                    'dataroot_target': str(database.options.dataroot_target),
                    'mos_range': list(database.options.mos_range),
                    'lower_better': database.options.lower_better,
                }
                for name, database in self.databases.items()
            },
            'cells': [
                {key: cell.description[key] for key in PLACE}
                | {'folder': cell.folder.partition('/')[2]}
                for cell in self.cells
            ],
            'shared': [cell.folder for cell in self.shared],
        }


PLACE = ('method', 'split', 'seed', 'facets')


def read_plan(path: str) -> Plan:
    """The plan of a benchmark file; reads the csv of its databases.

    Raises:
        UserError: whatever is wrong with the file, its databases or the option files
            that it names, before anything runs.
    """
    options = _plain(read_options(path))
    _check_top(path, options)
    databases = {
        name: _database(name, block) for name, block in options['databases'].items()
    }
    splits = list(_splits(path, options['protocol'], databases))
    names = [split.name for split in splits]
    if len(set(names)) < len(names):
        raise UserError(f'{path}: the splits {names} are not all different')
    methods = _methods(path, options)
    grid = _Grid(options, databases)
    cells = [
        cell
        for method in methods
        for seed in _seeds(options, method)
        for split in splits
        for cell in grid.cells(method, split, seed)
    ]
    if not cells:
        raise UserError(f'{path}: no cell; {"; ".join(grid.notes) or "no split"}')
    return Plan(
        path,
        options,
        methods,
        databases,
        cells,
        list(grid.shared.values()),
        list(dict.fromkeys(grid.notes)),
    )


def fingerprint(description: Mapping[str, Any]) -> str:
    """A hash of all that determines a result."""
    fixed = {key: value for key, value in description.items() if key != 'label'}
    text = json.dumps(fixed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class _Grid:
    """Makes cells, and keeps what they share."""

    def __init__(
        self, options: Mapping[str, Any], databases: Mapping[str, Database]
    ) -> None:
        self.options, self.databases = options, databases
        self.protocol = options['protocol']['type']
        self.common = options.get('change') or {}
        self.shared: dict[str, Cell] = {}
        self.notes: list[str] = []

    def cells(self, method: Method, split: Split, seed: int) -> Iterator[Cell]:
        """One cell, or none where a method has no part in a split."""
        if self.protocol == 'runtime':
            work = self._runtime(method)
        else:
            work = getattr(self, f'_{method.kind}')(method, split, seed)
        if work is None:
            return
        learn, work = work
        tables = {} if learn is None else {TRAIN_TABLE: self._table(learn)}
        tests = {}
        for name, part in split.tests.items():
            file = TEST_TABLE.format(name)
            tables[file] = self._table(part)
            tests[name] = {
                'table': file,
                'database': part.database,
                'dataroot_target': self._folder(part.database),
            }
        place = {
            'method': method.name,
            'split': split.name,
            'seed': seed,
            'facets': {**split.facets, **method.facets},
        }
        folder = '/'.join(_slug(str(part)) for part in (method.name, split.name, seed))
        yield Cell(
            f'{_slug(self.options["name"])}/cells/{folder}',
            {
                'kind': 'runtime' if self.protocol == 'runtime' else method.kind,
                **place,
                'label': f'{method.name} / {split.name} / seed {seed}',
                'needs': {},
                'training': None,
                'threads': self.options.get('threads', 1),
                'tests': tests,
                'tables': _hashes(tables),
                **work,
            },
            tables,
        )

    def _trained(self, method: Method, split: Split, seed: int):
        adapts = method.adapt is not None and split.train is not None
        if split.facets.get('labels') and not adapts:
            self.notes.append(
                f'{method.name} has no adapt: no cell after adaptation to labels'
            )
            return None
        needs = {}
        if method.prior is not None:
            if split.source is None:
                raise UserError(
                    f'methods.{method.name}.prior: protocol.source must name the '
                    'database that priors learn from'
                )
            needs['prior'] = self._prior(method, split.source, seed)
        elif not adapts:
            raise UserError(
                f'methods.{method.name} has no prior, and split {split.name!r} has no '
                'labelled images to adapt to: it would be tested untrained'
            )
        keep = {'keep_weights': bool(self.options.get('keep_weights', False))}
        if not adapts:
            stage = method.prior.options(self._change('prior'))
            return None, keep | {'needs': needs, 'network': stage['network']}
        tests = [self.databases[part.database] for part in split.tests.values()]
        curve = self.options.get('curve', True) and len(tests) == 1
        options = stage_options(
            method.adapt,
            self._change('adapt'),
            self.databases[split.train.database],
            len(split.train),
            seed,
            starts_from_prior=bool(needs),
            curve_of=tests[0] if curve else None,
            least_steps=self.options.get('least_steps', 0),
        )
        work = {'needs': needs, 'training': options, 'network': options['network']}
        return split.train, keep | work

    def _metric(self, method: Method, split: Split, seed: int):
        return None, {'metric': method.metric, 'arguments': dict(method.arguments)}

    def _regressed(self, method: Method, split: Split, seed: int):
        from metaiqa_plugin.benchmark.handcrafted.features import FEATURES

        extractor = _extractor(method, FEATURES)
        learn = _joined(split.source, split.train)
        if learn is None:
            raise UserError(
                f'methods.{method.name}: split {split.name!r} has no labelled images '
                'to fit a regression to'
            )
        codebook = split.source or split.train if extractor.learned else None
        databases = {part.database for part in (*split.tests.values(), learn)}
        needs = {
            name: self._features(method, name, codebook, seed)
            for name in sorted(databases)
        }
        return learn, {
            'needs': needs,
            'features': method.features,
            'learn_from': learn.database,
        }

    def _runtime(self, method: Method):
        work: dict[str, Any] = {'method_kind': method.kind}
        if method.kind == 'trained':
            stage, which = (method.adapt, 'adapt')
            if stage is None:
                stage, which = (method.prior, 'prior')
            work['network'] = stage.options(self._change(which))['network']
        else:
            work['arguments'] = dict(method.arguments)
            work['metric'] = method.metric
            work['features'] = method.features
        return None, work

    def _prior(self, method: Method, source: Part, seed: int) -> str:
        options = stage_options(
            method.prior,
            self._change('prior'),
            self.databases[source.database],
            len(source),
            seed,
            starts_from_prior=False,
        )
        left_out = set(self.databases[source.database].rows.tasks) - set(
            self._tasks(source)
        )
        without = f', without {", ".join(sorted(left_out))}' if left_out else ''
        tables = {TRAIN_TABLE: self._table(source)}
        return self._share(
            f'{Path(method.prior.file).stem}{without}, seed {seed}',
            {
                'kind': 'prior',
                'label': f'prior {method.name}{without} / seed {seed}',
                'training': options,
            },
            tables,
        )

    def _features(
        self, method: Method, database: str, codebook: Part | None, seed: int
    ) -> str:
        whole = self.databases[database].whole
        tables = {'images.csv': self._table(whole)}
        work = {
            'kind': 'features',
            'label': f'features {method.name} of {database}',
            'features': method.features,
            'arguments': dict(method.arguments),
            'dataroot_target': self._folder(database),
        }
        if codebook is not None:
            tables['codebook.csv'] = self._table(codebook)
            work |= {'codebook': self._folder(codebook.database), 'seed': seed}
        return self._share(f'{method.features} of {database}', work, tables)

    def _share(
        self, name: str, work: Mapping[str, Any], tables: Mapping[str, str]
    ) -> str:
        description = {
            **work,
            'needs': {},
            'threads': self.options.get('threads', 1),
            'tables': _hashes(tables),
        }
        key = fingerprint(description)
        if key not in self.shared:
            folder = f'{SHARED}/{_slug(name)[:80]}-{key[:10]}'
            self.shared[key] = Cell(folder, description, tables)
        return self.shared[key].folder

    def _change(self, stage: str) -> Mapping[str, Any]:
        return self.common.get(stage) or {}

    def _folder(self, database: str) -> str:
        return str(self.databases[database].options.dataroot_target)

    def _tasks(self, part: Part) -> list[str]:
        rows = self.databases[part.database].rows
        return [rows.tasks[code] for code in set(rows.task_of[list(part.rows)])]

    @lru_cache(maxsize=1024)  # noqa: B019
    def _table(self, part: Part) -> str:
        rows = self.databases[part.database].rows
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(('img_name', 'mos', 'distortion', 'ref_name'))
        for index in part.rows:
            row = rows[index]
            writer.writerow((row.image, row.mos, row.task, row.reference))
        return text.getvalue()


def _check_top(path: str, options: Mapping[str, Any]) -> None:
    faults = [f'{key} is missing' for key in REQUIRED if not options.get(key)]
    faults += [
        f'unknown option {key} (known: {", ".join(sorted(TOP))})'
        for key in options
        if key not in TOP
    ]
    blocks = ('protocol', 'databases', 'methods')
    blocks += tuple(key for key in ('change', 'sweep', 'published') if options.get(key))
    faults += [
        f'{key} is {type(options[key]).__name__}, expected a block of options'
        for key in blocks
        if options.get(key) is not None and not isinstance(options[key], dict)
    ]
    if not faults:
        unknown = sorted(set(options.get('change') or {}) - {'prior', 'adapt'})
        faults += [f'change.{key}: expected prior or adapt' for key in unknown]
        faults += list(_value_faults(options))
    if faults:
        raise UserError(f'{path}: ' + '; '.join(faults))


def _value_faults(options: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(options['name'], str):
        yield f'name={options["name"]!r}: expected text'
    seeds = options.get('seeds', [0])
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        yield f'seeds={seeds!r}: expected a list of different whole numbers'
    for key, least in (('threads', 1), ('least_steps', 0)):
        try:
            whole_number(key, options.get(key, least), least)
        except UserError as error:
            yield str(error)
    for key in ('curve', 'keep_weights'):
        if not isinstance(options.get(key, True), bool):
            yield f'{key}={options[key]!r}: true or false'
    wanted = options.get('compare_with')
    if wanted is not None and wanted not in options['methods']:
        yield f'compare_with={wanted!r}: the methods are {list(options["methods"])}'


def _splits(
    path: str, block: Mapping[str, Any], databases: Mapping[str, Database]
) -> Iterator[Split]:
    if block.get('type') not in PROTOCOLS:
        raise UserError(
            f'{path}: protocol.type={block.get("type")!r}: expected one of '
            f'{list(PROTOCOLS)}'
        )
    protocol = PROTOCOLS[block['type']]
    arguments = {key: value for key, value in block.items() if key != 'type'}
    known = inspect.signature(protocol).parameters
    unknown = sorted(set(arguments) - set(known) | ({'databases'} & set(arguments)))
    missing = [
        name
        for name, parameter in known.items()
        if parameter.default is parameter.empty
        and name != 'databases'
        and name not in arguments
    ]
    if unknown or missing:
        raise UserError(
            f'{path}: protocol {block["type"]}: unknown options {unknown}, missing '
            f'{missing}; it takes {[name for name in known if name != "databases"]}'
        )
    yield from protocol(databases, **arguments)


def _methods(path: str, options: Mapping[str, Any]) -> list[Method]:
    methods = [read_method(name, block) for name, block in options['methods'].items()]
    sweep = options.get('sweep')
    if (options['protocol']['type'] == 'parameters') != (sweep is not None):
        raise UserError(f'{path}: sweep and protocol.type: parameters go together')
    if sweep is None:
        return methods
    points = sweep.get('points')
    by_name = {method.name: method for method in methods}
    if (
        set(sweep) != {'method', 'points'}
        or not isinstance(points, dict)
        or not all(isinstance(values, list) and values for values in points.values())
    ):
        raise UserError(
            f'{path}: sweep={sweep!r}: expected method and points, a block of lists'
        )
    base = by_name.get(sweep['method'])
    if base is None or base.prior is None:
        raise UserError(
            f'{path}: sweep.method={sweep["method"]!r}: expected a method with a prior'
        )
    others = [method for method in methods if method is not base]
    return [*_points(base, points, options), *others]


def _points(
    base: Method, points: Mapping[str, Sequence[Any]], options: Mapping[str, Any]
) -> Iterator[Method]:
    """The base, and each value of each parameter with the others as in the base."""
    resolved = base.prior.options((options.get('change') or {}).get('prior') or {})
    usual = {name: _at(resolved, SYMBOLS.get(name, name)) for name in points}
    seen = set()
    for name, values in points.items():
        for value in values:
            facets = usual | {name: value}
            label = ', '.join(f'{key}={item}' for key, item in facets.items())
            if label in seen:
                continue
            seen.add(label)
            change = {**base.prior.change, SYMBOLS.get(name, name): value}
            prior = Stage(base.prior.file, change)
            yield replace(base, name=label, prior=prior, facets=facets)


def _at(options: Mapping[str, Any], path: str) -> Any:
    for key in path.split('.'):
        if not isinstance(options, Mapping) or key not in options:
            raise UserError(f'sweep.points: the file of the prior has no {path}')
        options = options[key]
    return options


def _seeds(options: Mapping[str, Any], method: Method) -> Sequence[int]:
    """Nothing of a metric is drawn: one seed stands for all."""
    seeds = options.get('seeds', [0])
    drawn = method.kind != 'metric' and options['protocol']['type'] != 'runtime'
    return seeds if drawn else seeds[:1]


def _database(name: str, block: Any) -> Database:
    if not isinstance(block, dict):
        raise UserError(f'databases.{name}={block!r}: expected a block of options')
    known = DATABASE_OPTIONS - {'split_index'} | {'store'}
    unknown = sorted(set(block) - known)
    missing = sorted({'meta_info_file', 'dataroot_target'} - set(block))
    if unknown or missing:
        raise UserError(
            f'databases.{name}: unknown options {unknown}, missing {missing}; it '
            f'knows {sorted(known)}'
        )
    options = {key: value for key, value in block.items() if key != 'store'}
    return Database(name, DatabaseOptions(**options), block.get('store'))


def _extractor(method: Method, known: Mapping[str, Any]):
    if method.features not in known:
        raise UserError(
            f'methods.{method.name}.features={method.features!r}: expected one of '
            f'{sorted(known)}'
        )
    try:
        return known[method.features](**method.arguments)
    except TypeError as error:
        raise UserError(f'methods.{method.name}.arguments: {error}') from error


def _joined(source: Part | None, train: Part | None) -> Part | None:
    """What a regression learns from: the target, and the source if it is of it, too."""
    if train is None or source is None:
        return train or source
    if source.database != train.database:
        return train
    return Part(train.database, tuple(sorted({*source.rows, *train.rows})))


def _hashes(tables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in tables.items()
    }


def _slug(text: str) -> str:
    """A file name that people can read; different texts may give the same one."""
    return re.sub(r'[^\w.,=+()-]+', '_', text).strip('.') or '_'


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
