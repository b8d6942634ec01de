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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import changed, option_file, read_options

__all__ = ['STAGES', 'Method', 'Stage', 'read_methods']

STAGES = ('start', 'prior', 'adapt')
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
    points = sweep.get('points')
    if (
        set(sweep) != {'method', 'points'}
        or not isinstance(points, Mapping)
        or not all(isinstance(values, list) and values for values in points.values())
    ):
        raise UserError(
            f'sweep={sweep!r}: expected method and points, a block of lists'
        )
    wanted = sweep['method']
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
            changed = {**base.prior.change, SYMBOLS.get(name, name): value}
            prior = Stage(base.prior.file, changed)
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
    if not isinstance(block, Mapping):
        raise UserError(f'{where}={block!r}: expected a block of options')
    kinds = [kind for kind, keys in KEYS.items() if set(block) & (keys - {'arguments'})]
    if len(kinds) != 1:
        raise UserError(
            f'{where} has the keys {sorted(block)}; expected start, prior and/or '
            'adapt, or metric, or features'
        )
    (kind,) = kinds
    unknown = sorted(set(block) - KEYS[kind])
    if unknown:
        raise UserError(
            f'{where}: unknown keys {unknown}; this one takes {sorted(KEYS[kind])}'
        )
    if kind == 'trained':
        stages = {
            key: _stage(f'{where}.{key}', value)
            for key, value in block.items()
            if value is not None
        }
        return Method(name, kind, **stages)
    arguments = block.get('arguments') or {}
    if not isinstance(arguments, Mapping):
        raise UserError(f'{where}.arguments={arguments!r}: expected a block')
    key = 'metric' if kind == 'metric' else 'features'
    if not isinstance(block[key], str):
        raise UserError(f'{where}.{key}={block[key]!r}: expected a name')
    return Method(name, kind, arguments=arguments, **{key: block[key]})


def _stage(where: str, block: Any) -> Stage:
    block = {'file': block} if isinstance(block, str) else block
    if not isinstance(block, Mapping) or not isinstance(block.get('file'), str):
        raise UserError(
            f'{where}={block!r}: expected an option file, or file and change'
        )
    unknown = sorted(set(block) - {'file', 'change'})
    change = block.get('change') or {}
    if unknown or not isinstance(change, Mapping):
        raise UserError(
            f'{where}: unknown keys {unknown}, change {change!r}; expected file, and '
            'change: a block of dotted keys'
        )
    return Stage(block['file'], change)
