"""From a benchmark file to a grid of cells, each described in full.

A description holds all that determines a cell's result, down to the list of images,
and nothing of where or when it runs. Work that several cells share (a prior, the
features of a database) is a cell of its own, known by a hash of its description, so
that experiments share it, too.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from metaiqa_plugin.benchmark.benchmark_file import BenchmarkFile, read_benchmark_file
from metaiqa_plugin.benchmark.methods import Method, Stage
from metaiqa_plugin.benchmark.protocols import Database, Part, Split
from metaiqa_plugin.benchmark.training import (
    TEST_TABLE,
    TRAIN_TABLE,
    stage_options,
    train_tables,
)
from metaiqa_plugin.errors import UserError

__all__ = ['Cell', 'Plan', 'fingerprint', 'read_plan']

SHARED = 'shared'


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        folder: below the folder of all experiments.
        description: all that determines the result; ``description['kind']`` says what
            is to be done, ``description['needs']`` the folders of shared work.
        tables: csv files of labelled images, by name in the folder.
        pool: see ``Split``.
    """

    folder: str
    description: Mapping[str, Any]
    tables: Mapping[str, str]
    pool: int = 0

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
        file: that it comes from.
        cells: of the grid.
        shared: what cells need, each once.
        notes: combinations that have no cell, and why.
    """

    file: BenchmarkFile
    cells: Sequence[Cell]
    shared: Sequence[Cell]
    notes: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        return self.file.options['name']

    @property
    def alone(self) -> bool:
        """Cells that measure time or memory run one after the other."""
        return self.file.options['protocol']['type'] == 'runtime'

    def facts(self) -> dict[str, Any]:
        """What ``plan.json`` says of the experiment itself."""
        options = self.file.options
        about = options.get('about') or []
        return {
            'name': self.name,
            'title': options.get('title', self.name),
            'protocol': options['protocol']['type'],
            'about': [about] if isinstance(about, str) else list(about),
            'notes': list(self.notes),
            'option_file': self.file.path,
            'threads': options.get('threads', 1),
            'methods': [{'name': m.name, 'kind': m.kind} for m in self.file.methods],
            'compare_with': options.get('compare_with'),
            'published': options.get('published'),
            'databases': {
                name: {
                    'dataroot_target': str(database.options.dataroot_target),
                    'mos_range': list(database.options.mos_range),
                    'lower_better': database.options.lower_better,
                }
                for name, database in self.file.databases.items()
            },
            'cells': [
                {key: cell.description[key] for key in PLACE}
                | {'folder': cell.folder.partition('/')[2], 'pool': cell.pool}
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
    file = read_benchmark_file(path)
    grid = _Grid(file.options, file.databases)
    cells = [
        cell
        for method in file.methods
        for seed in file.seeds(method)
        for split in file.splits
        for cell in grid.cells(method, split, seed)
    ]
    if not cells:
        raise UserError(f'{path}: no cell; {"; ".join(grid.notes) or "no split"}')
    folders = [cell.folder for cell in cells]
    if len(set(folders)) < len(folders):
        raise UserError(
            f'{path}: the names of methods and splits differ only in signs that have '
            'no place in a folder name; name them otherwise'
        )
    return Plan(
        file,
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
            split.pool,
        )

    def _trained(self, method: Method, split: Split, seed: int):
        adapts = method.adapt is not None and split.train is not None
        if split.facets.get('labels') and not adapts:
            self.notes.append(
                f'{method.name} has no adapt: no cell after adaptation to labels'
            )
            return None
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
        keep = {'keep_weights': bool(self.options.get('keep_weights', False))}
        if not adapts:
            which, last = method.before[-1]
            stage = last.options(self._change(which))
            return None, keep | {'needs': needs, 'network': stage['network']}
        tests = [self.databases[part.database] for part in split.tests.values()]
        curve = self.options.get('curve', True) and len(tests) == 1
        options = stage_options(
            method.adapt,
            self._change('adapt'),
            [self.databases[split.train.database]],
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
        codebook = (split.source or (split.train,)) if extractor.learned else ()
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
                which, stage = method.before[-1]
            work['network'] = stage.options(self._change(which))['network']
        else:
            work['arguments'] = dict(method.arguments)
            work['metric'] = method.metric
            work['features'] = method.features
        return None, work

    def _before(self, method: Method, source: Sequence[Part], seed: int) -> str:
        """The trainings before adaptation; the folder of the last of them."""
        folder = ''
        for which, stage in method.before:
            needs = {'start': folder} if folder else {}
            folder = self._prior(method.name, which, stage, source, seed, needs)
        return folder

    def _prior(
        self,
        name: str,
        which: str,
        stage: Stage,
        source: Sequence[Part],
        seed: int,
        needs: Mapping[str, str],
    ) -> str:
        databases = [self.databases[part.database] for part in source]
        options = stage_options(
            stage,
            self._change(which),
            databases,
            sum(map(len, source)),
            seed,
            starts_from_prior=bool(needs),
        )
        left_out = sorted(task for part in source for task in self._left_out(part))
        without = f', without {", ".join(left_out)}' if left_out else ''
        names = train_tables(databases)
        tables = {
            table: self._table(part) for table, part in zip(names, source, strict=True)
        }
        return self._share(
            f'{Path(stage.file).stem}{without}, seed {seed}',
            {
                'kind': 'prior',
                'label': f'{which} {name}{without} / seed {seed}',
                'training': options,
                'needs': dict(needs),
            },
            tables,
        )

    def _features(
        self, method: Method, database: str, codebook: Sequence[Part], seed: int
    ) -> str:
        tables = {'images.csv': self._table(self.databases[database].whole)}
        work = {
            'kind': 'features',
            'label': f'features {method.name} of {database}',
            'features': method.features,
            'arguments': dict(method.arguments),
            'dataroot_target': self._folder(database),
        }
        if codebook:
            parts = {f'codebook-{part.database}.csv': part for part in codebook}
            tables |= {name: self._table(part) for name, part in parts.items()}
            work['codebook'] = {
                name: self._folder(part.database) for name, part in parts.items()
            }
            work['seed'] = seed
        return self._share(f'{method.features} of {database}', work, tables)

    def _share(
        self, name: str, work: Mapping[str, Any], tables: Mapping[str, str]
    ) -> str:
        description = {
            'needs': {},
            **work,
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

    def _left_out(self, part: Part) -> set[str]:
        rows = self.databases[part.database].rows
        seen = {rows.tasks[code] for code in set(rows.task_of[list(part.rows)])}
        return set(rows.tasks) - seen

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


def _joined(source: Sequence[Part], train: Part | None) -> Part | None:
    """What a regression learns from: the target, and the source if it is of it, too."""
    if train is None:
        return source[0] if source else None
    same = [part.rows for part in source if part.database == train.database]
    return Part(train.database, tuple(sorted({*train.rows}.union(*same))))


def _hashes(tables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in tables.items()
    }


def _slug(text: str) -> str:
    """A file name that people can read; different texts may give the same one."""
    return re.sub(r'[^\w.,=+()-]+', '_', text).strip('.') or '_'
