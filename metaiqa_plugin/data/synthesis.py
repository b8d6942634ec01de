"""A synthetic distortion database from a folder of pristine photos.

Layout, in pyiqa's format::

    OUT/references/PHOTO.png             the photo, shrunk to the working size
    OUT/images/PHOTO_TYPE_LEVEL.png      its distorted versions
    OUT/meta_info_NAME.csv               one row per image; NAME is OUT's last part
    OUT/synthesis.json                   the settings, for --resume
    OUT/shards/00000.json                what is done, one shard of the photos each
    OUT/unfinished/                      files that are being written; goes at the end

Photos in sub-folders keep them. The csv's first columns are image name and
pseudo-MOS, as pyiqa's GeneralNRDataset reads them; then reference, distortion type
and level; then ten splits, 80% of the *references* to train and 20% to test, named as
pyiqa names them.

A worker, on this machine or on another of a Ray cluster, takes one shard after the
other and writes its file when all of its images are there. The csv is written last, in
one pass over the shards: where it is, the database is whole, and no interruption can
leave half a row in it or the same row twice.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.data.distortions import KADID10K, LEVELS
from metaiqa_plugin.data.images import read_photo, walk_images
from metaiqa_plugin.data.splits import split_flags
from metaiqa_plugin.data.versions import at_working_size, pseudo_mos, version_of
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.files import (
    check_output,
    replacing,
    same_settings,
    write_settings,
    write_table,
)
from metaiqa_plugin.parallel import available_cores, parallel_map, ray_map

__all__ = ['Synthesis', 'SynthesisReport', 'synthesize']

MAX_SHARDS = 4096
UNFINISHED = 'unfinished'
LONGEST_FILE_NAME = 255


@dataclass(frozen=True)
class Synthesis:
    """What to make of each photo.

    Attributes:
        distortions: names of types, or of several joined by ``+`` that are applied in
            sequence; all 25 of KADID-10k by default.
        levels: of each type, real numbers from 1 to 5.
        random_levels: if not 0, this many random levels of each photo and type, at most
            100, in place of ``levels``: one in each of as many equal parts of 1 to 5,
            in steps of a hundredth.
        max_side: pixels; longer photos are shrunk to it first, 0 keeps them. The
            default is KADID-10k's width: its parameters, some of them in pixels,
            and its opinions belong to images of 512x384.
        seed: of the random levels and of the random part of the distortions.
    """

    distortions: tuple[str, ...] = KADID10K
    levels: tuple[float, ...] = LEVELS
    random_levels: int = 0
    max_side: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.distortions:
            for level in self.levels:
                pseudo_mos(name, level)
        for argument in ('distortions', 'levels'):
            values = getattr(self, argument)
            if not values or len(set(values)) < len(values):
                raise UserError(f'{argument}={values!r}: name each once, at least one')
        whole_number('random_levels', self.random_levels, minimum=0)
        if self.random_levels > 100:
            raise UserError(f'random_levels={self.random_levels}: at most 100')
        whole_number('max_side', self.max_side, minimum=0)
        whole_number('seed', self.seed, minimum=0)

    @property
    def images_per_photo(self) -> int:
        """Distorted versions of a photo."""
        return len(self.distortions) * (self.random_levels or len(self.levels))

    def versions(self, photo: str) -> Iterator[tuple[str, float]]:
        """Types and levels to make of a photo, given its name without suffix."""
        for name in self.distortions:
            levels: Sequence[float] = self.levels
            if self.random_levels:
                levels = self._random_levels(photo, name)
            for level in levels:
                yield name, level

    def _random_levels(self, photo: str, name: str) -> list[float]:
        key = (self.seed, crc32(photo.encode()), crc32(name.encode()), 1)
        edges = np.linspace(100, 501, self.random_levels + 1).astype(int)
        drawn = np.random.default_rng(key).integers(edges[:-1], edges[1:])
        return [hundredths / 100 for hundredths in drawn.tolist()]


@dataclass
class SynthesisReport:
    """What was written.

    Attributes:
        meta_info: the csv.
        images: rows in it.
        failed: photos that could not be used, with the reason.
    """

    meta_info: Path
    images: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def synthesize(
    photos: str | os.PathLike,
    out: str | os.PathLike,
    settings: Synthesis | None = None,
    resume: bool = False,
    processes: int | None = None,
    progress: bool = True,
    ray: str | None = None,
) -> SynthesisReport:
    """Build the database described at the top of this module.

    The result depends on the photos and the settings only, never on the number of
    processes or machines or on interruptions. Several processes import the script that
    was started, see ``parallel_map``.

    Args:
        photos: folder of pristine photos; its sub-folders count.
        out: folder to make; must not exist, or be empty, unless ``resume``.
        settings: types, levels, working size, seed.
        resume: continue an interrupted run of the same settings; photos that could
            not be used are tried again.
        processes: default one per core that this process may use.
        progress: show a bar on stderr.
        ray: address of a Ray cluster that does the work, ``'auto'`` for the one at
            hand or a new one on this machine; see ``metaiqa_plugin.parallel``.

    Returns:
        the report; photos that cannot be read are skipped and named in it.

    Raises:
        UserError: bad folder or setting, ``out`` in use or not to be written, two
            photos of one name, no photo usable.
    """
    settings = settings or Synthesis()
    processes = available_cores() if processes is None else processes
    whole_number('processes', processes)
    names = _by_stem(walk_images(photos, 'photos'))
    out, photos = Path(out), Path(photos).resolve()
    for inner, outer in itertools.permutations((out.resolve(), photos)):
        if inner.is_relative_to(outer):
            raise UserError(
                f'out={str(out)!r} and photos={str(photos)!r} are one inside of the '
                'other; give a folder elsewhere'
            )
    _claim(out, settings, names, resume)
    shards = Shards(out.resolve(), names)
    left = [number for number in shards.numbers if not shards.is_done(number)]
    waiting = sum(len(shards.photos(number)) for number in left)
    jobs = (
        (photos, shards.out, settings, shards.photos(number), shards.file(number))
        for number in left
    )
    if ray:
        run = ray_map(_distort_shard, jobs, ray)
    else:
        run = parallel_map(_distort_shard, jobs, min(processes, len(left) or 1))
    each = settings.images_per_photo
    with tqdm(
        total=len(names) * each,
        initial=(len(names) - waiting) * each,
        unit='image',
        desc='synthesize',
        disable=not progress,
    ) as bar:
        for photos_done in run:
            bar.update(photos_done * each)
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return _report(out, shards, settings, photos)


class Shards:
    """The files that say what is done; photos are cut into at most ``MAX_SHARDS``."""

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        self.out = out
        self._names = names
        self._size = -(-len(names) // MAX_SHARDS)
        self.numbers = range(-(-len(names) // self._size))

    def photos(self, number: int) -> Sequence[str]:
        """The photos of a shard."""
        return self._names[number * self._size : (number + 1) * self._size]

    def file(self, number: int) -> Path:
        return self.out / 'shards' / f'{number:05d}.json'

    def read(self, number: int) -> dict:
        """``done``: photos without suffix; ``failed``: photos and reasons."""
        return json.loads(self.file(number).read_text(encoding='utf-8'))

    def is_done(self, number: int) -> bool:
        return self.file(number).is_file() and not self.read(number)['failed']


def _by_stem(names: list[str]) -> list[str]:
    names = sorted(names, key=_stem)
    for first, second in itertools.pairwise(names):
        if _stem(first) == _stem(second):
            raise UserError(
                f'photos {first!r} and {second!r} would give the same image names; '
                'rename one'
            )
    return names


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _claim(out: Path, settings: Synthesis, names: list[str], resume: bool) -> None:
    record = check_output(out, overwrite=True, folder=True) / 'synthesis.json'
    digest = hashlib.sha256('\n'.join(names).encode('utf-8', 'surrogateescape'))
    photos = {'count': len(names), 'names_sha256': digest.hexdigest()}
    wanted = asdict(settings) | {'photos': photos}
    if out.exists() and any(out.iterdir()):
        if not resume:
            raise UserError(
                f'out={str(out)!r} exists and is not empty; choose another folder, or '
                '--resume to continue an interrupted run'
            )
        if not record.is_file():
            raise UserError(
                f'out={str(out)!r} holds no interrupted synthesis to resume'
            )
        same_settings(record, wanted)
    write_settings(record, wanted)


def _distort_shard(job: tuple[Path, Path, Synthesis, list[str], Path]) -> int:
    """All distorted versions of some photos; returns how many photos it was given."""
    photos, out, settings, names, shard = job
    done, failed = [], {}
    try:
        for name in names:
            try:
                _check_name(name, settings)
                image = at_working_size(read_photo(photos / name), settings.max_side)
            except UserError as error:
                failed[name] = str(error)
                continue
            _distort_photo(image, _stem(name), out, settings)
            done.append(_stem(name))
        with replacing(shard) as temporary:
            record = {'done': done, 'failed': failed}
            temporary.write_text(json.dumps(record), encoding='utf-8')
    except OSError as error:
        raise UserError(
            f'out={str(out)!r} cannot be written: {error.strerror or error}; fix '
            'that and continue with --resume'
        ) from error
    return len(names)


def _check_name(photo: str, settings: Synthesis) -> None:
    try:
        names = [_image_name(_stem(photo), *one) for one in settings.versions(photo)]
        longest = max(len(os.path.basename(name).encode()) for name in names)
    except UnicodeEncodeError as error:
        raise UserError('its name is not UTF-8; rename it') from error
    if longest > LONGEST_FILE_NAME:
        raise UserError(f'images of it would have names of {longest} bytes; rename it')


def _distort_photo(
    image: Image.Image, photo: str, out: Path, settings: Synthesis
) -> None:
    unfinished = out / UNFINISHED
    _save_png(out / 'references' / f'{photo}.png', image, unfinished)
    pixels = np.asarray(image)
    for name, level in settings.versions(photo):
        target = out / 'images' / _image_name(photo, name, level)
        if target.exists():
            continue
        distorted = version_of(pixels, photo, name, level, settings.seed)
        _save_png(target, Image.fromarray(distorted), unfinished)


def _image_name(photo: str, distortion: str, level: float) -> str:
    return f'{photo}_{distortion}_{level:g}.png'


def _report(
    out: Path, shards: Shards, settings: Synthesis, photos: Path
) -> SynthesisReport:
    """Write the table."""
    report = SynthesisReport(out / f'meta_info_{out.resolve().name}.csv')
    used = 0
    for number in shards.numbers:
        shard = shards.read(number)
        report.failed |= shard['failed']
        used += len(shard['done'])
    if not used:
        first = next(iter(report.failed.values()))
        raise UserError(f'photos={str(photos)!r}: no photo could be used; {first}')
    columns, flags = split_flags(used)
    header = ['img_name', 'pseudo_mos', 'ref_name', 'distortion', 'level', *columns]
    write_table(report.meta_info, header, _rows(shards, settings, flags))
    report.images = used * settings.images_per_photo
    return report


def _rows(
    shards: Shards, settings: Synthesis, flags: np.ndarray
) -> Iterator[list[str]]:
    done = (photo for number in shards.numbers for photo in shards.read(number)['done'])
    for photo, tests in zip(done, flags.T, strict=True):
        parts = ['test' if flag else 'train' for flag in tests.tolist()]
        for name, level in settings.versions(photo):
            yield [
                _image_name(photo, name, level),
                f'{pseudo_mos(name, level):.4f}',
                f'{photo}.png',
                name,
                f'{level:g}',
                *parts,
            ]


def _save_png(path: Path, image: Image.Image, unfinished: Path) -> None:
    with replacing(path, unfinished) as temporary:
        image.save(temporary, compress_level=1)
