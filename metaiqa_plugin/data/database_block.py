"""The databases that a dataset option block names: their rows and their pixels."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import join_databases
from metaiqa_plugin.data.store import (
    PIXELS,
    ImageFiles,
    ImageStore,
    Kind,
    open_store,
)
from metaiqa_plugin.errors import UserError, file_name, one_of

__all__ = [
    'DATABASE_OPTIONS',
    'LOADER_OPTIONS',
    'DatasetImages',
    'block_options',
    'database_options',
    'named_databases',
    'require_batch',
    'split_block',
]

LOADER_OPTIONS = frozenset(
    (
        'name type phase scale use_shuffle num_worker_per_gpu batch_size_per_gpu '
        'dataset_enlarge_ratio prefetch_mode num_prefetch_queue pin_memory '
        'persistent_workers'
    ).split()
)
DATABASE_OPTIONS = frozenset(field.name for field in fields(DatabaseOptions))
DATABASE_OPTIONS |= {'database', 'root'}
"""Keys that describe one database."""

OF_ALL = frozenset({'databases', 'store'})


def block_options(configure: Callable) -> frozenset[str]:
    """Every key that the block of a dataset may have.

    Args:
        configure: the dataset's method that takes its own options.
    """
    own = set(inspect.signature(configure).parameters)
    own -= {'self', 'databases'}
    return DATABASE_OPTIONS | OF_ALL | LOADER_OPTIONS | own


def split_block(
    block: dict[str, Any], configure: Callable, strict: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys about databases, and those that ``configure`` takes.

    Raises:
        UserError: ``strict``, and there is a key that nobody knows.
    """
    known = block_options(configure)
    unknown = sorted(set(block) - known)
    if strict and unknown:
        raise UserError(
            f'dataset {block.get("name")!r}: unknown option {unknown}; it knows '
            f'{sorted(known)}'
        )
    about = DATABASE_OPTIONS | OF_ALL
    databases = {key: value for key, value in block.items() if key in about}
    own = {
        key: value
        for key, value in block.items()
        if key not in about and key not in LOADER_OPTIONS
    }
    return databases, own


def require_batch(items: int, block: dict[str, Any], what: str) -> None:
    """Raises UserError where an epoch holds no whole batch.

    pyiqa 0.1.16 drops the last, short batch: it would train on nothing and say so
    nowhere.
    """
    size = block.get('batch_size_per_gpu', 1)
    if items < size:
        raise UserError(
            f'dataset {block.get("name")!r}: batch_size_per_gpu={size} is more than '
            f'the {items} {what} of an epoch; make it smaller'
        )


class DatasetImages:
    """The labelled images of the databases in a dataset option block.

    Args:
        block: the databases, see :func:`named_databases`; and ``store``: true for an
            image store beside each database, or the folder for it.
        name: of the data set.
        phase: which part of a split to use.

    Attributes:
        rows: of all databases.

    Raises:
        UserError: a database that cannot be read, an unknown option.
    """

    def __init__(self, block: dict[str, Any], name: str, phase: str = 'train') -> None:
        block = dict(block)
        self._store = block.pop('store', None)
        if not isinstance(self._store, (bool, str, os.PathLike, type(None))):
            raise UserError(f'store={self._store!r}: expected true, or a folder')
        self._parts = [
            (name, read_rows(options, phase))
            for name, options in named_databases(block, name)
        ]
        self.rows = join_databases(self._parts)

    def files(self, resize: int) -> ImageFiles:
        """The images, decoded when they are asked for.

        Raises:
            UserError: images that are missing.
        """
        for name, rows in self._parts:
            rows.require_files(name)
        return ImageFiles(self.rows, resize)

    def pixels(self, resize: int) -> ImageFiles | ImageStore:
        """The images from the store, if the block has one, else from their files.

        Args:
            resize: shorter side in pixels; 0: as they are.

        Raises:
            UserError: an image is missing or, if there is a store, cannot be used.
        """
        return self.stored(resize) if self._store else self.files(resize)

    def stored(self, resize: int, kind: Kind = PIXELS) -> ImageStore:
        """What the store keeps of the images.

        Args:
            resize: shorter side in pixels; 0: as they are.
            kind: what it keeps of an image.

        Raises:
            UserError: the block has no store, or an image cannot be used.
        """
        if not self._store:
            raise UserError('maps are kept in the store: set store: true, or a folder')
        stores = []
        for name, rows in self._parts:
            place = self._place(rows.folders[0], name if len(self._parts) > 1 else '')
            stores.append(open_store(place, rows, resize, kind=kind))
        return ImageStore.joined(stores)

    def _place(self, images: Path, name: str) -> Path:
        if self._store is True:
            return images.with_name(f'{images.name}.store')
        return Path(self._store) / name


def named_databases(
    block: Mapping[str, Any], name: str, where: str = ''
) -> list[tuple[str, DatabaseOptions]]:
    """The databases of a dataset block.

    Args:
        block: the options of one database, see :func:`database_options`; or with
            ``database`` a list of names, each with the other options; or with
            ``databases`` a list of blocks, each with a ``name`` unless it has a
            ``database``.
        name: of the only database.
        where: the block, for messages.

    Raises:
        UserError: an option is missing, unknown or of another kind.
    """
    where = where or f'dataset {name!r}'
    block = dict(block)
    several = block.pop('databases', None)
    if isinstance(block.get('database'), list) and several is None:
        names = block.pop('database')
        several = [{**block, 'database': each} for each in names]
        block = {}
    if several is None:
        return [(name, database_options(block, where))]
    if block:
        raise UserError(
            f'{where}: {sorted(block)} belong to each of databases when there are '
            'several'
        )
    if not isinstance(several, Sequence) or not several:
        raise UserError(f'{where}: databases={several!r}: expected a list of blocks')
    return [
        _one_of_several(part, f'{where}.databases[{place}]')
        for place, part in enumerate(several)
    ]


def _one_of_several(part: Any, where: str) -> tuple[str, DatabaseOptions]:
    if not isinstance(part, dict):
        raise UserError(f'{where}={part!r}: expected a block of options')
    own = {key: value for key, value in part.items() if key != 'name'}
    options = database_options(own, where)
    name = part.get('name', part.get('database'))
    file_name(f'{where}.name', name)
    return name, options


def database_options(block: Mapping[str, Any], where: str) -> DatabaseOptions:
    """The options of one database.

    Args:
        block: fields of :class:`DatabaseOptions`. ``database``, a name of
            ``metaiqa prepare``, stands for those of a download in ``root``, by default
            below ``datasets``; what is given besides goes first.
        where: the block, for messages.

    Raises:
        UserError: an option is missing, unknown or of another kind.
    """
    block = dict(block)
    unknown = sorted(set(block) - DATABASE_OPTIONS)
    if unknown:
        raise UserError(
            f'{where}: unknown options {unknown}; a database has '
            f'{sorted(DATABASE_OPTIONS)}'
        )
    name, root = block.pop('database', None), block.pop('root', None)
    if name is not None:
        one_of(f'{where}.database', name, tuple(DATABASES))
        known = DATABASES[name].options(root)
        if block.get('rows') is not None:
            known['split_index'] = None
        block = known | block
    elif root is not None:
        raise UserError(f'{where}: root={root!r} goes with database')
    missing = sorted({'meta_info_file', 'dataroot_target'} - set(block))
    if missing:
        raise UserError(f'{where}: {missing}, or a known database, must be given')
    return DatabaseOptions(**block)
