"""Readers of databases of photos as cameras took them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from metaiqa_plugin.data.databases.sources import (
    Labels,
    published,
    read_csv,
    read_mat,
    read_sheet,
)
from metaiqa_plugin.data.labels import number
from metaiqa_plugin.errors import UserError

__all__ = [
    'read_bid',
    'read_biq2021',
    'read_cid2013',
    'read_koniq10k',
    'read_livec',
    'read_spaq',
]

LIVEC_TRAINING_NAME = re.compile(r't\d+\.\w+', re.ASCII | re.IGNORECASE)
KONIQ_SCORES = 'koniq10k_scores_and_distributions.csv'
KONIQ_SETS = 'koniq10k_distributions_sets.csv'
KONIQ_VOTES = ('c1', 'c2', 'c3', 'c4', 'c5')
KONIQ_COLUMNS = ('image_name', *KONIQ_VOTES, 'c_total', 'SD')
KONIQ_PARTS = {'training': 'train', 'validation': 'val', 'test': 'test'}
KONIQ_TOLERANCE = 0.01
CID2013_NAME = re.compile(r'IS_(I|II|III|IV|V|VI)_C\d+_D\d+', re.ASCII)
CID2013_SUBSETS = {'I': 1, 'II': 2, 'III': 3, 'IV': 4, 'V': 5, 'VI': 6}
BIQ2021_NAME = re.compile(r'(ss0[123]) \(\d+\)\.jpg', re.ASCII | re.IGNORECASE)
BIQ2021_PARTS = {'train': 'Train', 'test': 'Test'}


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
    rows = [
        published(
            f'{data / files[0]}.mat, row {row}',
            {'MOS': score, 'StdDev': std},
            str(name),
            'MOS',
            'StdDev',
        )
        for row, (name, score, std) in enumerate(
            zip(names, scores, stds, strict=True), start=1
        )
        if not LIVEC_TRAINING_NAME.fullmatch(str(name))
    ]
    return Labels(rows)


def read_koniq10k(root: Path) -> Labels:
    """MOS on [1, 5] from the votes c1 ... c5, which both published files have.

    One file counts votes and has the MOS on [1, 5]; the other has the shares of votes,
    the MOS on another scale and the official parts. Either will do. ``SD`` is on the
    scale of the votes in both.
    """
    scores, sets = root / KONIQ_SCORES, root / KONIQ_SETS
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
        part = parts.get(image, '')
        given = cells | {'mean': mean}
        rows.append(published(source, given, image, 'mean', 'SD', official_split=part))
    partless = sum(not row.official_split for row in rows)
    if not parts or not partless:
        return Labels(rows)
    return Labels(rows, notes=(f'{partless} images have no part in {sets}',))


def read_cid2013(root: Path) -> Labels:
    """``Realigned MOS`` of sheet ``CID2013 MOS``; the name has the subset."""
    found = sorted(root.glob('CID2013*.xlsx'))
    if len(found) > 1:
        raise UserError(f'{root} has several CID2013*.xlsx; keep one of {found}')
    rows = []
    columns = ('Source_ID', 'Realigned MOS')
    for source, cells in read_sheet(found[0], columns, 'CID2013 MOS'):
        name = str(cells['Source_ID']).strip()
        match = CID2013_NAME.fullmatch(name)
        if match is None:
            raise UserError(
                f'{source}: Source_ID={name!r}: expected names like IS_IV_C01_D02'
            )
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
    for part, word in BIQ2021_PARTS.items():
        table = read_csv(root / f'{word} (Images and MOS).csv', ('Image Name', 'MOS'))
        for source, cells in table:
            name = cells['Image Name']
            match = BIQ2021_NAME.fullmatch(name)
            if match is None:
                raise UserError(
                    f'{source}: Image Name={name!r}: expected names like ss01 (7).jpg'
                )
            told = {'subset': match[1].lower(), 'official_split': part}
            rows.append(published(source, cells, name, 'MOS', **told))
    return Labels(rows)


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
