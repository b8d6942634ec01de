"""Data sets of the option files: what a block says, and labelled images.

Items of all of them are functions of the seed and of the mini-batch of indices that
they are asked for in. pyiqa shuffles the indices again each epoch, so crops and
episodes differ from epoch to epoch, and they are the same whatever the number of
workers. (pyiqa itself reseeds the workers' generators alike in every epoch.)
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from metaiqa_plugin.data.crops import as_input, training_views
from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.data.images import read_resized, read_rgb
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRows, join_databases
from metaiqa_plugin.data.store import PIXELS, ImageStore, Kind, open_store
from metaiqa_plugin.errors import UserError, file_name, one_of, whole_number

__all__ = [
    'DATABASE_OPTIONS',
    'LOADER_OPTIONS',
    'BlockDataset',
    'DatasetImages',
    'ImageFiles',
    'LabelledDataset',
    'block_options',
    'database_options',
    'named_databases',
    'split_block',
]

LOADER_OPTIONS = frozenset(
    (
        'name type phase scale use_shuffle num_worker_per_gpu batch_size_per_gpu '
        'dataset_enlarge_ratio prefetch_mode num_prefetch_queue pin_memory '
        'persistent_workers'
    ).split()
)
DATABASE_OPTIONS = frozenset(
    ('database', 'root', *(field.name for field in fields(DatabaseOptions)))
)
"""Keys that describe one database."""

OF_ALL = DATABASE_OPTIONS | {'databases', 'store'}
"""Keys that :class:`DatasetImages` reads."""


def block_options(configure: Callable) -> frozenset[str]:
    """Every key of a dataset's block, whose own are the arguments of ``configure``."""
    own = set(inspect.signature(configure).parameters) - {'self', 'databases'}
    return OF_ALL | LOADER_OPTIONS | own


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
    databases = {key: value for key, value in block.items() if key in OF_ALL}
    taken = OF_ALL | LOADER_OPTIONS
    return databases, {key: block[key] for key in block if key not in taken}


class ImageFiles(Sequence):
    """Image files, decoded and resized each time.

    Args:
        rows: what the images are; only their paths are used.
        resize: shorter side in pixels; 0: as they are.

    An item is (H, W, 3) uint8. Reading one raises UserError, see ``read_photo``, with
    the row.
    """

    def __init__(self, rows: LabelledRows, resize: int) -> None:
        self._rows = rows
        self._resize = resize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            return read_resized(self._rows.path(index), self._resize)
        except UserError as error:
            raise UserError(f'{self._rows.where(index)}: {error}') from error


class DatasetImages:
    """The labelled images of the databases in a dataset option block.

    Args:
        block: the databases, see :func:`named_databases`; and ``store``: true for an
            image store beside each database, or the folder for it.
        name: of the data set.
        phase: which part of a split to use.

    Its ``rows`` are those of all databases. Methods take ``resize``, the shorter side
    in pixels, 0 for images as they are.

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
        self._find()
        return ImageFiles(self.rows, resize)

    def _find(self) -> None:
        for name, rows in self._parts:
            rows.require_files(name)
        self.rows = join_databases(self._parts)

    def pixels(self, resize: int) -> ImageFiles | ImageStore:
        """The images from the store, if the block has one, else from their files.

        Raises:
            UserError: an image is missing or, if there is a store, cannot be used.
        """
        return self.stored(resize) if self._store else self.files(resize)

    def stored(self, resize: int, kind: Kind = PIXELS) -> ImageStore:
        """What the store keeps of the images.

        Raises:
            UserError: the block has no store, or an image cannot be used.
        """
        if not self._store:
            raise UserError('maps are kept in the store: set store: true, or a folder')
        self._find()
        stores = []
        for name, rows in self._parts:
            if self._store is True:
                place = rows.folders[0].with_name(f'{rows.folders[0].name}.store')
            else:
                place = Path(self._store) / (name if len(self._parts) > 1 else '')
            stores.append(open_store(place, rows, resize, kind=kind))
        return ImageStore.joined(stores)


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
    found = []
    for place, part in enumerate(several):
        here = f'{where}.databases[{place}]'
        if not isinstance(part, dict):
            raise UserError(f'{here}={part!r}: expected a block of options')
        own = {key: value for key, value in part.items() if key != 'name'}
        options = database_options(own, here)
        each = part.get('name', part.get('database'))
        file_name(f'{here}.name', each)
        found.append((each, options))
    return found


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
        raise UserError(f'{where}.root={root!r}: only beside database')
    missing = sorted({'meta_info_file', 'dataroot_target'} - set(block))
    if missing:
        raise UserError(f'{where}: {missing}, or a known database, must be given')
    return DatabaseOptions(**block)


class BlockDataset(Dataset):
    """Items are drawn a mini-batch at a time; the DataLoader asks so where it can.

    Args:
        opt: the block; its keys are those of :class:`DatasetImages`, the arguments of
            ``configure`` and those of pyiqa's loader.

    Raises:
        UserError: an unknown key, anything that reading or ``configure`` refuses, or an
            epoch of training without a whole batch: pyiqa 0.1.16 drops the last, short
            one, so it would train on nothing and say so nowhere.
    """

    items = 'images'

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.training = opt.get('phase', 'train') == 'train'
        block, own = split_block(opt, self.configure)
        self.configure(self.images(block, own), **own)
        size = opt.get('batch_size_per_gpu', 1)
        if self.training and len(self) < size:
            raise UserError(
                f'dataset {opt.get("name")!r}: batch_size_per_gpu={size} is more than '
                f'the {len(self)} {self.items} of an epoch; make it smaller'
            )

    def images(self, block: dict[str, Any], own: dict[str, Any]) -> DatasetImages:
        """Those of the block's databases, whose other keys are ``own``."""
        return DatasetImages(block, self.opt.get('name', 'train'))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]


class LabelledDataset(BlockDataset):
    """Labelled images of any database, for pyiqa's ``GeneralIQAModel``.

    An item is a dict: ``img`` (3, H, W) float32 in [0, 1], ``mos_label`` (1,) float32
    in [0, 1], higher better, ``img_path``. In training ``img`` is a random crop, or one
    of the maps of frozen stages; in validation it is the whole image as pyiqa reads it.
    """

    def images(self, block: dict[str, Any], own: dict[str, Any]) -> DatasetImages:
        part = own.get('override_phase') or self.opt.get('phase', 'train')
        one_of('phase', part, ('train', 'val', 'test'))
        return DatasetImages(block, self.opt.get('name', part), part)

    def configure(
        self,
        databases: DatasetImages,
        resize: int = 256,
        crop_size: int = 224,
        hflip: bool = True,
        seed: int = 0,
        override_phase: str | None = None,
        maps: dict[str, Any] | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            databases: the labelled images.
            resize, crop_size, hflip: see ``RandomCrop``; used in training.
            seed: of the crops.
            override_phase: the part of the split to use, ``'train'``, ``'val'`` or
                ``'test'``; None: that of the section of the option file.
            maps: in training, ``img`` is a crop of the frozen stages' maps of the
                image: ``backbone`` and ``stages``, see ``FrozenMaps``.
        """
        whole_number('seed', seed, minimum=0)
        self.seed = seed
        if self.training:
            databases.rows.require_spread()
            views = training_views(databases, resize, crop_size, hflip, maps)
            self.crop, self.pixels = views
        else:
            self.pixels = databases.files(resize)
        self.rows = databases.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor | str]]:
        """The images of one mini-batch; the DataLoader calls this where it exists."""
        generator = np.random.default_rng([self.seed, *indices])
        return [
            {
                'img': as_input(self._view(index, generator)).contiguous(),
                'mos_label': torch.tensor([self.rows.mos[index]]),
                'img_path': str(self.rows.path(index)),
            }
            for index in indices
        ]

    def _view(self, index: int, generator: np.random.Generator) -> Tensor:
        if self.training:
            return self.crop(self.pixels[index], generator)
        pixels = np.array(read_rgb(self.rows.path(index)))
        return torch.from_numpy(pixels).permute(2, 0, 1)
