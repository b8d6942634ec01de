"""``metaiqa ranking``: does a metric put the levels of distortions in order?"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaiqa_plugin.cli import common
from metaiqa_plugin.errors import SOME_FAILED, UserError, needing, whole_number

if TYPE_CHECKING:
    from metaiqa_plugin.data.synthesis import Synthesis
    from metaiqa_plugin.study.ranking_accuracy import RankingAccuracy
    from metaiqa_plugin.study.ranking_scores import VersionScore

__all__ = ['add_parser', 'run_ranking']

HEADER = ('type', 'photos', 'pairs', 'accuracy', 'standard_error', 'srocc')


def add_parser(verbs) -> None:
    """Add the verb ``ranking`` to the sub-parsers of ``metaiqa``."""
    verb = verbs.add_parser(
        'ranking', help='does a metric put the levels of distortions in order?'
    )
    verb.add_argument('photos', help='folder of pristine photos, with its sub-folders')
    common.add_metric(verb)
    verb.add_argument(
        '--types',
        nargs='+',
        default=['kadid10k'],
        metavar='TYPE',
        help='names, chains (motion_blur+jpeg), live, tid2013 or kadid10k (default)',
    )
    verb.add_argument(
        '--levels',
        nargs='+',
        type=common.level,
        default=[1, 2, 3, 4, 5],
        metavar='LEVEL',
    )
    common.add_max_side(verb)
    common.add_seed(verb)
    common.add_out(verb, 'folder to make', 'ranking')
    verb.add_argument('--limit', type=int, metavar='N', help='the first N photos only')
    verb.set_defaults(command=run_ranking)


def run_ranking(options: argparse.Namespace) -> int:
    """Score all versions; write the tables and the picture; print the accuracy.

    In ``--out``: ``scores.csv``, which grows row by row, and at the end
    ``accuracy.csv``, the least accurate type first, and ``levels.png``.

    Returns:
        0, or `SOME_FAILED` where an image could not be scored.

    Raises:
        UserError: a bad argument, ``--out`` in use, nothing could be scored, or
            matplotlib is missing.
    """
    with needing('benchmark'):
        import matplotlib  # noqa: F401
    from metaiqa_plugin.data.images import walk_images
    from metaiqa_plugin.score import open_metric
    from metaiqa_plugin.study.ranking_scores import score_versions

    settings = _settings(options)
    names = walk_images(options.photos, 'photos')[: options.limit]
    out = _unused(Path(options.out))
    metric = open_metric(options.metric)
    table = out / 'scores.csv'
    rows = score_versions(options.photos, names, settings, metric, table)
    failed = [row for row in rows if row.error]
    _report_failures(failed)
    lower_better = bool(metric.lower_better)
    accuracies = _accuracies(rows, settings.distortions, lower_better)
    if not any(accuracy.pairs for accuracy in accuracies.values()):
        raise UserError(
            f'photos={options.photos!r}: no two levels could be scored; the reasons '
            f'are in {table}'
        )
    _write_accuracies(out / 'accuracy.csv', accuracies)
    _draw(out / 'levels.png', rows, accuracies, Path(options.metric).name, lower_better)
    _print_table({**accuracies, 'all': _accuracy(rows, lower_better)})
    print(f'{out}: scores.csv, accuracy.csv, levels.png')
    return SOME_FAILED if failed else 0


def _settings(options: argparse.Namespace) -> Synthesis:
    from metaiqa_plugin.data.ranked_groups import preset_types
    from metaiqa_plugin.data.synthesis import Synthesis

    if options.limit is not None:
        whole_number('limit', options.limit)
    if len(options.levels) < 2:
        raise UserError(f'levels={options.levels!r}: a ranking takes at least two')
    return Synthesis(
        distortions=preset_types(options.types),
        levels=tuple(options.levels),
        max_side=options.max_side,
        seed=options.seed,
    )


def _unused(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f'out={str(out)!r} exists and is not an empty folder; choose another'
        )
    return out


def _report_failures(failed: Sequence[VersionScore]) -> None:
    from metaiqa_plugin.study.ranking_scores import PRISTINE

    for photo, rows in itertools.groupby(failed, lambda row: row.photo):
        first, *others = rows
        version = f' ({first.type} at level {first.level:g})'
        which = photo + (version if first.type != PRISTINE else '')
        more = f', {len(others)} more of it' if others else ''
        print(f'metaiqa: not scored: {which}{more}: {first.error}', file=sys.stderr)


def _accuracies(
    rows: Sequence[VersionScore], types: Sequence[str], lower_better: bool
) -> dict[str, RankingAccuracy]:
    """By type, the least accurate first, types without pairs last."""
    found = {
        kind: _accuracy([row for row in rows if row.type == kind], lower_better)
        for kind in types
    }

    def order(kind: str) -> tuple[bool, float, str]:
        accuracy = found[kind].accuracy
        return math.isnan(accuracy), accuracy, kind

    return {kind: found[kind] for kind in sorted(found, key=order)}


def _accuracy(rows: Sequence[VersionScore], lower_better: bool) -> RankingAccuracy:
    from metaiqa_plugin.study.ranking_accuracy import RankedVersions, ranking_accuracy

    sign = -1 if lower_better else 1
    groups: dict[tuple[str, str], list[VersionScore]] = {}
    for row in rows:
        if not row.error:
            groups.setdefault((row.photo, row.type), []).append(row)
    return ranking_accuracy(
        [
            RankedVersions(
                photo,
                [row.severity for row in group],
                [sign * row.score for row in group],
            )
            for (photo, _), group in groups.items()
        ]
    )


def _cells(name: str, accuracy: RankingAccuracy, unknown: str) -> list[str]:
    figures = (accuracy.accuracy, accuracy.standard_error, accuracy.srocc)
    written = [unknown if math.isnan(value) else f'{value:.4f}' for value in figures]
    return [name, str(accuracy.photos), str(accuracy.pairs), *written]


def _write_accuracies(path: Path, accuracies: Mapping[str, RankingAccuracy]) -> None:
    from metaiqa_plugin.score import write_table

    write_table(path, HEADER, [_cells(*item, '') for item in accuracies.items()])


def _print_table(accuracies: Mapping[str, RankingAccuracy]) -> None:
    lines = [HEADER, *(_cells(*item, '-') for item in accuracies.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *figures in lines:
        aligned = zip(figures, widths[1:], strict=True)
        cells = [figure.rjust(width) for figure, width in aligned]
        print('  '.join([name.ljust(widths[0]), *cells]))


def _draw(
    path: Path,
    rows: Sequence[VersionScore],
    accuracies: Mapping[str, RankingAccuracy],
    metric: str,
    lower_better: bool,
) -> None:
    from metaiqa_plugin.study.level_histograms import (
        LevelScores,
        TypePanel,
        plot_level_histograms,
    )
    from metaiqa_plugin.study.ranking_scores import PRISTINE

    scores: dict[str, dict[tuple[float, float], list[float]]] = {}
    for row in rows:
        if not row.error:
            levels = scores.setdefault(row.type, {})
            levels.setdefault((row.severity, row.level), []).append(row.score)
    pristine = [score for level in scores.pop(PRISTINE, {}).values() for score in level]
    panels = [
        TypePanel(
            kind,
            accuracies[kind].accuracy,
            accuracies[kind].standard_error,
            [
                LevelScores(f'{level:g}', levels)
                for (_, level), levels in sorted(scores[kind].items())
            ],
        )
        for kind in accuracies
        if kind in scores
    ]
    plot_level_histograms(panels, pristine, path, metric, lower_better)
