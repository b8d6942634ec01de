"""How fast a Ray cluster scores: one worker, two workers, and where images come from.

    python studies/score_ray.py PHOTOS --out docs/results
    python studies/score_ray.py PHOTOS --s3 's3://bucket/photos' --out docs/results

Each measurement starts a cluster of its own on this machine with as many cores. Rates
are of images beyond the first batches: workers that start are not counted. ``paths``:
workers read files; ``contents``: Ray reads them, from the folder or an object store,
and workers get bytes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from shared import in_process, study_parser, target

from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.score.sources import Sources

HEADER = ('images_from', 'precision', 'workers', 'images_per_second', 'per_worker')
SKIPPED = 128


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'photos')
    parser.add_argument('--s3', help='the same photos in an object store')
    parser.add_argument('--repeat', type=int, default=2, help='times each photo')
    parser.add_argument('--part', nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        print(json.dumps(_rate(options, *options.part)))
        return
    path = target(options, 'score_ray.csv')
    own = [options.photos, '--repeat', options.repeat]
    own += ['--s3', options.s3] if options.s3 else []
    sources = ('paths', 'contents', *(['s3'] if options.s3 else []))
    rows = []
    for part in itertools.product(('fp32', 'bf16'), sources, (1, 2)):
        precision, source, workers = part
        rate = in_process(__file__, *own, '--part', source, precision, workers)
        row = (source, precision, workers, f'{rate:.1f}', f'{rate / workers:.1f}')
        rows.append(row)
        print(*row, sep='\t', flush=True)
        write_table(path, HEADER, rows)


def _rate(options, source: str, precision: str, workers: str) -> float:
    import pyarrow
    import ray

    from metaiqa_plugin.score.on_ray import IMAGES, ImageScorer

    ray.init(
        num_cpus=int(workers) + (source != 'paths'),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = [*Sources([str(Path(options.photos).resolve())])] * options.repeat
    if source == 'paths':
        shards = [paths[at : at + IMAGES] for at in range(0, len(paths), IMAGES)]
        images = ray.data.from_arrow([pyarrow.table({'path': some}) for some in shards])
    else:
        where = options.s3 if source == 's3' else paths
        images = ray.data.read_binary_files(where, include_paths=True)
    scored = images.map_batches(
        ImageScorer,
        fn_constructor_kwargs={'precision': precision},
        batch_size=IMAGES,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=int(workers)),
    )
    count, started, before = 0, 0.0, 0
    for batch in scored.iter_batches(batch_size=None, prefetch_batches=0):
        count += len(batch['path'])
        if any(batch['error']):
            raise UserError(f'not all images were scored: {max(batch["error"])}')
        if not started and count >= SKIPPED:
            started, before = time.perf_counter(), count
    return (count - before) / (time.perf_counter() - started)


if __name__ == '__main__':
    sys.exit(run(main))
