"""Known failures of metrics, measured: sizes, gray, night, crops, no photos, levels.

    python studies/known_failures.py --metric metaiqa --livec TABLE IMAGES --split 1 \
        --out docs/results --overwrite

Three parts, each of which can be asked for alone (``--parts``):

* photos: those of LIVE Challenge and the versions of them that
  ``known_failures_images`` makes; the darkest tenth are looked at as night scenes;
* others: text, screenshots, drawings and charts, on which scores mean nothing;
* levels: whether scores of carried photos fall with the level of each distortion.

Scores go to ``SCORES/*.csv`` as they come, and ``--resume`` goes on with them; tables
are printed and written to ``OUT/known_failures_*.csv``, with two pictures. The exit
code is 1 where something could not be made, read or scored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import pandas as pd
import torch
from known_failures_images import (
    KINDS,
    PRISTINE,
    VERSIONS,
    charts,
    distorted_levels,
    mean_luma,
    open_browser,
)
from known_failures_tables import levels_report, others_report, photos_report
from PIL import Image
from shared import RowFile, livec, study_parser, target
from tqdm import tqdm

from metaiqa_plugin.cli.common import add_metric, add_resume, add_workers
from metaiqa_plugin.data.distortions import DISTORTIONS
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import SOME_FAILED, UserError, run, whole_number
from metaiqa_plugin.parallel import available_cores, parallel_map
from metaiqa_plugin.photos import carried_photos
from metaiqa_plugin.score.pipeline import Item, score_items
from metaiqa_plugin.score.scorers import Scorer, open_scorers

WRITTEN = {
    'photos': ('photos.csv', 'versions.csv', 'versions.png'),
    'others': ('others.csv',),
    'levels': ('levels.csv', 'levels.png'),
}
"""Parts, in their order, and what comes of each in ``--out``."""
KODAK, LIVEC = 'photos, Kodak', 'photos, LIVE Challenge'


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


class ScoreFile:
    """Images come in groups, whose rows are written at once.

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
        header = [*columns, 'width', 'height', *names, 'error']
        self._file = RowFile(path, header, keys, resume)
        self._scorers = scorers

    def has(self, *key: str) -> bool:
        return key in self._file

    def add(self, *key: str, images: Iterable[tuple[Sequence, Image.Image]]) -> None:
        """Score a group: what is known of each image beyond its key, and its pixels.

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
        self._file.add(rows)

    def add_unread(self, *key: str, error: UserError) -> None:
        """Note that a group could not be read."""
        print(f'metaiqa: skipped: {error}', file=sys.stderr)
        blank = [''] * (len(self._file.header) - len(key) - 1)
        self._file.add([[*key, *blank, error]])

    def read(self) -> tuple[pd.DataFrame, int]:
        """All rows, keys as text; and how many have an error."""
        table = self._file.read(text=['error'])
        return table, int(table['error'].notna().sum())


def photos(options: argparse.Namespace, scorers: Sequence[Scorer]) -> int:
    """Versions of LIVE Challenge's photos; how many could not be read or scored."""
    rows = labelled(options)
    path, columns = options.scores / 'photos.csv', ('image', 'mos', 'luma', 'version')
    table = ScoreFile(path, columns, 1, scorers, options.resume)
    for place in tqdm(range(len(rows)), 'photos', unit='photo'):
        row = rows[place]
        if table.has(row.image):
            continue
        try:
            image = read_rgb(rows.path(place))
        except UserError as error:
            table.add_unread(row.image, error=error)
            continue
        known = (f'{row.mos:.6f}', f'{mean_luma(image):.4f}')
        images = (((*known, name), make(image)) for name, make in VERSIONS.items())
        table.add(row.image, images=images)
    scores, failed = table.read()
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
            table.add(kind, name, images=[((), read_rgb(source))])
        except UserError as error:
            table.add_unread(kind, name, error=error)
    for kind, name, image in tqdm(no_photos(skipped), 'others: no photos'):
        table.add(kind, name, images=[((), image)])
        if options.keep:
            path = options.keep / kind / f'{name.replace("/", "-")}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    scores, failed = table.read()
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
    jobs = [(photo, name) for photo, name in jobs if not table.has(photo.stem, name)]
    made = parallel_map(distorted_levels, jobs, options.workers)
    done = tqdm(zip(jobs, made, strict=True), 'levels', len(jobs), unit='type')
    for (photo, name), found in done:
        images = (((level, f'{change:.4f}'), image) for level, image, change in found)
        table.add(photo.stem, name, images=images)
    scores, failed = table.read()
    wanted = scores[scores['photo'].isin([photo.stem for photo in chosen])]
    levels_report(wanted, scorers, options.out)
    return failed


def labelled(options: argparse.Namespace) -> LabelledRows:
    """LIVE Challenge's photos, or the test part of the split; the first ``limit``."""
    rows = livec(*options.livec, options.split)
    return rows if options.limit is None else rows.at(range(len(rows))[: options.limit])


if __name__ == '__main__':
    sys.exit(run(main))
