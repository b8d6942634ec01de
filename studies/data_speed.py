"""Speed and memory of the data: image store, crops, episodes, an epoch.

    python studies/data_speed.py --work data/speed

Every ratio is taken within one run, the two sides alternating; the machine should have
nothing else to do. Results of the project's own run: docs/results/data.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from shared import in_process, spread, turns

from metaiqa_plugin.data.crops import RandomCrop
from metaiqa_plugin.data.episodes import EpisodeDataset, EpisodeSampler
from metaiqa_plugin.data.images import read_photo, read_resized
from metaiqa_plugin.data.rows import LabelledRow, LabelledRows
from metaiqa_plugin.data.store import PIXELS, open_store
from metaiqa_plugin.data.synthesis import Synthesis, synthesize
from metaiqa_plugin.errors import run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import available_cores, parallel_map
from metaiqa_plugin.photos import KODAK

RESIZE, CROP = 256, 224
ROUNDS = 5


def database(work: Path) -> tuple[Path, list[str]]:
    """3,000 PNGs of 512x341."""
    out = work / 'kodak'
    synthesize(KODAK, out, Synthesis(), resume=out.exists())
    return out / 'images', sorted(os.listdir(out / 'images'))


def listed(folder: Path, names: list[str]) -> LabelledRows:
    return LabelledRows((LabelledRow(name, 0.5) for name in names), folder)


def crops(work: Path) -> None:
    folder, names = database(work)
    chosen = names[::8]
    store = open_store(work / 'store', listed(folder, chosen), RESIZE)
    cut = RandomCrop(RESIZE, CROP)
    order = np.random.default_rng(0).permutation(len(chosen)).tolist()

    def from_store() -> None:
        generator = np.random.default_rng(1)
        for index in order:
            cut(store[index], generator)

    def from_files() -> None:
        generator = np.random.default_rng(1)
        for index in order:
            cut(read_resized(folder / chosen[index], RESIZE), generator)

    def decode_only() -> None:
        for index in order:
            read_photo(folder / chosen[index])

    stored, files, decoded = turns(from_store, from_files, decode_only, rounds=ROUNDS)
    print(f'random crop of {CROP} pixels, {len(chosen)} images in the page cache:')
    print(f'  from the store   {1e3 * stored.min() / len(chosen):.3f} ms')
    print(f'  decode + resize + crop / store  {spread(files / stored)}')
    print(f'  decode the PNG alone / store    {spread(decoded / stored)}')


def decode_shard(job: tuple[Path, list[str], bool]) -> int:
    folder, names, resize = job
    for name in names:
        if resize:
            read_resized(folder / name, RESIZE)
        else:
            read_photo(folder / name)
    return len(names)


def build(work: Path) -> None:
    folder, names = database(work)
    processes = available_cores()

    def store() -> None:
        shutil.rmtree(work / 'built', ignore_errors=True)
        rows = listed(folder, names)
        open_store(work / 'built', rows, RESIZE, processes, progress=False)

    def decode(resize: bool) -> None:
        parts = range(0, len(names), PIXELS.images_per_shard)
        jobs = ((folder, names[i : i + PIXELS.images_per_shard], resize) for i in parts)
        sum(parallel_map(decode_shard, jobs, processes))

    sides = (store, partial(decode, False), partial(decode, True))
    built, decoded, resized = turns(*sides, rounds=ROUNDS)
    shutil.rmtree(work / 'built')
    print(f'building a store, {processes} processes, {len(names)} PNGs:')
    print(f'  images a second              {spread(len(names) / built)}')
    print(f'  rate / decoding alone        {spread(decoded / built)}')
    print(f'  rate / decoding and resizing {spread(resized / built)}')


def rows(images: int, references: bool) -> LabelledRows:
    return LabelledRows(
        LabelledRow(
            f'{i:07d}.png', 0.5, f't{i % 25}', f'r{i // 125}' if references else ''
        )
        for i in range(images)
    )


def episodes(work: Path) -> None:
    print('sampling an episode of 16 + 16 images:')
    for references, per_reference in ((True, 2), (False, 1)):
        samplers = [
            EpisodeSampler(rows(images, references), 16, 16, per_reference)
            for images in (10_000, 1_000_000)
        ]

        def draw(sampler: EpisodeSampler) -> None:
            for index in range(2000):
                sampler.sample(index % 25, (3, 1, index))

        sides = [partial(draw, one) for one in samplers]
        small, large = turns(*sides, rounds=ROUNDS)
        kind = '2 images a reference' if references else 'no references'
        print(f'  {kind}, 1,000,000 images: {spread(1e3 * large / 2000)} ms')
        print(f'  the same / 10,000 images: {spread(large / small)}')


def memory(work: Path) -> None:
    """Peak anonymous memory of a process that reads an epoch, 10,000 and 100,000."""
    print('an epoch from the store, peak anonymous memory of the process:')
    peaks = []
    for images in (10_000, 100_000):
        folder = many_images(work, images)
        peaks.append(in_process(__file__, '--epoch', folder))
        print(f'  {images:,} images: {peaks[-1] / 1e6:.1f} MB', flush=True)
    print(f'  ratio: {peaks[1] / peaks[0]:.4f}')


def many_images(work: Path, count: int) -> Path:
    """Hard links of a few small files under so many names, and their table."""
    out = work / f'epoch{count}'
    if (out / 'meta.csv').exists():
        return out
    source, names = database(work)
    (out / 'small').mkdir(parents=True, exist_ok=True)
    (out / 'images').mkdir(exist_ok=True)
    for place, name in enumerate(names[:100]):
        read_photo(source / name).resize((48, 36)).save(out / 'small' / f'{place}.png')
    rows = []
    for place in range(count):
        name = f'photo_{place:07d}.png'
        target = out / 'images' / name
        if not target.exists():
            os.link(out / 'small' / f'{place % 100}.png', target)
        rows.append((name, 0.5, f'r{place // 125}', f't{place % 25}'))
    images = listed(out / 'images', [name for name, *_ in rows])
    open_store(out / 'images.store', images, 32)
    write_table(out / 'meta.csv', ('img_name', 'mos', 'ref_name', 'distortion'), rows)
    return out


def epoch(folder: Path) -> None:
    """In a process of its own: read as many images as there are."""
    peak = 0

    def look() -> None:
        nonlocal peak
        with open('/proc/self/status') as file:
            anonymous = next(line for line in file if line.startswith('RssAnon'))
        peak = max(peak, 1024 * int(anonymous.split()[1]))

    block = {
        'name': 'epoch',
        'meta_info_file': str(folder / 'meta.csv'),
        'dataroot_target': str(folder / 'images'),
        'resize': 32,
        'crop_size': 28,
        'store': True,
    }
    dataset = EpisodeDataset(block)
    look()
    tasks = len(dataset.rows) // 32
    for first in range(0, tasks, 5):
        dataset.__getitems__(range(first, first + 5))
        look()
    print(json.dumps(peak))


def main(arguments: Sequence[str] | None = None) -> None:
    parts = {part.__name__: part for part in (crops, build, episodes, memory)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work', type=Path, default=Path('data/speed'))
    parser.add_argument('--only', nargs='+', choices=parts, default=[*parts])
    parser.add_argument('--epoch', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.epoch:
        epoch(options.epoch)
        return
    for name in options.only:
        parts[name](options.work)


if __name__ == '__main__':
    sys.exit(run(main))
