"""YAML of option files: plain values only, and numbers as YAML 1.2 writes them.

pyiqa 0.1.16 reads its files with a loader that builds, and runs, any Python object
that a file names. This one builds text, numbers, lists and blocks.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from metaiqa_plugin.errors import UserError

__all__ = ['OptionDumper', 'OptionLoader', 'dump', 'parse']

MAX_VALUES = 100_000
"""Of a file, with its aliases written out."""

FLOAT = 'tag:yaml.org,2002:float'
EXPONENT = re.compile(r'[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z')
"""Numbers of YAML 1.2 that YAML 1.1 takes for text: ``3e-4``, ``1E5``, ``1.5e3``."""

UNREADABLE = (ValueError, KeyError, IndexError, AttributeError, TypeError)
"""What PyYAML raises for ``!!float x``, ``!!bool x``, ``!!timestamp x``, ..."""


class OptionLoader(yaml.SafeLoader):
    """Blocks are dicts in the order of the file.

    Raises:
        yaml.YAMLError: no YAML; a tag of another than a plain value; a key twice in
            one block; aliases that contain themselves or stand for too much.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _Checked().size(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except UNREADABLE as error:
            kind = node.tag.rpartition(':')[2]
            raise _fault(f'{_short(node.value)} is not a valid {kind}', node) from error

    def refuse(self, node: yaml.Node) -> None:
        tag = node.tag.replace('tag:yaml.org,2002:', '!!')
        raise _fault(f'tag {_short(tag)} is not for a plain value; remove it', node)


class OptionDumper(yaml.SafeDumper):
    """Writes what :class:`OptionLoader` and pyiqa read alike."""


for _class in (OptionLoader, OptionDumper):
    _class.add_implicit_resolver(FLOAT, EXPONENT, list('-+.0123456789'))
OptionLoader.add_constructor(None, OptionLoader.refuse)


def parse(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        text: YAML, one document; empty: None.
        where: the file or argument that it comes from, for messages.

    Raises:
        UserError: it cannot be read; names ``where``, the line and the reason.
    """
    try:
        return yaml.load(text, Loader=OptionLoader)
    except yaml.reader.ReaderError as error:
        line = text.count('\n', 0, error.position) + 1
        reason = f'character {chr(error.character)!r} is not allowed in YAML'
        raise UserError(f'{where}, line {line}: {reason}') from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f', line {mark.line + 1}' if mark else ''
        reason = ', '.join(filter(None, (error.context, error.problem)))
        raise UserError(f'{where}{line}: {reason}') from error
    except RecursionError as error:
        raise UserError(f'{where}: blocks or lists are nested too deeply') from error


def dump(value: Any, **style: Any) -> str:
    """YAML of plain values, in their order.

    Args:
        value: dicts, lists, text, numbers, None.
        style: as ``yaml.dump`` takes.
    """
    return yaml.dump(value, Dumper=OptionDumper, sort_keys=False, **style)


class _Checked:
    """Measures a document's nodes, each once, and looks for keys given twice."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def size(self, node: yaml.Node) -> int:
        """How many values it holds, with aliases written out."""
        key = id(node)
        if key in self._sizes:
            return self._sizes[key]
        if key in self._open:
            raise _fault('an alias contains itself', node)
        self._open.add(key)
        total = 1 + sum(map(self.size, _children(node)))
        self._open.remove(key)
        if total > MAX_VALUES:
            raise _fault(
                f'more than {MAX_VALUES} values, with aliases written out', node
            )
        self._sizes[key] = total
        return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated(node)
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refuse_repeated(node: yaml.MappingNode) -> None:
    seen: dict[Hashable, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        before = seen.setdefault((key.tag, key.value), key)
        if before is not key:
            line = before.start_mark.line + 1
            raise _fault(
                f'key {_short(key.value)} is in line {line} already; keep one', key
            )


def _fault(reason: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, reason, node.start_mark)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
