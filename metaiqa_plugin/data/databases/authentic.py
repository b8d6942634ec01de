"""Readers of databases of photos as cameras took them, and of any csv."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from metaiqa_plugin.data.databases.rows import LabelledRow, Labels, number
from metaiqa_plugin.data.databases.sources import read_csv, read_mat, read_sheet
from metaiqa_plugin.errors import UserError

__all__ = [
    'read_any_csv',
    'read_bid',
    'read_cid2013',
    'read_koniq10k',
    'read_livec',
    'read_spaq',
]

IMAGE_COLUMNS = ('img_name', 'image', 'image_name', 'dist_name', 'name', 'filename')
SCORE_COLUMNS = ('mos', 'score', 'dmos', 'pseudo_mos')
LIVEC_TRAINING_NAME = re.compile(r't\d+\.\w+', re.ASCII | re.IGNORECASE)
KONIQ_SCORES = 'koniq10k_scores_and_distributions.csv'
KONIQ_SETS = 'koniq10k_distributions_sets.csv'
KONIQ_VOTES = ('c1', 'c2', 'c3', 'c4', 'c5')
KONIQ_PARTS = {'training': 'train', 'validation': 'val', 'test': 'test'}
KONIQ_TOLERANCE = 0.01
CID2013_NAME = re.compile(r'IS_(I|II|III|IV|V|VI)_C\d+_D\d+', re.ASCII)
CID2013_SUBSETS = {'I': 1, 'II': 2, 'III': 3, 'IV': 4, 'V': 5, 'VI': 6}


def read_livec(root: Path) -> Labels:
    """Three MATLAB files with names, MOS and standard deviations in one order.

    The seven images ``t1.bmp`` ... that taught the raters are left out, as in all
    published work: 1,162 of 1,169 remain.
    """
    data = root / 'Data'
    path = data / 'AllImages_release.mat'
    (names,) = read_mat(path, 'AllImages_release')
    (scores,) = read_mat(data / 'AllMOS_release.mat', 'AllMOS_release')
    (stds,) = read_mat(data / 'AllStdDev_release.mat', 'AllStdDev_release')
    if not len(names) == len(scores) == len(stds):
        raise UserError(
            f'{data} has {len(names)} names, {len(scores)} MOS and {len(stds)} '
            'standard deviations; the three files belong together'
        )
    rows = []
    for row, (name, score, std) in enumerate(
        zip(names, scores, stds, strict=True), start=1
    ):
        if LIVEC_TRAINING_NAME.fullmatch(str(name)):
            continue
        source = f'{path}, row {row}'
        rows.append(
            LabelledRow(
                str(name),
                number(score, 'MOS', source),
                source,
                number(std, 'StdDev', source),
            )
        )
    return Labels(rows)


def read_koniq10k(root: Path) -> Labels:
    """MOS on [1, 5] from the votes c1 ... c5, which both published files have.

    One file counts votes and has the MOS on [1, 5]; the other has the shares of votes,
    the MOS on another scale and the official parts. Either will do. ``SD`` is on the
    scale of the votes in both.
    """
    scores, sets = root / KONIQ_SCORES, root / KONIQ_SETS
    parts = {}
    if sets.is_file():
        columns = ('image_name', *KONIQ_VOTES, 'c_total', 'SD', 'set')
        in_sets = list(read_csv(sets, columns))
        parts = {cells['image_name']: _part(cells, source) for source, cells in in_sets}
    if scores.is_file():
        table = _checked_koniq_scores(scores)
    else:
        table = iter(in_sets)
    rows = [
        LabelledRow(
            cells['image_name'],
            _mean_vote(cells, source),
            source,
            number(cells['SD'], 'SD', source),
            official_split=parts.get(cells['image_name'], ''),
        )
        for source, cells in table
    ]
    partless = sum(not row.official_split for row in rows)
    if not parts or not partless:
        return Labels(rows)
    return Labels(rows, notes=(f'{partless} images have no part in {sets}',))


def read_cid2013(root: Path) -> Labels:
    """``Realigned MOS`` of sheet ``CID2013 MOS``; the name tells the sub-set."""
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
        rows.append(
            LabelledRow(
                f'{name}.jpg',
                number(cells['Realigned MOS'], 'Realigned MOS', source),
                source,
                subset=f'IS{CID2013_SUBSETS[match[1]]}',
            )
        )
    return Labels(rows)


def read_spaq(root: Path) -> Labels:
    """Columns ``Image name`` and ``MOS`` of the workbook of attribute scores."""
    path = root / 'Annotations' / 'MOS and Image attribute scores.xlsx'
    return Labels(
        [
            LabelledRow(
                str(cells['Image name']).strip(),
                number(cells['MOS'], 'MOS', source),
                source,
            )
            for source, cells in read_sheet(path, ('Image name', 'MOS'))
        ]
    )


def read_bid(root: Path) -> Labels:
    """``DatabaseGrades.xlsx``: image numbers and grades, in some copies their std."""
    path = root / 'DatabaseGrades.xlsx'
    rows = []
    columns = ('Image Number', 'Average Subjective Grade')
    for source, cells in read_sheet(path, columns):
        place = number(cells['Image Number'], 'Image Number', source)
        std = cells.get('std')
        rows.append(
            LabelledRow(
                f'DatabaseImage{int(place):04d}.JPG',
                number(cells[columns[1]], columns[1], source),
                source,
                None if std is None else number(std, 'std', source),
            )
        )
    return Labels(rows)


def read_any_csv(
    path: Path,
    image_column: str | None = None,
    score_column: str | None = None,
    reference_column: str | None = None,
    group_column: str | None = None,
) -> Labels:
    """Labels of a csv with columns of one's own.

    Args:
        path: the csv.
        image_column, score_column: None: the first of :data:`IMAGE_COLUMNS` and
            :data:`SCORE_COLUMNS` that it has, whatever their case.
        reference_column, group_column: None: it has none.

    Raises:
        UserError: no such column, a score that is no number, no image name.
    """
    if not path.is_file():
        raise UserError(f'scores={str(path)!r}: no such file')
    wanted = (image_column, score_column, reference_column, group_column)
    table = list(read_csv(path, [name for name in wanted if name is not None]))
    if not table:
        raise UserError(f'scores={str(path)!r} has no row')
    header = list(table[0][1])
    image_column = image_column or _usual(header, IMAGE_COLUMNS, 'image_column', path)
    score_column = score_column or _usual(header, SCORE_COLUMNS, 'score_column', path)
    return Labels(
        [
            LabelledRow(
                cells[image_column],
                number(cells[score_column], score_column, source),
                source,
                ref_name=cells[reference_column] if reference_column else '',
                group=cells[group_column] if group_column else '',
            )
            for source, cells in table
        ]
    )


def _usual(
    header: Sequence[str], usual: Sequence[str], argument: str, path: Path
) -> str:
    for wanted in usual:
        for name in header:
            if name.casefold() == wanted:
                return name
    raise UserError(
        f'{path}: none of the columns {list(usual)}; name one of {list(header)} with '
        f'{argument} (--{argument.replace("_", "-")})'
    )


def _part(cells: Mapping[str, str], source: str) -> str:
    if cells['set'] not in KONIQ_PARTS:
        raise UserError(
            f'{source}: set={cells["set"]!r}: expected one of {list(KONIQ_PARTS)}'
        )
    return KONIQ_PARTS[cells['set']]


def _checked_koniq_scores(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of the file with counts; its votes and its MOS must agree."""
    columns = ('image_name', *KONIQ_VOTES, 'c_total', 'MOS', 'SD')
    for source, cells in read_csv(path, columns):
        mean, published = _mean_vote(cells, source), number(cells['MOS'], 'MOS', source)
        if abs(mean - published) > KONIQ_TOLERANCE:
            raise UserError(
                f'{source}: MOS={cells["MOS"]} but the mean of the votes c1 ... c5 is '
                f'{mean:.4f}; the file is damaged or of another kind'
            )
        yield source, cells


def _mean_vote(cells: Mapping[str, str], source: str) -> float:
    """Mean of the votes; shares are turned back into counts, so that it is exact."""
    votes = [number(cells[column], column, source) for column in KONIQ_VOTES]
    total = number(cells['c_total'], 'c_total', source)
    if min(votes) < 0 or sum(votes) <= 0 or total < 1:
        raise UserError(f'{source}: votes {votes} of c_total={total:g} can not be')
    if sum(votes) < 1.5:
        votes = [round(vote * total) for vote in votes]
    weighted = sum(grade * vote for grade, vote in enumerate(votes, start=1))
    return weighted / sum(votes)
