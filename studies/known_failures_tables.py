"""Tables and pictures of known failures, out of the scores of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd
from known_failures_figures import draw_levels, draw_versions
from known_failures_images import ORIGINAL, PRISTINE, VERSIONS
from known_failures_numbers import (
    Agreement,
    Change,
    Spread,
    agreement,
    change,
    darkest,
    spread,
)
from known_failures_order import Order, best_first, falls, opinions, order, pooled

from metaiqa_plugin.data.distortions import DISTORTIONS, KADID10K
from metaiqa_plugin.files import write_table
from metaiqa_plugin.score.scorers import NetworkScorer, Scorer

__all__ = ['levels_report', 'others_report', 'photos_report']

NIGHT_SHARE = 0.1
UNCHANGED = 0.005
"""Mean change of a pixel, of 255, below which a level is said to keep the photo."""
LEVELS = range(6)


def photos_report(
    scores: pd.DataFrame, scorers: Sequence[Scorer], label: str, out: Path
) -> None:
    """Two tables and a picture of LIVE Challenge's photos and their versions.

    Args:
        scores: rows of the score table, those of unread photos with no version.
        scorers: the metrics.
        label: which photos they are.
        out: folder.
    """
    scores = scores[scores['version'].notna()]
    if scores.empty:
        print(f'\nLIVE Challenge, {label}: no photo could be read')
        return
    wide = scores.set_index(['image', 'version'])
    known = wide.xs(ORIGINAL, level='version')
    dark, threshold = darkest(known['luma'], NIGHT_SHARE)
    groups = {'all': np.full(len(dark), True), 'night': dark, 'rest': ~dark}
    mos = known['mos'].to_numpy()
    agreements, changes = [], []
    for scorer in scorers:
        by_version = wide[scorer.name].unstack('version').loc[known.index]
        same_scale = isinstance(scorer, NetworkScorer)
        for group, kept in groups.items():
            for version in (ORIGINAL, 'gray'):
                found = agreement(
                    by_version[version][kept],
                    mos[kept],
                    scorer.lower_better,
                    same_scale,
                )
                agreements.append((scorer.name, group, version, *astuple(found)))
        for version in VERSIONS:
            found = change(
                by_version[ORIGINAL], by_version[version], mos, scorer.lower_better
            )
            changes.append((scorer.name, version, *astuple(found)))
    print(
        f'\n## LIVE Challenge, {label}: {len(known)} photos\n\nnight: mean luma of at '
        f'most {threshold:.1f} of 255, the darkest {NIGHT_SHARE:.0%}\n'
    )
    header = ('metric', 'photos', 'version', *_names(Agreement))
    _told(out / 'known_failures_photos.csv', header, agreements)
    print()
    header = ('metric', 'version', *_names(Change))
    _told(out / 'known_failures_versions.csv', header, changes)
    table = pd.DataFrame(changes, columns=header)
    draw_versions(out / 'known_failures_versions.png', table)


def others_report(scores: pd.DataFrame, scorers: Sequence[Scorer], out: Path) -> None:
    """A table of the scores of each kind of image.

    Args:
        scores: rows of the score table.
        scorers: the metrics.
        out: folder.
    """
    rows = [
        (scorer.name, kind, *astuple(spread(own[scorer.name])))
        for scorer in scorers
        for kind, own in scores.groupby('kind', sort=False)
    ]
    print('\n## Images that are no photos\n')
    header = ('metric', 'kind', *_names(Spread))
    _told(out / 'known_failures_others.csv', header, rows)


def levels_report(scores: pd.DataFrame, scorers: Sequence[Scorer], out: Path) -> None:
    """A table and a picture of the order of levels.

    Args:
        scores: rows of the score table: of each photo all types.
        scorers: the metrics.
        out: folder.
    """
    rows = []
    for scorer in scorers:
        rows += _level_rows(scores, scorer)
    header = ['metric', 'distortion', 'database', 'order_of_people', 'levels_unchanged']
    for name in _names(Order):
        header += [name, f'{name}_right', f'{name}_of']
    header += [f'mean_{level}' for level in LEVELS]
    print(f'\n## Levels: {scores["photo"].nunique()} photos\n')
    shown = [place for place, name in enumerate(header) if not _is_detail(name)]
    _told(out / 'known_failures_levels.csv', header, rows, shown)
    table = pd.DataFrame(rows, columns=header)
    draw_levels(out / 'known_failures_levels.png', table[table['database'] != ''])


def _is_detail(name: str) -> bool:
    return name.endswith(('_right', '_of')) or name.startswith('mean_')


def _level_rows(scores: pd.DataFrame, scorer: Scorer) -> list[list]:
    """A row a type, then those of all types, and of those that fall for people."""
    pristine = scores[scores['distortion'] == PRISTINE]
    orders, rows = {}, []
    for name in DISTORTIONS:
        own = pd.concat([pristine, scores[scores['distortion'] == name]])
        of_photos = own.pivot(index='photo', columns='level', values=scorer.name)
        people = opinions(name)
        changes = own[own['level'] > 0].groupby('level')['change'].mean()
        unchanged = [*changes.index[changes < UNCHANGED]]
        orders[name] = order(of_photos, people, scorer.lower_better, unchanged)
        database = 'KADID-10k' if name in KADID10K else 'TID2013'
        told = (' '.join(map(str, some)) for some in (best_first(people), unchanged))
        means = of_photos.mean().tolist()
        shares = _shares(orders[name])
        rows.append([scorer.name, name, database, *told, *shares, *means])
    falling = [own for name, own in orders.items() if falls(opinions(name))]
    for label, some in (('all', [*orders.values()]), ('falling for people', falling)):
        name = f'{label}: {len(some)} types'
        blank = [''] * len(LEVELS)
        rows.append([scorer.name, name, '', '', '', *_shares(pooled(some)), *blank])
    return rows


def _shares(found: Order) -> list:
    """Share, number that is right, and of how many, of each kind of pair."""
    cells = []
    for right, count in asdict(found).values():
        cells += [right / count if count else float('nan'), right, count]
    return cells


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _told(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Sequence],
    shown: Sequence[int] | None = None,
) -> None:
    """Write a csv with six digits, and print a Markdown table with three."""
    rows = list(rows)
    write_table(path, header, [[_cell(value, 6) for value in row] for row in rows])
    shown = range(len(header)) if shown is None else shown
    print(_line(header[place] for place in shown))
    print(_line('---' for _ in shown))
    for row in rows:
        print(_line(_cell(row[place], 3) for place in shown))


def _cell(value: object, digits: int) -> str:
    if not isinstance(value, float):
        return str(value)
    return '' if np.isnan(value) else f'{value:.{digits}f}'


def _line(cells: Iterable[str]) -> str:
    return f'| {" | ".join(cells)} |'
