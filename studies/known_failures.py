"""Known failures of metrics, measured: sizes, gray, night, crops, no photos, levels.

    python studies/known_failures.py --metric metaiqa --livec TABLE IMAGES --split 1 \
        --out docs/results --overwrite

Three parts, each of which can be asked for alone (``--parts``):

* photos: those of LIVE Challenge and the versions of them that
  ``known_failures_images`` makes; the darkest tenth are looked at as night scenes;
* others: text, screenshots, drawings and charts, on which scores mean nothing;
* levels: whether scores of carried photos fall with the level of each distortion.

Scores go to ``SCORES/*.csv`` as they come, as the metric gives them, and ``--resume``
goes on with them; tables are printed and written to ``OUT/known_failures_*.csv``, with
two pictures. The exit code is 1 where something could not be made, read or scored.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
import torch
from known_failures_images import (
    KINDS,
    ORIGINAL,
    PRISTINE,
    VERSIONS,
    charts,
    distorted_levels,
    mean_luma,
    open_browser,
)
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import rankdata
from shared import RowFile, livec, markdown_row, study_parser, target, write_frame
from tqdm import tqdm

from metaiqa_plugin.cli.common import add_metric, add_resume, add_workers
from metaiqa_plugin.data.distortions import DISTORTIONS, KADID10K, LEVELS
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.data.versions import PRISTINE_MOS, pseudo_mos
from metaiqa_plugin.errors import SOME_FAILED, UserError, run, whole_number
from metaiqa_plugin.files import replacing
from metaiqa_plugin.parallel import available_cores, parallel_map
from metaiqa_plugin.photos import carried_photos
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import NetworkScorer, Scorer, open_scorers

matplotlib.use('Agg')

WRITTEN = {
    'photos': ('photos.csv', 'versions.csv', 'versions.png'),
    'others': ('others.csv',),
    'levels': ('levels.csv', 'levels.png'),
}
"""Parts, in their order, and what comes of each in ``--out``."""
KODAK, LIVEC = 'photos, Kodak', 'photos, LIVE Challenge'
RESAMPLES = 1000
NIGHT_SHARE = 0.1
UNCHANGED = 0.005
"""Mean change of a pixel, of 255, below which a level is said to keep the photo."""
MIN_DIFFERENCE = 0.1
"""Of two mean MOS, 1 to 5, that are called different; they are of 81 photos."""

Order = dict[str, tuple[int, int]]
Numbers = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, print and write what is asked for; the exit code.

    Raises:
        UserError: an argument is wrong, or no metric of that name.
    """
    parser = study_parser(__doc__)
    add_metric(parser, many=True)
    parser.add_argument(
        '--parts', default=','.join(WRITTEN), help='default %(default)s'
    )
    parser.add_argument('--livec', nargs=2, metavar=('TABLE', 'IMAGES'))
    parser.add_argument('--split', type=int, help='test part of it; default: all')
    parser.add_argument('--limit', type=int, help='photos of LIVE Challenge')
    parser.add_argument('--photos', type=int, default=24, help='carried ones, of 24')
    parser.add_argument('--scores', type=Path, default=Path('known-failures'))
    add_resume(parser)
    parser.add_argument('--keep', type=Path, help='folder for the images of others')
    add_workers(parser, 'processes that distort', available_cores())
    parser.add_argument('--threads', type=int, help='of torch and OpenCV')
    options = parser.parse_args(arguments)
    parts = checked(options)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    scorers = open_scorers(options.metric or ['metaiqa'], threads=options.threads)
    measures = {'photos': photos, 'others': others, 'levels': levels}
    failed = sum(measures[part](options, scorers) for part in parts)
    return SOME_FAILED if failed else 0


def checked(options: argparse.Namespace) -> list[str]:
    """The parts, in their order; raises UserError where an argument is wrong."""
    asked = options.parts.split(',')
    if not set(asked) <= set(WRITTEN):
        raise UserError(
            f'parts={options.parts!r}: expected some of {",".join(WRITTEN)}'
        )
    if 'photos' in asked and options.livec is None:
        raise UserError(
            f'parts={options.parts!r}: photos needs --livec TABLE IMAGES; or leave it '
            'out, as in --parts others,levels'
        )
    for name in ('split', 'limit', 'photos', 'workers', 'threads'):
        if getattr(options, name) is not None:
            whole_number(name, getattr(options, name))
    for part in asked:
        for name in WRITTEN[part]:
            target(options, f'known_failures_{name}')
    return [part for part in WRITTEN if part in asked]


class ScoreFile(RowFile):
    """A growing csv of scores; images come in groups, whose rows are written at once.

    Args:
        path: of the csv.
        columns: of what is known of an image; the first ``keys`` name its group.
        keys: how many.
        scorers: each has a column. Others are ``width``, ``height`` and ``error``.
        resume: keep the groups that the csv has; else start again.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        keys: int,
        scorers: Sequence[Scorer],
        resume: bool = False,
    ) -> None:
        names = [scorer.name for scorer in scorers]
        super().__init__(
            path, [*columns, 'width', 'height', *names, 'error'], keys, resume
        )
        self._scorers = scorers

    def score(self, *key: str, images: Iterable[tuple[Sequence, Image.Image]]) -> None:
        """Add a group: what is known of each image beyond its key, and its pixels.

        An image that a metric cannot score has an ``error``, and no score there.
        """
        images = [([*key, *known], image) for known, image in images]
        items = [
            Item(', '.join(map(str, known)), image.copy) for known, image in images
        ]
        rows = []
        scored = score_items(items, self._scorers)
        for (known, image), row in zip(images, scored, strict=True):
            shown = ['' if score is None else f'{score:.8g}' for score in row.scores]
            rows.append([*known, *image.size, *shown, row.error])
            if row.error:
                print(f'metaiqa: no score of {row.path}: {row.error}', file=sys.stderr)
        self.add(rows)

    def add_unread(self, *key: str, error: UserError) -> None:
        """Note that a group could not be read."""
        print(f'metaiqa: skipped: {error}', file=sys.stderr)
        self.add([[*key, *[''] * (len(self.header) - len(key) - 1), error]])

    def scores(self) -> tuple[pd.DataFrame, int]:
        """All rows, keys as text; and how many have an error."""
        table = self.read(text=['error'])
        return table, int(table['error'].notna().sum())


def photos(options: argparse.Namespace, scorers: Sequence[Scorer]) -> int:
    """Versions of LIVE Challenge's photos; how many could not be read or scored."""
    rows = labelled(options)
    path, columns = options.scores / 'photos.csv', ('image', 'mos', 'luma', 'version')
    table = ScoreFile(path, columns, 1, scorers, options.resume)
    for place in tqdm(range(len(rows)), 'photos', unit='photo'):
        row = rows[place]
        if (row.image,) in table:
            continue
        try:
            image = read_rgb(rows.path(place))
        except UserError as error:
            table.add_unread(row.image, error=error)
            continue
        known = (f'{row.mos:.6f}', f'{mean_luma(image):.4f}')
        images = (((*known, name), make(image)) for name, make in VERSIONS.items())
        table.score(row.image, images=images)
    scores, failed = table.scores()
    wanted = scores[scores['image'].isin([*rows.images])]
    label = 'all' if options.split is None else f'test, split {options.split:02}'
    photos_report(wanted, scorers, label, options.out)
    return failed


def others(options: argparse.Namespace, scorers: Sequence[Scorer]) -> int:
    """Images that are not photos; how many images and kinds failed."""
    table = ScoreFile(options.scores / 'others.csv', ('kind', 'image'), 2, scorers)
    skipped: list[str] = []
    for kind, name, source in tqdm(photo_files(options), 'others: photos'):
        try:
            table.score(kind, name, images=[((), read_rgb(source))])
        except UserError as error:
            table.add_unread(kind, name, error=error)
    for kind, name, image in tqdm(no_photos(skipped), 'others: no photos'):
        table.score(kind, name, images=[((), image)])
        if options.keep:
            path = options.keep / kind / f'{name.replace("/", "-")}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    scores, failed = table.scores()
    others_report(scores, scorers, options.out)
    return failed + len(skipped)


def photo_files(options: argparse.Namespace) -> list[tuple[str, str, Path]]:
    """Kind, name and file of the photos to compare with."""
    files = [(KODAK, path.name, path) for path in carried_photos()[: options.photos]]
    if options.livec:
        rows = labelled(options)
        files += [(LIVEC, row.image, rows.path(at)) for at, row in enumerate(rows)]
    return files


def no_photos(skipped: list[str]) -> Iterator[tuple[str, str, Image.Image]]:
    """Kind, name and image; the kinds that cannot be made are put in ``skipped``."""

    def skip(kind: str, error: UserError) -> None:
        print(f'metaiqa: skipped {kind}: {error}', file=sys.stderr)
        skipped.append(kind)

    try:
        with open_browser() as browser:
            for kind, make in KINDS.items():
                try:
                    yield from ((kind, name, image) for name, image in make(browser))
                except UserError as error:
                    skip(kind, error)
    except UserError as error:
        for kind in KINDS:
            skip(kind, error)
    yield from (('charts', name, image) for name, image in charts())


def levels(options: argparse.Namespace, scorers: Sequence[Scorer]) -> int:
    """All types and levels of carried photos; how many could not be scored."""
    path = options.scores / 'levels.csv'
    columns = ('photo', 'distortion', 'level', 'change')
    table = ScoreFile(path, columns, 2, scorers, options.resume)
    chosen = carried_photos()[: options.photos]
    jobs = [(photo, name) for photo in chosen for name in (PRISTINE, *DISTORTIONS)]
    jobs = [(photo, name) for photo, name in jobs if (photo.stem, name) not in table]
    made = parallel_map(distorted_levels, jobs, options.workers)
    done = tqdm(zip(jobs, made, strict=True), 'levels', len(jobs), unit='type')
    for (photo, name), found in done:
        images = (((level, f'{change:.4f}'), image) for level, image, change in found)
        table.score(photo.stem, name, images=images)
    scores, failed = table.scores()
    wanted = scores[scores['photo'].isin([photo.stem for photo in chosen])]
    levels_report(wanted, scorers, options.out)
    return failed


def labelled(options: argparse.Namespace) -> LabelledRows:
    """LIVE Challenge's photos, or the test part of the split; the first ``limit``."""
    rows = livec(*options.livec, options.split)
    return rows if options.limit is None else rows.at(range(len(rows))[: options.limit])


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
        scores: as the metric gives them; photos whose score is NaN are left out.
        mos: of the same photos.
        lower_better: direction of the scores.
        same_scale: whether the scores predict the MOS itself.

    Returns:
        ``count`` of photos with a score; ``srocc``, above 0 where the metric agrees,
        its standard error by bootstrap samples of the photos, and ``plcc`` without a
        logistic fit; ``rmse`` and ``mean_error``, of score - MOS, on MOS' scale alone;
        ``mean`` and ``sd`` of the scores.
    """
    table = _finite(score=scores, mos=mos)
    scores, mos = table['score'], table['mos']
    errors = scores - mos if same_scale else scores[:0]
    sign = -1 if lower_better else 1
    return {
        'count': len(table),
        'srocc': sign * table.rank().corr().loc['score', 'mos'],
        'srocc_error': _srocc_error(scores, mos),
        'plcc': sign * table.corr().loc['score', 'mos'],
        'rmse': math.sqrt((errors**2).mean()),
        'mean_error': errors.mean(),
        'mean': scores.mean(),
        'sd': scores.std(ddof=0),
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
    table = _finite(photo=originals, version=versions, mos=mos)
    apart = table['version'] - table['photo']
    srocc = table.rank().corr()['version']
    return {
        'count': len(table),
        'mean': apart.mean(),
        'sd': apart.std(ddof=0),
        'largest': apart[apart.abs().idxmax()] if len(apart) else math.nan,
        'srocc_to_originals': srocc['photo'],
        'srocc_to_mos': -srocc['mos'] if lower_better else srocc['mos'],
    }


def spread(scores: Sequence[float]) -> Numbers:
    """Five-number summary of scores (N,), the quartiles linear between scores."""
    scores = _finite(score=scores)['score']
    names = ('lowest', 'lower_quartile', 'median', 'upper_quartile', 'highest')
    numbers = scores.quantile([0, 0.25, 0.5, 0.75, 1])
    return {'count': len(scores), **dict(zip(names, numbers, strict=True))}


def _finite(**columns: Sequence[float]) -> pd.DataFrame:
    """The rows in which all are numbers."""
    arrays = {name: np.asarray(values, float) for name, values in columns.items()}
    return pd.DataFrame(arrays).dropna(ignore_index=True)


def _srocc_error(scores: Sequence[float], mos: Sequence[float]) -> float:
    """Standard error by bootstrap; samples in which one is constant are left out."""
    if len(scores) < 3:
        return math.nan
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(scores), size=(RESAMPLES, len(scores)))
    one, two = (rankdata(np.asarray(of)[drawn], axis=1) for of in (scores, mos))
    one, two = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, two))
    scale = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    kept = scale > 0
    products = (one * two).sum(axis=1)
    return float(np.std(products[kept] / scale[kept])) if kept.any() else math.nan


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


if __name__ == '__main__':
    sys.exit(run(main))
