"""Readers of the published databases: the labels of each, as its authors give them.

TID2013, KADID-10k, LIVE and CSIQ are of distorted photos, the others of photos as
cameras took them.
"""

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
    Labels,
    PublishedRow,
    published,
    read_csv,
    read_lines,
    read_mat,
    read_sheet,
)
from metaiqa_plugin.data.images import ImagesOnDisk
from metaiqa_plugin.data.labels import number
from metaiqa_plugin.errors import UserError

__all__ = [
    'read_bid',
    'read_biq2021',
    'read_cid2013',
    'read_csiq',
    'read_kadid10k',
    'read_koniq10k',
    'read_live',
    'read_livec',
    'read_spaq',
    'read_tid2013',
]

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
LIVEC_TRAINING_NAME = re.compile(r't\d+\.\w+', re.ASCII | re.IGNORECASE)
KONIQ_VOTES = ('c1', 'c2', 'c3', 'c4', 'c5')
KONIQ_COLUMNS = ('image_name', *KONIQ_VOTES, 'c_total', 'SD')
KONIQ_PARTS = {'training': 'train', 'validation': 'val', 'test': 'test'}
KONIQ_TOLERANCE = 0.01
CID2013_NAME = re.compile(r'IS_(I|II|III|IV|V|VI)_C\d+_D\d+', re.ASCII)
CID2013_SUBSETS = {'I': 1, 'II': 2, 'III': 3, 'IV': 4, 'V': 5, 'VI': 6}
BIQ2021_NAME = re.compile(r'(ss0[123]) \(\d+\)\.jpg', re.ASCII | re.IGNORECASE)


def read_tid2013(root: Path) -> Labels:
    """``mos_with_names.txt``: one MOS and name per line; ``mos_std.txt`` if present.

    References are named as in ``reference_images``, else ``I01.BMP``.
    """
    lines = list(read_lines(root / 'mos_with_names.txt'))
    path = root / 'mos_std.txt'
    stds: list = [None] * len(lines)
    if path.is_file():
        stds = [number(line, 'std', source) for source, line in read_lines(path)]
    if len(stds) != len(lines):
        raise UserError(
            f'{path} has {len(stds)} lines, mos_with_names.txt has {len(lines)}; they '
            'belong together'
        )
    references = ImagesOnDisk(root / 'reference_images')
    rows = []
    for (source, line), std in zip(lines, stds, strict=True):
        score, image = _two_words(line, source, line.split(maxsplit=1))
        cells = {'MOS': score, 'std': std}
        named = (parse_tid2013, 'i01_08_3.bmp')
        row = _distorted(named, source, cells, image, 'MOS', 'std')
        photo = references.find(row.ref_name) or row.ref_name
        rows.append(row._replace(ref_name=photo))
    return Labels(rows)


def read_kadid10k(root: Path) -> Labels:
    """``dmos.csv``. Its ``dmos`` is a mean opinion in [1, 5], higher better.

    Its ``var`` holds standard deviations: 30 opinions with mean 4.57 come with 0.496,
    the root of the variance of 17 fives and 13 fours.
    """
    rows = []
    columns = ('dist_img', 'ref_img', 'dmos', 'var')
    for source, cells in read_csv(root / 'dmos.csv', columns):
        named = (parse_kadid10k, 'I01_08_03.png')
        row = _distorted(named, source, cells, cells['dist_img'], 'dmos', 'var')
        rows.append(row._replace(ref_name=cells['ref_img'] or row.ref_name))
    return Labels(rows)


def read_live(root: Path) -> Labels:
    """``dmos_realigned.mat`` and ``refnames_all.mat``, in the order of the readme.

    Copies of pristine photos among the images are left out. Where there is only
    ``dmos.mat``, its DMOS, on a scale of its own, are read instead.
    """
    references_path, path = root / 'refnames_all.mat', root / 'dmos_realigned.mat'
    (references,) = read_mat(references_path, 'refnames_all')
    _whole_live(references_path, references)
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
    places = ((name, at + 1) for name, n in LIVE_FOLDERS.items() for at in range(n))
    for index, (folder, place) in enumerate(places):
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
    table = _csiq_sheet(path) if path.is_file() else _csiq_text(root)
    named = (parse_csiq, '1600.AWGN.1.png')
    return Labels([_distorted(named, *row, 'dmos', 'dmos_std') for row in table])


def read_livec(root: Path) -> Labels:
    """Three MATLAB files with names, MOS and standard deviations in one order.

    The seven images ``t1.bmp`` ... that taught the raters are left out, as in all
    published work: 1,162 of 1,169 remain.
    """
    data = root / 'Data'
    files = ('AllImages_release', 'AllMOS_release', 'AllStdDev_release')
    names, scores, stds = (read_mat(data / f'{name}.mat', name)[0] for name in files)
    if not len(names) == len(scores) == len(stds):
        raise UserError(
            f'{data} has {len(names)} names, {len(scores)} MOS and {len(stds)} '
            'standard deviations; the three files belong together'
        )
    rows = []
    for row, (name, *numbers) in enumerate(zip(names, scores, stds, strict=True)):
        if not LIVEC_TRAINING_NAME.fullmatch(str(name)):
            source = f'{data / files[0]}.mat, row {row + 1}'
            cells = dict(zip(('MOS', 'StdDev'), numbers, strict=True))
            rows.append(published(source, cells, str(name), 'MOS', 'StdDev'))
    return Labels(rows)


def read_koniq10k(root: Path) -> Labels:
    """MOS on [1, 5] from the votes c1 ... c5, which both published files have.

    One file counts votes and has the MOS on [1, 5]; the other has the shares of votes,
    the MOS on another scale and the official parts. Either will do. ``SD`` is on the
    scale of the votes in both.
    """
    scores = root / 'koniq10k_scores_and_distributions.csv'
    sets = root / 'koniq10k_distributions_sets.csv'
    in_sets = list(read_csv(sets, (*KONIQ_COLUMNS, 'set'))) if sets.is_file() else []
    parts = {cells['image_name']: _part(cells, source) for source, cells in in_sets}
    counted = scores.is_file()
    table = read_csv(scores, (*KONIQ_COLUMNS, 'MOS')) if counted else in_sets
    rows = []
    for source, cells in table:
        mean = _mean_vote(cells, source)
        if counted and abs(mean - number(cells['MOS'], 'MOS', source)) > (
            KONIQ_TOLERANCE
        ):
            raise UserError(
                f'{source}: MOS={cells["MOS"]} but the mean of the votes c1 ... c5 is '
                f'{mean:.4f}; the file is damaged or of another kind'
            )
        image = cells['image_name']
        told = {'official_split': parts.get(image, '')}
        rows.append(
            published(source, cells | {'mean': mean}, image, 'mean', 'SD', **told)
        )
    partless = sum(not row.official_split for row in rows)
    notes = (f'{partless} images have no part in {sets}',) if parts and partless else ()
    return Labels(rows, notes=notes)


def read_cid2013(root: Path) -> Labels:
    """``Realigned MOS`` of sheet ``CID2013 MOS``; the name has the subset."""
    found = sorted(root.glob('CID2013*.xlsx'))
    if len(found) > 1:
        raise UserError(f'{root} has several CID2013*.xlsx; keep one of {found}')
    rows = []
    columns = ('Source_ID', 'Realigned MOS')
    for source, cells in read_sheet(found[0], columns, 'CID2013 MOS'):
        name = str(cells['Source_ID']).strip()
        match = _matched(CID2013_NAME, name, 'Source_ID', source, 'IS_IV_C01_D02')
        subset = f'IS{CID2013_SUBSETS[match[1]]}'
        rows.append(published(source, cells, f'{name}.jpg', columns[1], subset=subset))
    return Labels(rows, judged_apart=True)


def read_spaq(root: Path) -> Labels:
    """Columns ``Image name`` and ``MOS`` of the workbook of attribute scores."""
    path = root / 'Annotations' / 'MOS and Image attribute scores.xlsx'
    rows = [
        published(source, cells, str(cells['Image name']).strip(), 'MOS')
        for source, cells in read_sheet(path, ('Image name', 'MOS'))
    ]
    return Labels(rows)


def read_bid(root: Path) -> Labels:
    """``DatabaseGrades.xlsx``: image numbers and grades, in some copies their std."""
    rows = []
    columns = ('Image Number', 'Average Subjective Grade')
    for source, cells in read_sheet(root / 'DatabaseGrades.xlsx', columns):
        place = int(number(cells[columns[0]], columns[0], source))
        name = f'DatabaseImage{place:04d}.JPG'
        rows.append(published(source, cells, name, columns[1], 'std'))
    return Labels(rows)


def read_biq2021(root: Path) -> Labels:
    """``Image Name`` and ``MOS`` of the official train and test csv.

    The name tells the subset: ``ss01`` photos taken for the study with ISO, shutter,
    focus and motion varied, ``ss02`` photos of an author's gallery, ``ss03`` photos
    from Unsplash. (The README has the first two the other way round; its figures of
    them show photos of these names.)
    """
    rows = []
    for part in ('train', 'test'):
        path = root / f'{part.title()} (Images and MOS).csv'
        for source, cells in read_csv(path, ('Image Name', 'MOS')):
            name = cells['Image Name']
            match = _matched(BIQ2021_NAME, name, 'Image Name', source, 'ss01 (7).jpg')
            told = {'subset': match[1].lower(), 'official_split': part}
            rows.append(published(source, cells, name, 'MOS', **told))
    return Labels(rows)


def _distorted(
    named: tuple[Callable[[str], NameParts | None], str],
    source: str,
    cells: Mapping[str, Any],
    image: str,
    mos: str,
    std: str,
) -> PublishedRow:
    """A row whose image's name says the rest; ``named`` reads it, and is an example."""
    parse, example = named
    parts = parse(image)
    if parts is None:
        raise UserError(
            f'{source}: image name {image!r} does not name type and level; expected '
            f'names like {example!r}'
        )
    told = {'distortion': parts.distortion, 'level': parts.level}
    return published(source, cells, image, mos, std, ref_name=parts.reference, **told)


def _matched(
    pattern: re.Pattern, name: str, column: str, source: str, example: str
) -> re.Match:
    match = pattern.fullmatch(name)
    if match is None:
        raise UserError(f'{source}: {column}={name!r}: expected names like {example}')
    return match


def _two_words(line: str, source: str, words: list[str]) -> list[str]:
    if len(words) != 2:
        raise UserError(f'{source}: {line!r}: expected a score and an image name')
    return words


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


def _part(cells: Mapping[str, str], source: str) -> str:
    if cells['set'] not in KONIQ_PARTS:
        raise UserError(
            f'{source}: set={cells["set"]!r}: expected one of {list(KONIQ_PARTS)}'
        )
    return KONIQ_PARTS[cells['set']]


def _mean_vote(cells: Mapping[str, str], source: str) -> float:
    """Mean of the votes; shares are turned back into counts, so that it is exact."""
    votes = [number(cells[column], column, source) for column in KONIQ_VOTES]
    total = number(cells['c_total'], 'c_total', source)
    if min(votes) < 0 or sum(votes) <= 0 or total < 1:
        raise UserError(f'{source}: votes {votes} of c_total={total:g} are impossible')
    if sum(votes) < 1.5:
        votes = [round(vote * total) for vote in votes]
    weighted = sum(grade * vote for grade, vote in enumerate(votes, start=1))
    return weighted / sum(votes)
