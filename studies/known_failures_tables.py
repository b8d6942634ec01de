"""What scores say about known failures: numbers, tables and pictures out of scores.

Scores are as a metric gives them; ``lower_better`` turns them round where an order or a
correlation is asked for. A score that is missing is NaN, and its photo is left out.
Level 0 of a distortion is the photo itself. The mean MOS of people are those of
KADID-10k and TID2013, see ``metaiqa_plugin.data.versions``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from known_failures_images import ORIGINAL, PRISTINE, VERSIONS
from matplotlib.figure import Figure
from scipy.stats import rankdata
from shared import markdown_row, write_frame

from metaiqa_plugin.data.distortions import DISTORTIONS, KADID10K, LEVELS
from metaiqa_plugin.data.versions import PRISTINE_MOS, pseudo_mos
from metaiqa_plugin.files import replacing
from metaiqa_plugin.score import correlate
from metaiqa_plugin.score.scorers import NetworkScorer, Scorer

__all__ = ['levels_report', 'others_report', 'photos_report']

matplotlib.use('Agg')

RESAMPLES = 1000
NIGHT_SHARE = 0.1
UNCHANGED = 0.005
"""Mean change of a pixel, of 255, below which a level is said to keep the photo."""
MIN_DIFFERENCE = 0.1
"""Of two mean MOS, 1 to 5, that are called different; they are of 81 photos."""

Order = dict[str, tuple[int, int]]
Numbers = dict[str, float]


def darkest(luma: Sequence[float], share: float) -> tuple[np.ndarray, float]:
    """Which photos are the darkest ``share``, and the largest luma among them.

    Args:
        luma: (N,) mean luma of photos.
        share: in (0, 1]; rounded to whole photos, at least one. Photos as dark as the
            last of them belong to them, too.

    Returns:
        (N,) bool and the threshold.
    """
    luma = np.asarray(luma, np.float64)
    threshold = np.sort(luma)[max(1, round(share * len(luma))) - 1]
    return luma <= threshold, float(threshold)


def agreement(
    scores: Sequence[float], mos: Sequence[float], lower_better: bool, same_scale: bool
) -> Numbers:
    """Scores (N,) against MOS (N,) in [0, 1], higher better; NaN where not defined.

    Args:
        scores: as the metric gives them.
        mos: of the same photos.
        lower_better: direction of the scores.
        same_scale: whether the scores predict the MOS itself.

    Returns:
        ``count`` of photos with a score; ``srocc``, above 0 where the metric agrees,
        its standard error by bootstrap samples of the photos, and ``plcc`` without a
        logistic fit; ``rmse`` and ``mean_error``, of score - MOS, on MOS' scale alone;
        ``mean`` and ``sd`` of the scores.
    """
    scores, mos = _finite(scores, mos)
    srocc, plcc = _correlated(-scores if lower_better else scores, mos)
    errors = _or_nan(scores - mos if same_scale else scores[:0])
    return {
        'count': len(scores),
        'srocc': srocc,
        'srocc_error': _srocc_error(scores, mos),
        'plcc': plcc,
        'rmse': np.sqrt((errors**2).mean()),
        'mean_error': errors.mean(),
        'mean': _or_nan(scores).mean(),
        'sd': _or_nan(scores).std(),
    }


def change(
    originals: Sequence[float],
    versions: Sequence[float],
    mos: Sequence[float],
    lower_better: bool,
) -> Numbers:
    """Scores (N,) of photos, those of their versions, and the MOS of the photos.

    Returns:
        ``count`` of photos that have both scores; ``mean``, ``sd`` and ``largest`` of
        the version's score - the photo's, the largest by its absolute value, with its
        sign; Spearman's correlation of both scores, and of the versions' to the MOS,
        above 0 where they agree.
    """
    originals, versions, mos = _finite(originals, versions, mos)
    apart = _or_nan(versions - originals)
    return {
        'count': len(originals),
        'mean': apart.mean(),
        'sd': apart.std(),
        'largest': apart[np.abs(apart).argmax()],
        'srocc_to_originals': _correlated(versions, originals)[0],
        'srocc_to_mos': _correlated(-versions if lower_better else versions, mos)[0],
    }


def spread(scores: Sequence[float]) -> Numbers:
    """Five-number summary of scores (N,), the quartiles linear between scores."""
    (scores,) = _finite(scores)
    names = ('lowest', 'lower_quartile', 'median', 'upper_quartile', 'highest')
    numbers = np.quantile(_or_nan(scores), (0, 0.25, 0.5, 0.75, 1))
    return {'count': len(scores), **dict(zip(names, numbers, strict=True))}


def _finite(*columns: Sequence[float]) -> list[np.ndarray]:
    """The rows in which all are finite."""
    arrays = [np.asarray(column, np.float64) for column in columns]
    kept = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    return [array[kept] for array in arrays]


def _or_nan(values: np.ndarray) -> np.ndarray:
    return values if len(values) else np.array([math.nan])


def _correlated(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """SROCC and PLCC; NaN for fewer than two images, or constant ones."""
    if len(one) < 2 or not np.ptp(one) or not np.ptp(two):
        return math.nan, math.nan
    found = correlate(one, two)
    return found.srocc, found.plcc


def _srocc_error(scores: np.ndarray, mos: np.ndarray) -> float:
    """Standard error by bootstrap; samples in which one is constant are left out."""
    if len(scores) < 3:
        return math.nan
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(scores), size=(RESAMPLES, len(scores)))
    one, two = (rankdata(values[drawn], axis=1) for values in (scores, mos))
    one, two = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, two))
    scale = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    kept = scale > 0
    return float(_or_nan((one * two).sum(axis=1)[kept] / scale[kept]).std())


def opinions(distortion: str) -> list[float]:
    """Mean MOS (6,), 1 to 5, of the pristine photo and of levels 1 to 5 of a type."""
    return [PRISTINE_MOS, *(pseudo_mos(distortion, level) for level in LEVELS)]


def falls(people: Sequence[float]) -> bool:
    """Whether the mean MOS (6,) is lower from each level, 1 to 5, to the next."""
    return bool((np.diff(people[1:]) < 0).all())


def best_first(people: Sequence[float]) -> list[int]:
    """Levels 1 to 5 by mean MOS (6,), the highest first."""
    return sorted(LEVELS, key=lambda level: (-people[level], level))


def order(
    scores: Sequence[Sequence[float]],
    people: Sequence[float],
    lower_better: bool,
    unchanged: Collection[int] = (),
) -> Order:
    """How often the score falls with the level; equal scores have not fallen.

    Args:
        scores: (photos, 6) of each photo and its levels 1 to 5, as the metric gives
            them. A photo without all six, NaN, is left out.
        people: (6,) mean MOS of the same.
        lower_better: direction of the scores.
        unchanged: levels that keep the photo: no pair with level 0.

    Returns:
        the number that is right, and of how many: ``adjacent``, pairs of neighbouring
        levels, 0 to 5; ``every`` pair; ``photos`` whose scores fall from each level, 1
        to 5, to the next; and of pairs whose mean MOS differ by
        :data:`MIN_DIFFERENCE` those in the order of ``people``.
    """
    quality = np.asarray(scores, np.float64).reshape(-1, 6)
    quality = quality[np.isfinite(quality).all(axis=1)]
    quality = -quality if lower_better else quality
    every = [
        (one, two)
        for one, two in combinations(range(6), 2)
        if one > 0 or two not in unchanged
    ]
    judged = [
        (one, two) if people[one] > people[two] else (two, one)
        for one, two in every
        if abs(people[one] - people[two]) >= MIN_DIFFERENCE
    ]
    falling = (np.diff(quality[:, 1:], axis=1) < 0).all(axis=1)
    return {
        'adjacent': _right(quality, [p for p in pairwise(range(6)) if p in every]),
        'every': _right(quality, every),
        'photos': (int(falling.sum()), len(quality)),
        'people': _right(quality, judged),
    }


def pooled(orders: Sequence[Order]) -> Order:
    """All pairs of several types together."""
    return {
        kind: tuple(np.sum([each[kind] for each in orders], axis=0).tolist())
        for kind in orders[0]
    }


def _right(quality: np.ndarray, pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    right = sum(int((quality[:, one] > quality[:, two]).sum()) for one, two in pairs)
    return right, len(pairs) * len(quality)


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
        of = wide[scorer.name].unstack('version').loc[known.index]
        told = scorer.lower_better, isinstance(scorer, NetworkScorer)
        for group, kept in groups.items():
            for version in (ORIGINAL, 'gray'):
                row = {'metric': scorer.name, 'photos': group, 'version': version}
                found = agreement(of[version][kept], mos[kept], *told)
                agreements.append(row | found)
        for version in VERSIONS:
            found = change(of[ORIGINAL], of[version], mos, scorer.lower_better)
            changes.append({'metric': scorer.name, 'version': version} | found)
    print(
        f'\n## LIVE Challenge, {label}: {len(known)} photos\n\nnight: mean luma of at '
        f'most {threshold:.1f} of 255, the darkest {NIGHT_SHARE:.0%}\n'
    )
    _tell(out / 'known_failures_photos.csv', agreements)
    print()
    table = _tell(out / 'known_failures_versions.csv', changes)
    draw_versions(out / 'known_failures_versions.png', table)


def others_report(scores: pd.DataFrame, scorers: Sequence[Scorer], out: Path) -> None:
    """A table of the scores of each kind of image."""
    rows = [
        {'metric': scorer.name, 'kind': kind} | spread(own[scorer.name])
        for scorer in scorers
        for kind, own in scores.groupby('kind', sort=False)
    ]
    print('\n## Images that are not photos\n')
    _tell(out / 'known_failures_others.csv', rows)


def levels_report(scores: pd.DataFrame, scorers: Sequence[Scorer], out: Path) -> None:
    """A table and a picture of the order of levels, of photos with all types."""
    rows = [row for scorer in scorers for row in _level_rows(scores, scorer)]
    print(f'\n## Levels: {scores["photo"].nunique()} photos\n')
    table = _tell(out / 'known_failures_levels.csv', rows)
    draw_levels(out / 'known_failures_levels.png', table[table['database'] != ''])


def _level_rows(scores: pd.DataFrame, scorer: Scorer) -> list[dict]:
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
        means = {f'mean_{level}': mean for level, mean in of_photos.mean().items()}
        row = _level_row(scorer.name, name, orders[name], database, *told)
        rows.append(row | means)
    falling = [own for name, own in orders.items() if falls(opinions(name))]
    for label, some in (('all', [*orders.values()]), ('falling for people', falling)):
        name = f'{label}: {len(some)} types'
        rows.append(_level_row(scorer.name, name, pooled(some)))
    return rows


def _level_row(
    metric: str,
    name: str,
    found: Order,
    database: str = '',
    people: str = '',
    unchanged: str = '',
) -> dict:
    """With the share, the number and the count of each kind of pair."""
    row = {'metric': metric, 'distortion': name, 'database': database}
    row |= {'order_of_people': people, 'levels_unchanged': unchanged}
    for kind, (right, count) in found.items():
        row[kind] = right / count if count else math.nan
        row |= {f'{kind}_right': right, f'{kind}_of': count}
    return row


def _tell(path: Path, rows: Sequence[Mapping]) -> pd.DataFrame:
    """Write a csv, and print a Markdown table without the details."""
    table = pd.DataFrame(rows)
    write_frame(path, table)
    shown = table.loc[:, ~table.columns.str.contains(r'_right$|_of$|^mean_\d')]
    for cells in (shown.columns, ['---'] * shown.shape[1]):
        print(markdown_row(*cells))
    for row in shown.itertuples(index=False):
        print(markdown_row(*row))
    return table


def draw_versions(path: Path, table: pd.DataFrame) -> None:
    """Change of the score of each version, and its correlation to the originals.

    Args:
        path: PNG to write.
        table: columns ``metric``, ``version``, ``mean``, ``sd``,
            ``srocc_to_originals``; the first version of each metric is the original.
    """
    metrics = table['metric'].unique()
    figure = Figure(figsize=(10, 1 + 3.2 * len(metrics)), layout='constrained')
    grid = figure.subplots(len(metrics), 2, squeeze=False, sharey='row')
    lowest = np.nanmin([*table['srocc_to_originals'], 0.9])
    for (left, right), metric in zip(grid, metrics, strict=True):
        own = table[table['metric'] == metric].iloc[1:]
        places = np.arange(len(own))
        left.errorbar(own['mean'], places, xerr=own['sd'], fmt='o', capsize=3)
        left.axvline(0, color='gray', linewidth=0.8)
        left.set_yticks(places, own['version'])
        left.invert_yaxis()
        left.set_xlabel('change of score: mean ± standard deviation')
        left.set_title(metric, loc='left')
        right.plot(own['srocc_to_originals'], places, 'o')
        right.set_xlim(lowest - 0.05, 1.05)
        right.axvline(1, color='gray', linewidth=0.8)
        right.set_xlabel("SROCC to the originals' scores")
        for axes in (left, right):
            axes.grid(alpha=0.3)
    _save(figure, path)


def draw_levels(path: Path, table: pd.DataFrame) -> None:
    """Share of neighbouring levels in order, by type; one panel a metric.

    Args:
        path: PNG to write.
        table: columns ``metric``, ``distortion``, ``adjacent`` and ``people``.
    """
    metrics = table['metric'].unique()
    figure = Figure(figsize=(1.5 + 4 * len(metrics), 8), layout='constrained')
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        own = table[table['metric'] == metric]
        places = np.arange(len(own))
        axes.barh(places, own['adjacent'], color='#9ab7d3', label='neighbouring levels')
        axes.plot(own['people'], places, 'k.', label='pairs that differ for people')
        axes.axvline(0.5, color='gray', linewidth=0.8, linestyle='--')
        axes.set_yticks(places, own['distortion'])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_title(metric)
        axes.grid(axis='x', alpha=0.3)
    figure.supxlabel('share of pairs in the right order; dashed: chance')
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside upper center', ncols=2)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
