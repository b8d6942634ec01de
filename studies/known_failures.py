"""Known failures of metrics, measured: sizes, gray, night, crops, no photos, levels.

    python studies/known_failures.py metaiqa --livec TABLE IMAGES --split 1 \
        --out docs/results

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
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import torch
from known_failures_images import PRISTINE, VERSIONS, distorted_levels, mean_luma
from known_failures_pages import KINDS, charts, open_browser
from known_failures_scores import ScoreTable
from known_failures_tables import levels_report, others_report, photos_report
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.data.distortions import DISTORTIONS
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import SOME_FAILED, UserError, run, whole_number
from metaiqa_plugin.parallel import available_cores, parallel_map
from metaiqa_plugin.photos import carried_photos
from metaiqa_plugin.score.scorers import Scorer, open_scorers

PARTS = ('photos', 'others', 'levels')
KODAK, LIVEC = 'photos, Kodak', 'photos, LIVE Challenge'


def main() -> None:
    sys.exit(run(measure, parsed(sys.argv[1:])))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('metrics', nargs='+', help='of pyiqa, or checkpoints of ours')
    parser.add_argument('--parts', default=','.join(PARTS), help='default: %(default)s')
    parser.add_argument('--livec', nargs=2, metavar=('TABLE', 'IMAGES'))
    parser.add_argument('--split', type=int, help='test part of it; default: all')
    parser.add_argument('--limit', type=int, help='photos of LIVE Challenge')
    parser.add_argument('--photos', type=int, default=24, help='carried ones, of 24')
    parser.add_argument('--out', type=Path, default=Path('.'), help='for tables')
    parser.add_argument('--scores', type=Path, default=Path('known-failures'))
    parser.add_argument('--resume', action='store_true', help='go on with the scores')
    parser.add_argument('--keep', type=Path, help='folder for the images of others')
    parser.add_argument('--workers', type=int, default=available_cores())
    parser.add_argument('--threads', type=int, help='of torch and OpenCV')
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> int:
    """Score, print and write what was asked for; the exit code.

    Raises:
        UserError: an argument is wrong, or no metric of that name.
    """
    parts = checked(options)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    scorers = open_scorers(options.metrics, threads=options.threads)
    failed = 0
    for part in parts:
        failed += {'photos': photos, 'others': others, 'levels': levels}[part](
            options, scorers
        )
    return SOME_FAILED if failed else 0


def checked(options: argparse.Namespace) -> list[str]:
    """The parts, in their order.

    Raises:
        UserError: an argument is wrong.
    """
    asked = options.parts.split(',')
    unknown = [part for part in asked if part not in PARTS]
    if unknown:
        raise UserError(f'parts={options.parts!r}: expected some of {",".join(PARTS)}')
    if 'photos' in asked and options.livec is None:
        raise UserError(
            f'parts={options.parts!r}: photos needs --livec TABLE IMAGES; or leave it '
            'out, as in --parts others,levels'
        )
    for name in ('split', 'limit', 'photos', 'workers', 'threads'):
        if getattr(options, name) is not None:
            whole_number(name, getattr(options, name))
    return [part for part in PARTS if part in asked]


def photos(options: argparse.Namespace, scorers: Sequence[Scorer]) -> int:
    """Versions of LIVE Challenge's photos; how many could not be read or scored."""
    rows = labelled(options)
    columns = ('image', 'mos', 'luma', 'version')
    path = options.scores / 'photos.csv'
    table = ScoreTable(path, columns, 1, scorers, options.resume)
    for place in tqdm(range(len(rows)), 'photos', unit='photo'):
        row = rows[place]
        if table.has(row.image):
            continue
        try:
            image = read_rgb(rows.path(place))
        except UserError as error:
            table.add_unread(row.image, error=str(error))
            continue
        known = (f'{row.mos:.6f}', f'{mean_luma(image):.4f}')
        images = (((*known, name), make(image)) for name, make in VERSIONS.items())
        table.add(row.image, images=images)
    scores, failed = table.read()
    wanted = scores[scores['image'].isin(names_of(rows))]
    label = 'all' if options.split is None else f'test, split {options.split:02}'
    photos_report(wanted, scorers, label, options.out)
    return failed


def others(options: argparse.Namespace, scorers: Sequence[Scorer]) -> int:
    """Images that are no photos; how many images and kinds failed."""
    path = options.scores / 'others.csv'
    table = ScoreTable(path, ('kind', 'image'), 2, scorers)
    skipped = []

    def add(kind: str, name: str, image: Image.Image) -> None:
        table.add(kind, name, images=[((), image)])
        if options.keep and not kind.startswith('photos'):
            target = options.keep / kind / f'{name.replace("/", "-")}.png'
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)

    for kind, name, source in tqdm(photo_files(options), 'others: photos'):
        try:
            add(kind, name, read_rgb(source))
        except UserError as error:
            table.add_unread(kind, name, error=str(error))
    for kind, name, image in tqdm(no_photos(skipped), 'others: no photos'):
        add(kind, name, image)
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
    """Kind, name and image; the kinds that can not be made are put in ``skipped``."""

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
    columns = ('photo', 'distortion', 'level', 'change')
    path = options.scores / 'levels.csv'
    table = ScoreTable(path, columns, 2, scorers, options.resume)
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
    table, images = options.livec
    rows = read_rows(
        DatabaseOptions(table, images, (0, 100), split_index=options.split), 'test'
    )
    if options.limit is None:
        return rows
    first = [rows[place] for place in range(min(options.limit, len(rows)))]
    return LabelledRows(first, images, table)


def names_of(rows: LabelledRows) -> list[str]:
    return [row.image for row in rows]


if __name__ == '__main__':
    main()
