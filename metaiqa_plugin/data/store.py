"""A store of images at the size that training crops from.

A store may keep something else than the pixels, see :class:`Kind`.

A store is a folder of *shards*. A shard is a file of raw pixels and, written after
it, a file that says which image lies where. Images are known by a hash of their name,
their file's size and time of change, and the size they were resized to: an image that
changed is simply not there and is added again, an unfinished shard has no index and is
not seen, and lists of images that overlap (splits, left-out distortions) share what
they have in common. Readers map the pixels into memory, so processes share them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metaiqa_plugin.data.images import read_resized
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.files import locked, replacing
from metaiqa_plugin.parallel import available_cores, parallel_map

__all__ = ['PIXELS', 'ImageStore', 'Kind', 'open_store']

FORMAT = 1
_INDEX = np.dtype(
    [('key', '<u8'), ('offset', '<i8'), ('height', '<i4'), ('width', '<i4')]
)


@dataclass(frozen=True)
class Kind:
    """What a store keeps of an image: this one, its pixels.

    Attributes:
        channels: of an array (H, W, channels).
        dtype: of its numbers.
        folder: below the store's, for kinds that are not pixels.
        images_per_shard: how many go into one file.
    """

    channels: int = 3
    dtype: str = 'uint8'
    folder: str = ''
    images_per_shard: int = 256

    def made_of(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, channels) of (H, W, 3) uint8."""
        return pixels

    @property
    def bytes_per_cell(self) -> int:
        return self.channels * np.dtype(self.dtype).itemsize

    def bytes_at_least(self, resize: int) -> int:
        """Of an image with a shorter side of ``resize`` pixels."""
        return resize * resize * self.bytes_per_cell


PIXELS = Kind()


class ImageStore(Sequence):
    """Images of a store in the order asked for; made by :func:`open_store`.

    An item is (H, W, 3) uint8, or as its kind says, read-only, in memory that processes
    share.
    """

    def __init__(self, shards: Sequence[Path], places: np.ndarray, kind: Kind) -> None:
        self._shards = list(shards)
        self._places = places
        self._kind = kind
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> np.ndarray:
        shard, offset, height, width = self._places[index].tolist()
        pixels = self._maps.get(shard)
        if pixels is None:
            mapped = np.memmap(self._shards[shard], dtype=np.uint8, mode='r')
            pixels = self._maps[shard] = mapped.view(np.ndarray)
        end = offset + height * width * self._kind.bytes_per_cell
        values = pixels[offset:end].view(self._kind.dtype)
        return values.reshape(height, width, self._kind.channels)

    def __getstate__(self) -> dict:
        return self.__dict__ | {'_maps': {}}

    @classmethod
    def joined(cls, stores: Sequence[ImageStore]) -> ImageStore:
        """The images of several stores, one after the other."""
        shards: list[Path] = []
        places = []
        for store in stores:
            moved = store._places.copy()
            moved[:, 0] += len(shards)
            places.append(moved)
            shards += store._shards
        return cls(shards, np.concatenate(places), stores[0]._kind)


def open_store(
    store: str | os.PathLike,
    rows: LabelledRows,
    resize: int,
    processes: int | None = None,
    progress: bool = True,
    kind: Kind = PIXELS,
) -> ImageStore:
    """The images in a store, which first gets those that it lacks.

    Several processes import the script that was started, see ``parallel_map``.

    Args:
        store: folder of the store; made if need be.
        rows: of one database; only their images are used.
        resize: shorter side in pixels; 0: as they are.
        processes: that decode; default one per core that this process may use.
        progress: show a bar on stderr while images are added.
        kind: what is kept of an image.

    Raises:
        UserError: an image is missing or cannot be used (all are named or counted,
            the others are kept), the disk is full, or ``store`` is not a folder.
    """
    whole_number('resize', resize, minimum=0)
    processes = available_cores() if processes is None else processes
    whole_number('processes', processes)
    store = Path(store) / kind.folder
    if store.exists() and not store.is_dir():
        raise UserError(f'store={str(store)!r} is a file; name a folder')
    keys = _keys(rows, resize)
    shards, entries = _read_shards(store, kind)
    if not np.isin(keys, entries['key']).all():
        with _writing(store), locked(store / 'lock'):
            _add_lacking(store, rows, keys, resize, kind, processes, progress)
        shards, entries = _read_shards(store, kind)
    found = entries[np.searchsorted(entries['key'], keys)]
    fields = ('shard', 'offset', 'height', 'width')
    places = np.stack([found[name] for name in fields], axis=1)
    return ImageStore(shards, places, kind)


def _keys(rows: LabelledRows, resize: int) -> np.ndarray:
    folder = os.fspath(rows.folders[0])

    def key(index: int) -> int:
        name = rows.images[index]
        try:
            status = os.stat(os.path.join(folder, name))
        except OSError as error:
            raise UserError(
                f'{rows.where(index)}: image {name!r} is not in {folder!r}: '
                f'{error.strerror}'
            ) from error
        text = f'{FORMAT} {resize} {status.st_size} {status.st_mtime_ns} {name}'
        digest = hashlib.sha256(text.encode('utf-8', 'surrogateescape')).digest()
        return int.from_bytes(digest[:8], 'little')

    return np.fromiter(map(key, range(len(rows))), np.uint64, len(rows))


def _read_shards(store: Path, kind: Kind) -> tuple[list[Path], np.ndarray]:
    """Files of pixels, and their entries with the number of the file, by key."""
    shards, parts = [], []
    for index in sorted(store.glob('*.npy')):
        pixels = index.with_suffix('.pixels')
        try:
            with open(index, 'rb') as file:
                entries = np.lib.format.read_array(file, allow_pickle=False)
            size = pixels.stat().st_size
        except (OSError, ValueError, MemoryError):
            continue
        if entries.dtype != _INDEX or entries.ndim != 1 or not len(entries):
            continue
        sides = entries['height'].astype(np.int64), entries['width']
        ends = entries['offset'] + sides[0] * sides[1] * kind.bytes_per_cell
        whole = np.array_equal(entries['offset'], [0, *ends[:-1]]) and ends[-1] == size
        if not whole or min(map(np.min, sides)) < 1:  # damaged; what it had is added
            continue
        part = np.empty(len(entries), [*_INDEX.descr, ('shard', '<i8')])
        for field in _INDEX.names:
            part[field] = entries[field]
        part['shard'] = len(shards)
        shards.append(pixels)
        parts.append(part)
    empty = np.empty(0, [*_INDEX.descr, ('shard', '<i8')])
    entries = np.concatenate([empty, *parts])
    return shards, entries[np.argsort(entries['key'], kind='stable')]


def _add_lacking(
    store: Path,
    rows: LabelledRows,
    keys: np.ndarray,
    resize: int,
    kind: Kind,
    processes: int,
    progress: bool,
) -> None:
    _, entries = _read_shards(store, kind)
    lacking = np.flatnonzero(~np.isin(keys, entries['key'])).tolist()
    needed = len(lacking) * kind.bytes_at_least(resize)
    free = shutil.disk_usage(store).free
    if free < needed:
        raise UserError(
            f'store={str(store)!r}: its images need at least {needed / 1e9:.1f} GB and '
            f'{free / 1e9:.1f} GB are free; name a folder on another disk, or leave '
            'the option store out'
        )
    jobs = _jobs(store, rows, keys, lacking, resize, kind)
    useful = min(processes, math.ceil(len(lacking) / kind.images_per_shard) or 1)
    failed: list[str] = []
    with tqdm(
        total=len(lacking), unit='image', desc='image store', disable=not progress
    ) as bar:
        for count, failures in parallel_map(_write_shard, jobs, useful):
            bar.update(count)
            failed += failures
    if failed:
        more = f' and {len(failed) - 3} more' if len(failed) > 3 else ''
        raise UserError(
            f'store={str(store)!r}: {len(failed)} of {len(lacking)} images cannot be '
            f'used: {"; ".join(failed[:3])}{more}; fix them or remove their rows'
        )


def _jobs(
    store: Path,
    rows: LabelledRows,
    keys: np.ndarray,
    lacking: list[int],
    resize: int,
    kind: Kind,
) -> Iterator[tuple]:
    for start in range(0, len(lacking), kind.images_per_shard):
        chosen = lacking[start : start + kind.images_per_shard]
        paths = [os.fspath(rows.path(index)) for index in chosen]
        places = [rows.where(index) for index in chosen]
        yield store, paths, places, keys[chosen], resize, kind


def _write_shard(job: tuple) -> tuple[int, list[str]]:
    """Pixels first, then the index that makes them count."""
    store, paths, places, keys, resize, kind = job
    entries, failures = [], []
    target = store / hashlib.sha256(keys.tobytes()).hexdigest()[:32]
    part = target.with_suffix('.part')
    try:
        with _writing(store), open(part, 'wb') as file:
            for path, place, key in zip(paths, places, keys, strict=True):
                try:
                    kept = kind.made_of(read_resized(path, resize))
                except UserError as error:
                    failures.append(f'{place}: {error}')
                    continue
                entries.append((key, file.tell(), *kept.shape[:2]))
                file.write(kept.tobytes())
            file.flush()
            os.fsync(file.fileno())
            if entries:
                os.replace(part, target.with_suffix('.pixels'))
                with replacing(target.with_suffix('.npy')) as temporary:
                    np.save(temporary, np.array(entries, _INDEX))
    finally:
        part.unlink(missing_ok=True)
    return len(paths), failures


@contextlib.contextmanager
def _writing(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        way_out = 'name a folder elsewhere, or leave the option store out'
        if error.errno == errno.ENOSPC:
            way_out = f'free some, {way_out}'
        raise UserError(
            f'store={str(store)!r} cannot be written: {error.strerror or error}; '
            f'{way_out}'
        ) from error
