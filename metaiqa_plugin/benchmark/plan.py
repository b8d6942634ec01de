"""From a benchmark file to a grid of cells, each described in full.

Every fault of the file is found before anything runs. A description holds all that
determines a cell's result, down to the rows of each csv and its hash, and nothing of
when it runs. Work that several cells share (a prior, the features of a database) is a
cell of its own, known by a hash of its description, so that experiments share it, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.methods import STAGES, Method, Stage, read_methods
from metaiqa_plugin.benchmark.protocols import (
    LabelledDatabase,
    Part,
    Split,
    block_of,
    read_splits,
)
from metaiqa_plugin.errors import UserError, file_name, needing, whole_number
from metaiqa_plugin.train.options import option_file, read_options, require_paths

__all__ = ['BenchmarkFile', 'Cell', 'Plan', 'fingerprint', 'read_plan']

FEWEST_TESTED = 2


@dataclass(frozen=True)
class BenchmarkFile:
    """What a benchmark file says; docs/benchmark.md has the meaning of each key.

    Raises:
        UserError: a value that its key does not allow.
    """

    name: str
    protocol: Mapping[str, Any]
    databases: Mapping[str, Any]
    methods: Mapping[str, Any]
    title: str = ''
    about: str | Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    threads: int = 1
    compare_with: str | None = None
    published: Mapping[str, Any] | None = None
    change: Mapping[str, Any] = field(default_factory=dict)
    curve: bool = True
    keep_weights: bool = False
    min_steps: int = 0
    sweep: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for key in ('protocol', 'databases', 'methods', 'change', 'sweep', 'published'):
            value = getattr(self, key)
            block_of(key, {} if value is None else value)
        for key in ('name', 'protocol', 'databases', 'methods'):
            if not getattr(self, key):
                raise UserError(f'{key} is missing')
        file_name('name', self.name)
        for key in ('databases', 'methods'):
            for name in getattr(self, key):
                file_name(f'{key}: name', name)
        for key, change in block_of('change', self.change, STAGES).items():
            block_of(f'change.{key}', {} if change is None else change)
        if not isinstance(self.seeds, Sequence) or not self.seeds:
            raise UserError(f'seeds={self.seeds!r}: expected a list of whole numbers')
        for seed in self.seeds:
            whole_number('seeds', seed, minimum=0)
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f'seeds={self.seeds!r}: one stands there twice')
        whole_number('threads', self.threads)
        whole_number('min_steps', self.min_steps, minimum=0)
        for key in ('curve', 'keep_weights'):
            if not isinstance(getattr(self, key), bool):
                raise UserError(f'{key}={getattr(self, key)!r}: true or false')
        if self.compare_with is not None and self.compare_with not in self.methods:
            raise UserError(
                f'compare_with={self.compare_with!r}: the methods are '
                f'{list(self.methods)}'
            )
        if (self.protocol.get('type') == 'parameters') != (self.sweep is not None):
            raise UserError('sweep and protocol.type: parameters go together')

    @property
    def alone(self) -> bool:
        """Cells that measure time or memory run one after the other."""
        return self.protocol['type'] == 'runtime'


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        folder: below the folder of all experiments.
        description: all that determines the result; ``description['kind']`` says what
            is to be done, ``description['needs']`` the folders of shared work,
            ``description['csv']`` the hash of each csv whose rows are named.
        pool: see ``Split``.
    """

    folder: str
    description: Mapping[str, Any]
    pool: int = 0

    @property
    def label(self) -> str:
        """For people."""
        return self.description['label']

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.description)


def fingerprint(description: Mapping[str, Any]) -> str:
    """A hash of all that determines a result."""
    fixed = {key: value for key, value in description.items() if key != 'label'}
    text = json.dumps(fixed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """An experiment as its file asks for it.

    Attributes:
        path: of the file.
        file: what it says.
        databases: by name.
        methods: in order.
        cells: of the grid.
        shared: what cells need, each once.
        notes: combinations that have no cell, and why.
    """

    path: str
    file: BenchmarkFile
    databases: Mapping[str, LabelledDatabase]
    methods: Sequence[Method]
    cells: Sequence[Cell]
    shared: Sequence[Cell]
    notes: Sequence[str] = ()

    def facts(self) -> dict[str, Any]:
        """What ``plan.json`` says of the experiment itself."""
        file, place = self.file, ('method', 'split', 'seed', 'facets')
        about = [file.about] if isinstance(file.about, str) else list(file.about or ())
        return {
            'name': file.name,
            'title': file.title or file.name,
            'protocol': file.protocol['type'],
            'about': about,
            'notes': list(self.notes),
            'option_file': self.path,
            'threads': file.threads,
            'methods': [{'name': m.name, 'kind': m.kind} for m in self.methods],
            'compare_with': file.compare_with,
            'published': file.published,
            'databases': {
                name: {
                    'dataroot_target': str(database.options.dataroot_target),
                    'mos_range': list(database.options.mos_range),
                    'lower_better': database.options.lower_better,
                }
                for name, database in self.databases.items()
            },
            'cells': [
                {key: cell.description[key] for key in place}
                | {'folder': cell.folder.partition('/')[2], 'pool': cell.pool}
                for cell in self.cells
            ],
            'shared': [cell.folder for cell in self.shared],
        }


def read_plan(path: str) -> Plan:
    """The plan of a benchmark file; reads the csv of its databases.

    Raises:
        UserError: whatever is wrong with the file, its databases or the option files
            that it names, before anything runs.
    """
    path = option_file(path, 'benchmark')
    options = read_options(path)
    block_of(path, options, [key.name for key in fields(BenchmarkFile)])
    required = dict.fromkeys(('name', 'protocol', 'databases', 'methods'))
    given = {key: value for key, value in options.items() if value is not None}
    try:
        file = BenchmarkFile(**(required | given))
        databases = {
            name: LabelledDatabase(name, block)
            for name, block in file.databases.items()
        }
        for name, database in databases.items():
            table = {'meta_info_file': database.options.meta_info_file}
            require_paths(table, f'databases.{name}')
        splits = read_splits(file.protocol, databases)
        if not file.alone:
            _require_tests(splits)
        methods = read_methods(file.methods, file.sweep, file.change.get('prior'))
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    grid = _Grid(file, databases)
    cells = list(grid.cells(methods, splits))
    if not cells:
        raise UserError(f'{path}: no cell; {"; ".join(grid.notes) or "no split"}')
    if len({cell.folder for cell in cells}) < len(cells):
        raise UserError(
            f'{path}: the names of methods and splits differ only in signs that a '
            'folder name cannot have; rename them'
        )
    shared = list(grid.shared.values())
    notes = list(dict.fromkeys(grid.notes))
    return Plan(path, file, databases, methods, cells, shared, notes)


def _require_tests(splits: Sequence[Split]) -> None:
    for split in splits:
        for name, part in split.tests.items():
            if len(part) < FEWEST_TESTED:
                raise UserError(
                    f'split {split.name!r} tests on {len(part)} image of {name!r}; a '
                    f'correlation needs at least {FEWEST_TESTED}: take another split '
                    'or more images'
                )


class _Grid:
    """Makes cells, and keeps what they share."""

    def __init__(
        self, file: BenchmarkFile, databases: Mapping[str, LabelledDatabase]
    ) -> None:
        self.file, self.databases = file, databases
        self.shared: dict[str, Cell] = {}
        self.notes: list[str] = []

    def cells(
        self, methods: Sequence[Method], splits: Sequence[Split]
    ) -> Iterator[Cell]:
        """One per method, seed and split, where the method has a part in the split."""
        for method in methods:
            # nothing of a metric is drawn: one seed stands for all
            drawn = method.kind != 'metric' and not self.file.alone
            for seed in self.file.seeds if drawn else self.file.seeds[:1]:
                for split in splits:
                    cell = self._cell(method, split, seed)
                    if cell is not None:
                        yield cell

    def _cell(self, method: Method, split: Split, seed: int) -> Cell | None:
        if self.file.alone:
            kind, work, learned = 'runtime', self._runtime(method), None
        elif method.kind == 'metric':
            work = {'metric': method.metric, 'arguments': method.arguments}
            kind, learned = 'metric', None
        else:
            kind = method.kind
            make = self._regressed if kind == 'regressed' else self._trained
            work, learned = make(method, split, seed)
        if work is None:
            return None
        parts = [*split.tests.values()] + ([learned] if learned else [])
        folder = '/'.join(_slug(str(part)) for part in (method.name, split.name, seed))
        description = {
            'kind': kind,
            'method': method.name,
            'split': split.name,
            'seed': seed,
            'facets': {**split.facets, **method.facets},
            'label': f'{method.name} / {split.name} / seed {seed}',
            'needs': {},
            'training': None,
            'threads': self.file.threads,
            'tests': {name: _rows(part) for name, part in split.tests.items()},
            'train_images': len(learned) if learned else 0,
            'csv': _csv(parts),
        }
        place = f'{_slug(self.file.name)}/cells/{folder}'
        return Cell(place, description | work, split.pool)

    def _trained(
        self, method: Method, split: Split, seed: int
    ) -> tuple[dict[str, Any] | None, Part | None]:
        """What is particular to the cell, and the labelled images it learns from."""
        adapts = method.adapt is not None and split.train is not None
        if split.facets.get('labels') and not adapts:
            self.notes.append(
                f'{method.name} has no adapt: no cell after adaptation to labels'
            )
            return None, None
        needs = {}
        if method.before:
            if not split.source:
                raise UserError(
                    f'methods.{method.name}.{method.before[0][0]}: protocol.source '
                    'must name the database that priors learn from'
                )
            needs['prior'] = self._before(method, split.source, seed)
        elif not adapts:
            raise UserError(
                f'methods.{method.name} has no prior, and split {split.name!r} has no '
                'labelled images to adapt to: it would be tested untrained'
            )
        work = {'keep_weights': self.file.keep_weights, 'needs': needs}
        if not adapts:
            return work | {'network': self._network(*method.before[-1])}, None
        tests = list(split.tests.values())
        options = method.adapt.training(
            self.file.change.get('adapt'),
            [split.train],
            seed,
            starts_from_prior=bool(needs),
            curve_of=tests[0] if self.file.curve and len(tests) == 1 else None,
            min_steps=self.file.min_steps,
        )
        work |= {'training': options, 'network': options['network']}
        return work, split.train

    def _regressed(
        self, method: Method, split: Split, seed: int
    ) -> tuple[dict[str, Any], Part]:
        learned = _joined(split.source, split.train)
        if learned is None:
            raise UserError(
                f'methods.{method.name}: split {split.name!r} has no labelled images '
                'to fit a regression to'
            )
        codebook = (split.source or (split.train,)) if _learns(method) else ()
        names = {part.database.name for part in (*split.tests.values(), learned)}
        needs = {
            name: self._features(method, self.databases[name].whole, codebook, seed)
            for name in sorted(names)
        }
        learn = {'features': method.features, 'learn_from': _rows(learned)}
        return {'needs': needs} | learn, learned

    def _runtime(self, method: Method) -> dict[str, Any]:
        work: dict[str, Any] = {'method_kind': method.kind}
        if method.kind == 'trained':
            last = ('adapt', method.adapt) if method.adapt else method.before[-1]
            return work | {'network': self._network(*last)}
        if method.features is not None:
            _learns(method)
        return work | {
            'metric': method.metric,
            'features': method.features,
            'arguments': method.arguments,
        }

    def _before(self, method: Method, source: Sequence[Part], seed: int) -> str:
        """The trainings before adaptation; the folder of the last of them."""
        left_out = sorted(
            task
            for part in source
            for task in set(part.database.rows.tasks) - part.types()
        )
        without = f', without {", ".join(left_out)}' if left_out else ''
        folder = ''
        for which, stage in method.before:
            options = stage.training(
                self.file.change.get(which), source, seed, bool(folder)
            )
            work = {
                'kind': 'prior',
                'label': f'{which} {method.name}{without} / seed {seed}',
                'training': options,
                'needs': {'start': folder} if folder else {},
                'train_images': sum(map(len, source)),
            }
            name = f'{Path(stage.file).stem}{without}, seed {seed}'
            folder = self._share(name, source, work)
        return folder

    def _features(
        self, method: Method, whole: Part, codebook: Sequence[Part], seed: int
    ) -> str:
        work = {
            'kind': 'features',
            'label': f'features {method.name} of {whole.database.name}',
            'features': method.features,
            'needs': {},
            'train_images': 0,
            'images': whole.block(),
            'arguments': method.arguments,
        }
        if codebook:
            work |= {'codebook': [part.block() for part in codebook], 'seed': seed}
        name = f'{method.features} of {whole.database.name}'
        return self._share(name, [whole, *codebook], work)

    def _share(self, name: str, parts: Sequence[Part], work: Mapping[str, Any]) -> str:
        """The folder of shared work, which is added unless it is there."""
        description = {**work, 'threads': self.file.threads, 'csv': _csv(parts)}
        key = fingerprint(description)
        folder = f'shared/{_slug(name)[:80]}-{key[:10]}'
        return self.shared.setdefault(key, Cell(folder, description)).folder

    def _network(self, which: str, stage: Stage) -> dict[str, Any]:
        return stage.options(self.file.change.get(which))['network']


def _rows(part: Part) -> dict[str, Any]:
    return {'database': part.database.name, 'rows': part.block()}


def _csv(parts: Iterable[Part]) -> dict[str, str]:
    return {
        str(part.database.options.meta_info_file): part.database.sha256
        for part in parts
    }


def _learns(method: Method) -> bool:
    """Whether its features depend on images that they are learned from."""
    with needing('benchmark'):
        from metaiqa_plugin.benchmark.handcrafted import FEATURES

    if method.features not in FEATURES:
        raise UserError(
            f'methods.{method.name}.features={method.features!r}: expected one of '
            f'{sorted(FEATURES)}'
        )
    try:
        return FEATURES[method.features](**method.arguments).learned
    except TypeError as error:
        raise UserError(f'methods.{method.name}.arguments: {error}') from error


def _joined(source: Sequence[Part], train: Part | None) -> Part | None:
    """What a regression learns from: the target, and the source if it is of it, too."""
    if train is None:
        return source[0] if source else None
    same = [part.rows for part in source if part.database is train.database]
    return Part(train.database, tuple(sorted({*train.rows}.union(*same))))


def _slug(text: str) -> str:
    """A file name that people can read; different texts may give the same one."""
    return re.sub(r'[^\w.,=+()-]+', '_', text).strip('.') or '_'
