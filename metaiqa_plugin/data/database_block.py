"""The databases that a dataset option block names: their rows and their pixels."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import join_databases
from metaiqa_plugin.data.store import (
    PIXELS,
    ImageFiles,
    ImageStore,
    Kind,
    open_store,
)
from metaiqa_plugin.errors import UserError, file_name

__all__ = [
    'DATABASE_OPTIONS',
    'LOADER_OPTIONS',
    'Databases',
    'block_options',
    'require_batch',
    'split_block',
]

LOADER_OPTIONS = frozenset(
    {
        'name',
        'type',
        'phase',
        'scale',
        'use_shuffle',
        'num_worker_per_gpu',
        'batch_size_per_gpu',
        'dataset_enlarge_ratio',
        'prefetch_mode',
        'num_prefetch_queue',
        'pin_memory',
        'persistent_workers',
    }
)
DATABASE_OPTIONS = frozenset(field.name for field in fields(DatabaseOptions))
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
    block: dict[str, Any], configure: Callable
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys about databases, and those that ``configure`` takes.

    Raises:
        UserError: a key that nobody knows.
    """
    known = block_options(configure)
    unknown = sorted(set(block) - known)
    if unknown:
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


class Databases:
    """The labelled images of the databases in a dataset option block.

    Args:
        block: the options of one database (:class:`DatabaseOptions`), or ``databases``:
            a list of such, each with a ``name``; and ``store``: true for an image
            store beside each database, or the folder for it.
        name: of the data set.
        phase: which part of a split to use.

    Attributes:
        rows: of all databases.

    Raises:
        UserError: a database that can not be read, an option that is none.
    """

    def __init__(self, block: dict[str, Any], name: str, phase: str = 'train') -> None:
        block = dict(block)
        self._store = block.pop('store', None)
        if not isinstance(self._store, (bool, str, os.PathLike, type(None))):
            raise UserError(f'store={self._store!r}: expected true, or a folder')
        self._parts = [
            (name, read_rows(options, phase))
            for name, options in _named_databases(block, name)
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
            UserError: an image is missing or, if there is a store, can not be used.
        """
        return self.stored(resize) if self._store else self.files(resize)

    def stored(self, resize: int, kind: Kind = PIXELS) -> ImageStore:
        """What the store keeps of the images.

        Args:
            resize: shorter side in pixels; 0: as they are.
            kind: what it keeps of an image.

        Raises:
            UserError: the block has no store, or an image can not be used.
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


def _named_databases(
    block: dict[str, Any], name: str
) -> list[tuple[str, DatabaseOptions]]:
    several = block.pop('databases', None)
    if several is None:
        missing = [
            key for key in ('meta_info_file', 'dataroot_target') if key not in block
        ]
        if missing:
            raise UserError(f'dataset {name!r}: {missing} or databases must be given')
        return [(name, DatabaseOptions(**block))]
    if block:
        raise UserError(
            f'dataset {name!r}: {sorted(block)} belong to each of databases when '
            'there are several'
        )
    if not isinstance(several, Sequence) or not several:
        raise UserError(f'databases={several!r}: expected a list of blocks')
    return [_one_of_several(part, place) for place, part in enumerate(several)]


def _one_of_several(part: Any, place: int) -> tuple[str, DatabaseOptions]:
    if not isinstance(part, dict):
        raise UserError(f'databases[{place}]={part!r}: expected a block of options')
    unknown = sorted(set(part) - DATABASE_OPTIONS - {'name'})
    missing = sorted({'name', 'meta_info_file', 'dataroot_target'} - set(part))
    if unknown or missing:
        raise UserError(
            f'databases[{place}]: unknown options {unknown}, missing {missing}; it '
            f'knows name and {sorted(DATABASE_OPTIONS)}'
        )
    file_name(f'databases[{place}].name', part['name'])
    part = dict(part)
    return part.pop('name'), DatabaseOptions(**part)
