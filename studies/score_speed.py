"""How fast a folder is scored: pyiqa's command, ours, and what bounds it.

    python studies/score_speed.py PHOTOS --out docs/results

Everything runs in processes of its own, one after the other, in rounds; ratios are of
one round. The rate of a command is that of the images beyond the first: the time for
all of them less the time for one, which is start-up. Bounds: the network alone on
ready tensors, and reading with resizing alone, with as many threads as cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metaiqa_plugin.data.images import walk_images
from metaiqa_plugin.files import write_table

COMMANDS = {
    'pyiqa': ['-m', 'pyiqa.pyiqa_cmd', 'metaiqa', '-t'],
    'torch fp32': ['--engine', 'torch'],
    'torch bf16': ['--engine', 'torch', '--precision', 'bf16'],
    'openvino fp32': ['--engine', 'openvino'],
    'openvino bf16': ['--engine', 'openvino', '--precision', 'bf16'],
}
BOUNDS = {
    'network alone: torch fp32, batch 1': ('torch', 'fp32', 1),
    'network alone: torch fp32, batch 8': ('torch', 'fp32', 8),
    'network alone: openvino fp32, batch 1': ('openvino', 'fp32', 1),
    'network alone: openvino bf16, batch 1': ('openvino', 'bf16', 1),
}
OTHERS = {
    'network alone: torch bf16, batch 8': ('torch', 'bf16', 8),
    'network alone: torch.compile fp32, batch 8': ('compile', 'fp32', 8),
    'network alone: torch.compile bf16, batch 8': ('compile', 'bf16', 8),
    'network alone: onnxruntime fp32, batch 1': ('onnxruntime', 'fp32', 1),
    'network alone: openvino fp32, batch 8': ('openvino', 'fp32', 8),
    'network alone: openvino bf16, batch 8': ('openvino', 'bf16', 8),
}
READING = 'reading and resizing alone'
SECONDS = 6.0


def main() -> None:
    options = _arguments()
    if options.part:
        print(json.dumps(_bound(options.part, options.photos)))
        return
    names = walk_images(options.photos)[: options.images]
    rates: dict[str, list[float]] = {}
    starts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        many, one = Path(folder, 'many'), Path(folder, 'one')
        for place, where in ((names, many), (names[:1], one)):
            where.mkdir()
            for number, name in enumerate(place):
                source = Path(options.photos, name).resolve()
                (where / f'{number:05}{source.suffix}').symlink_to(source)
        for round_ in range(options.rounds):
            for name in COMMANDS:
                start = _seconds(name, one)
                seconds = _seconds(name, many)
                rate = (len(names) - 1) / (seconds - start)
                rates.setdefault(name, []).append(rate)
                starts.setdefault(name, []).append(start)
                print(
                    f'{round_ + 1}: {name}: {rate:.1f}/s, start {start:.1f} s',
                    flush=True,
                )
            for name in (READING, *BOUNDS, *(OTHERS if options.engines else ())):
                rate = _bound_in_process(name, str(many))
                rates.setdefault(name, []).append(rate)
                print(f'{round_ + 1}: {name}: {rate:.1f}/s', flush=True)
    header = ('what', 'images_per_second', 'least', 'most', 'to_pyiqa', 'start_seconds')
    write_table(Path(options.out, 'score_speed.csv'), header, _rows(rates, starts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('photos')
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--engines', action='store_true', help='others, too')
    parser.add_argument('--out', default='.')
    parser.add_argument('--part', help=argparse.SUPPRESS)
    return parser.parse_args()


def _seconds(name: str, folder: Path) -> float:
    """Wall-clock of a whole command."""
    command = [sys.executable, *COMMANDS[name]]
    if name != 'pyiqa':
        out = str(folder.with_suffix('.csv'))
        command = [sys.executable, '-m', 'metaiqa_plugin.cli', 'score', '--out', out]
        command += ['--overwrite', *COMMANDS[name]]
    started = time.perf_counter()
    subprocess.run([*command, str(folder)], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    if name != 'pyiqa':
        with open(out, encoding='utf-8') as file:
            if any(row['error'] for row in csv.DictReader(file)):
                raise SystemExit(f'{name}: some images were not scored')
    return seconds


def _bound_in_process(name: str, folder: str) -> float:
    command = [sys.executable, __file__, folder, '--part', name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _bound(name: str, folder: str) -> float:
    """Images a second."""
    from metaiqa_plugin.parallel import keep_freed_memory

    keep_freed_memory()
    if name == READING:
        return _reading(folder)
    import torch

    from metaiqa_plugin.score import open_metric

    engine, precision, batch = (BOUNDS | OTHERS)[name]
    network = open_metric('metaiqa', device='cpu').net
    views = torch.rand(batch, 3, network.shorter_side, network.shorter_side)
    if engine in ('torch', 'compile'):
        view_scores = network.view_scores
        if engine == 'compile':
            import torch._inductor.config as inductor

            inductor.freezing = True
            view_scores = torch.compile(view_scores)
        views = views.contiguous(memory_format=torch.channels_last)

        def step() -> int:
            with (
                torch.inference_mode(),
                torch.autocast('cpu', torch.bfloat16, precision == 'bf16'),
            ):
                view_scores(views)
            return batch
    elif engine == 'onnxruntime':
        step = _onnxruntime_step(network, views)
    else:
        from metaiqa_plugin.score.engines import open_engine

        computing = open_engine(network, 'openvino', precision)

        def step() -> int:
            waiting = [computing.submit(views) for _ in range(8)]
            for collect in waiting:
                collect()
            return 8 * batch

    return _rate(step)


def _onnxruntime_step(network, views):
    import onnxruntime
    import torch

    from metaiqa_plugin.score.engines import Views

    with tempfile.NamedTemporaryFile(suffix='.onnx') as file:
        torch.onnx.export(
            Views(network), (views,), file.name, dynamo=False, input_names=['views']
        )
        session = onnxruntime.InferenceSession(
            file.name, providers=['CPUExecutionProvider']
        )

    def step() -> int:
        session.run(None, {'views': views.numpy()})
        return len(views)

    return step


def _reading(folder: str) -> float:
    import numpy as np
    import torch

    from metaiqa_plugin.score.scorers import open_scorers
    from metaiqa_plugin.score.sources import Reader

    (scorer,) = open_scorers(['metaiqa'], engine='torch', device='cpu')
    reader = Reader()
    paths = [os.path.join(folder, name) for name in walk_images(folder)]
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda path: scorer.prepare(np.array(reader(path))), paths):
            pass
        return len(paths) / (time.perf_counter() - started)


def _rate(step) -> float:
    step()
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        images += step()
    return images / (time.perf_counter() - started)


def _rows(rates: dict[str, list[float]], starts: dict[str, list[float]]):
    for name, found in rates.items():
        ratios = [rate / base for rate, base in zip(found, rates['pyiqa'], strict=True)]
        start = f'{statistics.median(starts[name]):.2f}' if name in starts else ''
        numbers = (statistics.median(found), min(found), max(found))
        yield (
            name,
            *(f'{number:.1f}' for number in numbers),
            f'{statistics.median(ratios):.2f}',
            start,
        )


if __name__ == '__main__':
    main()
