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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import changed, read_options

__all__ = ['Method', 'Stage', 'read_method']

KEYS = {
    'trained': {'start', 'prior', 'adapt'},
    'metric': {'metric', 'arguments'},
    'regressed': {'features', 'arguments'},
}


@dataclass(frozen=True)
class Stage:
    """One training: an option file and what is changed in it.

    Attributes:
        file: the option file.
        change: values by dotted key, e.g. ``{'train.meta.steps': 1}``.
    """

    file: str
    change: Mapping[str, Any] = field(default_factory=dict)

    def options(self, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options: the file, then ``change``, then the stage's own changes.

        Raises:
            UserError: no such file; a key whose parent is no block.
        """
        options = _plain(read_options(self.file))
        return changed(options, {**(change or {}), **self.change}, self.file)


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


def read_method(name: str, block: Any) -> Method:
    """A method of a benchmark file.

    Raises:
        UserError: a block that is none of the three kinds, or has a key of another.
    """
    if not isinstance(block, Mapping):
        raise UserError(f'methods.{name}={block!r}: expected a block of options')
    kinds = [kind for kind, keys in KEYS.items() if set(block) & (keys - {'arguments'})]
    if len(kinds) != 1:
        raise UserError(
            f'methods.{name} has the keys {sorted(block)}; expected start, prior '
            'and/or adapt, or metric, or features'
        )
    kind = kinds[0]
    unknown = sorted(set(block) - KEYS[kind])
    if unknown:
        raise UserError(
            f'methods.{name}: unknown keys {unknown}; this one takes '
            f'{sorted(KEYS[kind])}'
        )
    if kind == 'trained':
        stages = {
            key: _stage(f'methods.{name}.{key}', block[key])
            for key in ('start', 'prior', 'adapt')
            if block.get(key) is not None
        }
        return Method(name, kind, **stages)
    arguments = block.get('arguments') or {}
    if not isinstance(arguments, Mapping):
        raise UserError(f'methods.{name}.arguments={arguments!r}: expected a block')
    key = 'metric' if kind == 'metric' else 'features'
    if not isinstance(block[key], str):
        raise UserError(f'methods.{name}.{key}={block[key]!r}: expected a name')
    return Method(name, kind, arguments=dict(arguments), **{key: block[key]})


def _stage(where: str, block: Any) -> Stage:
    if isinstance(block, str):
        return Stage(block)
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
    return Stage(block['file'], dict(change))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
