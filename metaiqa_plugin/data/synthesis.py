"""A synthetic distortion database from a folder of pristine photos.

Layout, in pyiqa's format::

    OUT/references/PHOTO.png             the photo, shrunk to the working size
    OUT/images/PHOTO_TYPE_LEVEL.png      its distorted versions
    OUT/meta_info_NAME.csv               one row an image; NAME is OUT's last part
    OUT/synthesis.json                   the settings, for --resume

The csv's first columns are image name and pseudo-MOS, as pyiqa's GeneralNRDataset
reads them; then reference, distortion type and level; then ten splits, 80% of the
*references* to train and 20% to test, named as pyiqa names them. The csv is written
last and at once: where it is, the database is whole.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.checks import whole_number
from metaiqa_plugin.data.distortions import DISTORTIONS, distort
from metaiqa_plugin.data.images import find_images, read_rgb
from metaiqa_plugin.data.pseudo_mos import pseudo_mos
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing

__all__ = ['Synthesis', 'SynthesisReport', 'split_columns', 'synthesize']

LEVELS = (1, 2, 3, 4, 5)
SPLITS = 10
SPLIT_SEED = 123


@dataclass(frozen=True)
class Synthesis:
    """What to make of each photo.

    Attributes:
        distortions: names of types; all 25 of KADID-10k by default.
        levels: of each type.
        max_side: pixels; longer photos are shrunk to it first, 0 keeps them. The
            default is KADID-10k's width: its parameters, some of them in pixels,
            and its opinions belong to images of 512x384.
        seed: of the random part of the distortions.
    """

    distortions: tuple[str, ...] = tuple(DISTORTIONS)
    levels: tuple[int, ...] = LEVELS
    max_side: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.distortions:
            for level in self.levels:
                pseudo_mos(name, level)
        if not self.distortions or not self.levels:
            raise UserError('distortions and levels must name at least one each')
        whole_number('max_side', self.max_side, least=0)
        whole_number('seed', self.seed, least=0)


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
) -> SynthesisReport:
    """Build the database described at the top of this module.

    The result depends on the photos and the settings only, never on the number of
    processes or on interruptions. Processes are spawned: a script that calls this needs
    ``if __name__ == '__main__':`` around the call.

    Args:
        photos: folder of pristine photos.
        out: folder to make; must not exist, or be empty, unless ``resume``.
        settings: types, levels, working size, seed.
        resume: go on with an interrupted run of the same settings.
        processes: default one per core that this process may use.
        progress: show a bar on stderr.

    Returns:
        the report; photos that can not be read are skipped and named in it.

    Raises:
        UserError: bad folder or setting, ``out`` in use, two photos of one name, no
            photo readable.
    """
    settings = settings or Synthesis()
    processes = _cores() if processes is None else processes
    whole_number('processes', processes)
    sources = find_images(photos, 'photos')
    _refuse_equal_stems(sources)
    out = Path(out)
    _claim(out, settings, sources, resume)
    report = SynthesisReport(out / f'meta_info_{out.resolve().name}.csv')
    jobs = [(source, out, settings) for source in sources]
    total = len(settings.distortions) * len(settings.levels)
    finished = []
    with tqdm(
        total=len(jobs) * total, unit='image', desc='synthesize', disable=not progress
    ) as bar:
        for source, failure in _run(jobs, processes):
            bar.update(total)
            if failure:
                report.failed[source.name] = failure
            else:
                finished.append(source.stem)
    if not finished:
        first = next(iter(report.failed.values()))
        raise UserError(f'photos={str(photos)!r}: no photo could be used; {first}')
    rows = list(_rows(finished, settings))
    _write_csv(report.meta_info, rows)
    report.images = len(rows) - 1
    return report


def split_columns(references: Sequence[str]) -> dict[str, dict[str, str]]:
    """Ten random 80/20 splits of references, seeded, as ``{column: {ref: part}}``.

    Columns are named ``ratio802_seed123_split_01`` ... ``_10`` and hold ``'train'``
    or ``'test'``; at least one reference is in each part where there are two.
    """
    ordered = sorted(references)
    generator = np.random.default_rng(SPLIT_SEED)
    columns = {}
    for number in range(1, SPLITS + 1):
        shuffled = generator.permutation(len(ordered))
        tests = max(1, round(0.2 * len(ordered))) if len(ordered) > 1 else 0
        chosen = set(shuffled[:tests].tolist())
        columns[f'ratio802_seed{SPLIT_SEED}_split_{number:02d}'] = {
            name: 'test' if index in chosen else 'train'
            for index, name in enumerate(ordered)
        }
    return columns


def _refuse_equal_stems(sources: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        other = seen.setdefault(source.stem, source)
        if other is not source:
            raise UserError(
                f'photos {other.name!r} and {source.name!r} would give the same '
                'image names; rename one'
            )


def _claim(out: Path, settings: Synthesis, sources: list[Path], resume: bool) -> None:
    record = out / 'synthesis.json'
    wanted = json.loads(
        json.dumps(asdict(settings) | {'photos': [path.name for path in sources]})
    )
    if out.exists() and not out.is_dir():
        raise UserError(f'out={str(out)!r} is a file; name a new folder')
    if out.exists() and any(out.iterdir()):
        if not resume:
            raise UserError(
                f'out={str(out)!r} exists and is not empty; choose another folder, or '
                'resume=True (--resume) to go on with an interrupted run'
            )
        if not record.is_file():
            raise UserError(
                f'out={str(out)!r} holds no interrupted synthesis to resume'
            )
        before = json.loads(record.read_text(encoding='utf-8'))
        changed = [key for key in wanted if wanted[key] != before.get(key)]
        if changed:
            raise UserError(
                f'out={str(out)!r} was begun with other settings ({changed}); use '
                'those, or another folder'
            )
    (out / 'images').mkdir(parents=True, exist_ok=True)
    (out / 'references').mkdir(exist_ok=True)
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2), encoding='utf-8')


def _run(jobs: list[tuple], processes: int) -> Iterator[tuple[Path, str | None]]:
    if processes == 1:
        yield from map(_distort_photo, jobs)
        return
    # forked children would inherit the locks of torch's and OpenCV's threads
    clean = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes, clean, _one_thread) as pool:
        yield from pool.map(_distort_photo, jobs)


def _cores() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _one_thread() -> None:
    """Processes share the cores already; OpenCV would use all of them in each."""
    cv2.setNumThreads(1)


def _distort_photo(job: tuple[Path, Path, Synthesis]) -> tuple[Path, str | None]:
    """All distorted versions of one photo; an error is returned, not raised."""
    source, out, settings = job
    try:
        image = _shrunk(read_rgb(source), settings.max_side)
    except UserError as error:
        return source, str(error)
    _save_png(out / 'references' / f'{source.stem}.png', image)
    pixels = np.asarray(image)
    for name in settings.distortions:
        for level in settings.levels:
            target = out / 'images' / _image_name(source.stem, name, level)
            if target.exists():
                continue
            key = (settings.seed, crc32(source.stem.encode()))
            key += (DISTORTIONS[name].number, level)
            generator = np.random.default_rng(key)
            distorted = distort(pixels, name, level, generator)
            _save_png(target, Image.fromarray(distorted))
    return source, None


def _shrunk(image: Image.Image, max_side: int) -> Image.Image:
    longer = max(image.size)
    if not max_side or longer <= max_side:
        return image
    size = tuple(max(1, round(side * max_side / longer)) for side in image.size)
    return image.resize(size, Image.Resampling.LANCZOS)


def _image_name(stem: str, distortion: str, level: int) -> str:
    return f'{stem}_{distortion}_{level}.png'


def _rows(stems: Iterable[str], settings: Synthesis) -> Iterator[list[str]]:
    stems = sorted(stems)
    splits = split_columns(stems)
    yield ['img_name', 'pseudo_mos', 'ref_name', 'distortion', 'level', *splits]
    for stem in stems:
        for name in settings.distortions:
            for level in settings.levels:
                yield [
                    _image_name(stem, name, level),
                    f'{pseudo_mos(name, level):.4f}',
                    f'{stem}.png',
                    name,
                    str(level),
                    *(split[stem] for split in splits.values()),
                ]


def _write_csv(path: Path, rows: list[list[str]]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        csv.writer(file, lineterminator='\n').writerows(rows)


def _save_png(path: Path, image: Image.Image) -> None:
    with replacing(path) as temporary:
        image.save(temporary, compress_level=1)
