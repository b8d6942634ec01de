"""Readers of databases of distorted photos: TID2013, KADID-10k, LIVE and CSIQ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from metaiqa_plugin.data.databases.names import (
    LIVE_FOLDERS,
    NameParts,
    parse_csiq,
    parse_kadid10k,
    parse_tid2013,
)
from metaiqa_plugin.data.databases.sources import (
    ImagesOnDisk,
    Labels,
    PublishedRow,
    published,
    read_csv,
    read_lines,
    read_mat,
    read_sheet,
)
from metaiqa_plugin.data.labels import number
from metaiqa_plugin.errors import UserError

__all__ = ['read_csiq', 'read_kadid10k', 'read_live', 'read_tid2013']

LIVE_IMAGES = sum(LIVE_FOLDERS.values())
LIVE_UNALIGNED_RANGE = (1, 100)
CSIQ_SHEET_TYPES = {
    'noise': 'AWGN',
    'blur': 'BLUR',
    'contrast': 'contrast',
    'fnoise': 'fnoise',
    'jpeg': 'JPEG',
    'jpeg2000': 'jpeg2000',
}


def read_tid2013(root: Path) -> Labels:
    """``mos_with_names.txt``: one MOS and name per line; ``mos_std.txt`` if present.

    References are named as in ``reference_images``, else ``I01.BMP``.
    """
    lines = list(read_lines(root / 'mos_with_names.txt'))
    stds = _tid2013_stds(root, len(lines))
    references = ImagesOnDisk(root / 'reference_images')
    rows = []
    for (source, line), std in zip(lines, stds, strict=True):
        score, image = _two_words(line, source, line.split(maxsplit=1))
        parts = _parts(parse_tid2013, image, source, 'i01_08_3.bmp')
        photo = references.find(parts.reference) or parts.reference
        cells = {'MOS': score, 'std': std}
        rows.append(_distorted(source, cells, image, 'MOS', 'std', parts, photo))
    return Labels(rows)


def read_kadid10k(root: Path) -> Labels:
    """``dmos.csv``. Its ``dmos`` is a mean opinion in [1, 5], higher better.

    Its ``var`` holds standard deviations: 30 opinions with mean 4.57 come with 0.496,
    the root of the variance of 17 fives and 13 fours.
    """
    rows = []
    columns = ('dist_img', 'ref_img', 'dmos', 'var')
    for source, cells in read_csv(root / 'dmos.csv', columns):
        image, photo = cells['dist_img'], cells['ref_img']
        parts = _parts(parse_kadid10k, image, source, 'I01_08_03.png')
        rows.append(_distorted(source, cells, image, 'dmos', 'var', parts, photo))
    return Labels(rows)


def read_live(root: Path) -> Labels:
    """``dmos_realigned.mat`` and ``refnames_all.mat``, in the order of the readme.

    Copies of pristine photos among the images are left out. Where there is only
    ``dmos.mat``, its DMOS, on a scale of its own, are read instead.
    """
    references_path = root / 'refnames_all.mat'
    (references,) = read_mat(references_path, 'refnames_all')
    _whole_live(references_path, references)
    path = root / 'dmos_realigned.mat'
    realigned = path.is_file()
    if realigned:
        scores, stds = read_mat(path, 'dmos_new', 'dmos_std')
    else:
        path = root / 'dmos.mat'
        (scores,) = read_mat(path, 'dmos')
        stds = [None] * len(scores)
    pristine = _live_pristine(root, path)
    for values in (scores, stds, pristine):
        _whole_live(path, values)
    rows, unscored = [], []
    for index, (folder, place) in enumerate(_live_places()):
        image = f'{folder}/img{place}.bmp'
        if pristine[index]:
            unscored.append(image)
            continue
        source = f'{path}, {index + 1} of {LIVE_IMAGES}'
        cells = {'dmos': scores[index], 'dmos_std': stds[index]}
        told = {'ref_name': str(references[index]), 'distortion': folder}
        rows.append(published(source, cells, image, 'dmos', 'dmos_std', **told))
    if realigned:
        return Labels(rows, unscored)
    note = (
        f'{path}: DMOS before realignment, which are not comparable across types; '
        'dmos_realigned.mat is better'
    )
    return Labels(rows, unscored, LIVE_UNALIGNED_RANGE, (note,))


def read_csiq(root: Path) -> Labels:
    """Sheet ``all_by_image`` of ``csiq.DMOS.xlsx``, else ``csiq_label.txt``."""
    path = root / 'csiq.DMOS.xlsx'
    rows = []
    for source, cells, image in (
        _csiq_sheet(path) if path.is_file() else _csiq_text(root)
    ):
        parts = _parts(parse_csiq, image, source, '1600.AWGN.1.png')
        rows.append(_distorted(source, cells, image, 'dmos', 'dmos_std', parts))
    return Labels(rows)


def _distorted(
    source: str,
    cells: Mapping[str, Any],
    image: str,
    mos: str,
    std: str,
    parts: NameParts,
    photo: str = '',
) -> PublishedRow:
    told = {'distortion': parts.distortion, 'level': parts.level}
    told['ref_name'] = photo or parts.reference
    return published(source, cells, image, mos, std, **told)


def _parts(
    parse: Callable[[str], NameParts | None], image: str, source: str, example: str
) -> NameParts:
    parts = parse(image)
    if parts is None:
        raise UserError(
            f'{source}: image name {image!r} does not name type and level; expected '
            f'names like {example!r}'
        )
    return parts


def _two_words(line: str, source: str, words: list[str]) -> list[str]:
    if len(words) != 2:
        raise UserError(f'{source}: {line!r}: expected a score and an image name')
    return words


def _tid2013_stds(root: Path, count: int) -> list[float | None]:
    path = root / 'mos_std.txt'
    if not path.is_file():
        return [None] * count
    stds = [number(line, 'std', source) for source, line in read_lines(path)]
    if len(stds) != count:
        raise UserError(
            f'{path} has {len(stds)} lines, mos_with_names.txt has {count}; they '
            'belong together'
        )
    return stds


def _live_places() -> Iterator[tuple[str, int]]:
    for folder, count in LIVE_FOLDERS.items():
        for place in range(1, count + 1):
            yield folder, place


def _live_pristine(root: Path, path: Path) -> list[bool]:
    """Flags of the copies of pristine photos; releases differ in the file with them."""
    other = root / 'dmos.mat'
    try:
        (flags,) = read_mat(path, 'orgs')
    except UserError:
        if other == path or not other.is_file():
            raise
        (flags,) = read_mat(other, 'orgs')
    return [bool(flag) for flag in flags]


def _whole_live(path: Path, values: list) -> None:
    if len(values) != LIVE_IMAGES:
        raise UserError(
            f'{path} has {len(values)} values; expected one for each of the '
            f'{LIVE_IMAGES} images, which it does not name'
        )


def _csiq_sheet(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    columns = ('image', 'dst_type', 'dst_lev', 'dmos_std', 'dmos')
    for source, cells in read_sheet(path, columns, 'all_by_image'):
        photo, level = str(cells['image']).strip(), cells['dst_lev']
        word = re.sub(r'\s', '', str(cells['dst_type'])).casefold()
        if word not in CSIQ_SHEET_TYPES:
            raise UserError(
                f'{source}: dst_type={cells["dst_type"]!r}: expected one of '
                f'{list(CSIQ_SHEET_TYPES)}'
            )
        yield source, cells, f'{photo}.{CSIQ_SHEET_TYPES[word]}.{level}.png'


def _csiq_text(root: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    for source, line in read_lines(root / 'csiq_label.txt'):
        image, score = _two_words(line, source, line.rsplit(maxsplit=1))
        suffix = '' if image.lower().endswith('.png') else '.png'
        yield source, {'dmos': score}, image + suffix
