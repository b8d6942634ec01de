"""Reading a benchmark file: every fault is found before anything runs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metaiqa_plugin.benchmark.methods import Method, Stage, read_method
from metaiqa_plugin.benchmark.protocols import PROTOCOLS, Database, Part, Split
from metaiqa_plugin.data.database_block import database_options
from metaiqa_plugin.errors import UserError, file_name, whole_number
from metaiqa_plugin.train.options import read_options

__all__ = ['BenchmarkFile', 'read_benchmark_file']

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
class BenchmarkFile:
    """What a benchmark file says.

    Attributes:
        path: of the file.
        options: its content.
        databases: by name.
        splits: of its protocol.
        methods: in order; the points of a sweep come first.
    """

    path: str
    options: Mapping[str, Any]
    databases: Mapping[str, Database]
    splits: Sequence[Split]
    methods: Sequence[Method]

    def seeds(self, method: Method) -> Sequence[int]:
        """Nothing of a metric is drawn: one seed stands for all."""
        seeds = self.options.get('seeds', [0])
        protocol = self.options['protocol']['type']
        drawn = method.kind != 'metric' and protocol != 'runtime'
        return seeds if drawn else seeds[:1]


def read_benchmark_file(path: str) -> BenchmarkFile:
    """A file of options/benchmark; reads the csv of its databases.

    Raises:
        UserError: whatever is wrong with the file, its databases or its splits.
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
    for split in splits:
        _refuse_leaks(path, split, databases)
    return BenchmarkFile(path, options, databases, splits, _methods(path, options))


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
        unknown = sorted(set(options.get('change') or {}) - {'start', 'prior', 'adapt'})
        faults += [f'change.{key}: expected start, prior or adapt' for key in unknown]
        faults += list(_value_faults(options))
    if faults:
        raise UserError(f'{path}: ' + '; '.join(faults))


def _value_faults(options: Mapping[str, Any]) -> Iterator[str]:
    names = [('name', options['name'])]
    for block in ('databases', 'methods'):
        names += [(f'{block}: name', name) for name in options[block]]
    for where, name in names:
        try:
            file_name(where, name)
        except UserError as error:
            yield str(error)
    seeds = options.get('seeds', [0])
    whole = isinstance(seeds, list) and all(
        type(seed) is int and seed >= 0 for seed in seeds
    )
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


def _refuse_leaks(path: str, split: Split, databases: Mapping[str, Database]) -> None:
    """Whatever name an image's database goes by."""

    def files(part: Part) -> set[str]:
        rows = databases[part.database].rows
        folder = os.path.realpath(rows.folders[0])
        return {os.path.join(folder, rows.images[index]) for index in part.rows}

    learnt = {'protocol.source': split.source, 'its train part': (split.train,)}
    for name, test in split.tests.items():
        tested = files(test)
        for where, parts in learnt.items():
            for part in filter(None, parts):
                seen = len(tested & files(part))
                if seen:
                    raise UserError(
                        f'{path}: {where} ({part.database}) has {seen} of '
                        f'{len(tested)} images that split {split.name} tests on '
                        f'({name}); learn from another database, or from a split'
                    )


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


def _database(name: str, block: Any) -> Database:
    if not isinstance(block, dict):
        raise UserError(f'databases.{name}={block!r}: expected a block of options')
    if 'split_index' in block:
        raise UserError(f'databases.{name}: split_index is for the protocol to say')
    options = {key: value for key, value in block.items() if key != 'store'}
    options['split_index'] = None
    options = database_options(options, f'databases.{name}')
    return Database(name, options, block.get('store'))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
