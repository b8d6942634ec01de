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
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from metaiqa_plugin.data.images import walk_images
from metaiqa_plugin.files import write_table

HEADER = ('images_from', 'precision', 'workers', 'images_per_second', 'per_worker')
SKIPPED = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('photos')
    parser.add_argument('--s3', help='the same photos in an object store')
    parser.add_argument('--repeat', type=int, default=2, help='times each photo')
    parser.add_argument('--out', default='.')
    parser.add_argument('--part', nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(_rate(options, *options.part)))
        return
    rows = []
    sources = ('paths', 'contents', *(['s3'] if options.s3 else []))
    for precision in ('fp32', 'bf16'):
        for source in sources:
            for workers in (1, 2):
                rate = _in_process(options, source, precision, workers)
                row = (
                    source,
                    precision,
                    workers,
                    f'{rate:.1f}',
                    f'{rate / workers:.1f}',
                )
                rows.append(row)
                print(*row, sep='\t', flush=True)
                write_table(Path(options.out, 'score_ray.csv'), HEADER, rows)


def _in_process(options, source: str, precision: str, workers: int) -> float:
    command = [sys.executable, __file__, options.photos, '--repeat', options.repeat]
    command += ['--s3', options.s3] if options.s3 else []
    command += ['--part', source, precision, workers]
    done = subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


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
    folder = os.path.abspath(options.photos)
    paths = [os.path.join(folder, name) for name in walk_images(folder)]
    paths = paths * options.repeat
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
            raise SystemExit('some images were not scored')
        if not started and count >= SKIPPED:
            started, before = time.perf_counter(), count
    return (count - before) / (time.perf_counter() - started)


if __name__ == '__main__':
    main()
