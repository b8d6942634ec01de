"""How fast a folder is scored: pyiqa's command, ours, and what bounds it.

    python studies/score_speed.py PHOTOS --out docs/results

Everything runs in processes of its own, one after the other, in rounds; ratios are of
one round. The rate of a command is that of the images beyond the first: the time for
all of them less the time for one, which is start-up. Bounds: the network alone on
ready tensors, and reading with resizing alone, with as many threads as cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from shared import in_process, study_parser, target

from metaiqa_plugin.errors import UserError, run
from metaiqa_plugin.files import write_table
from metaiqa_plugin.parallel import available_cores, keep_freed_memory
from metaiqa_plugin.score import open_metric
from metaiqa_plugin.score.engines import Views, open_engine
from metaiqa_plugin.score.scorers import open_scorers
from metaiqa_plugin.score.sources import Reader, Sources

OURS = ('torch fp32', 'torch bf16', 'openvino fp32', 'openvino bf16')
READING = 'reading and resizing alone'
ALONE = 'network alone: '
BOUNDS = (
    f'{ALONE}torch fp32, batch 1',
    f'{ALONE}torch fp32, batch 8',
    f'{ALONE}openvino fp32, batch 1',
    f'{ALONE}openvino bf16, batch 1',
)
OTHERS = (
    f'{ALONE}torch bf16, batch 8',
    f'{ALONE}torch.compile fp32, batch 8',
    f'{ALONE}torch.compile bf16, batch 8',
    f'{ALONE}onnxruntime fp32, batch 1',
    f'{ALONE}openvino fp32, batch 8',
    f'{ALONE}openvino bf16, batch 8',
)
SECONDS = 6.0
HEADER = ('what', 'images_per_second', 'least', 'most', 'to_pyiqa', 'start_seconds')

Step = Callable[[], int]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study_parser(__doc__, 'photos')
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--engines', action='store_true', help='others, too')
    parser.add_argument('--part', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        print(json.dumps(bound(options.part, options.photos)))
        return
    path = target(options, 'score_speed.csv')
    files = [Path(name).resolve() for name in Sources([options.photos])]
    files = files[: options.images]
    rates, starts = defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        many, one = Path(folder, 'many'), Path(folder, 'one')
        for some, where in ((files, many), (files[:1], one)):
            where.mkdir()
            for number, source in enumerate(some):
                (where / f'{number:05}{source.suffix}').symlink_to(source)
        for round_ in range(1, options.rounds + 1):
            for name in ('pyiqa', *OURS):
                starts[name].append(seconds_of(name, one))
                seconds = seconds_of(name, many) - starts[name][-1]
                rates[name].append((len(files) - 1) / seconds)
                start = f'start {starts[name][-1]:.1f} s'
                print(f'{round_}: {name}: {rates[name][-1]:.1f}/s, {start}', flush=True)
            for name in (READING, *BOUNDS, *(OTHERS if options.engines else ())):
                rates[name].append(in_process(__file__, many, '--part', name))
                print(f'{round_}: {name}: {rates[name][-1]:.1f}/s', flush=True)
    write_table(path, HEADER, summary(rates, starts))


def seconds_of(name: str, folder: Path) -> float:
    """Wall-clock of a whole command."""
    out = folder.with_suffix('.csv')
    if name == 'pyiqa':
        command = ['pyiqa.pyiqa_cmd', 'metaiqa', '-t']
    else:
        engine, precision = name.split()
        command = ['metaiqa_plugin.cli', 'score', '--out', str(out), '--overwrite']
        command += ['--engine', engine, '--precision', precision]
    started = time.perf_counter()
    command = [sys.executable, '-m', *command, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    if name != 'pyiqa' and pd.read_csv(out)['error'].notna().any():
        raise UserError(f'{name}: some images were not scored')
    return seconds


def bound(name: str, folder: str) -> float:
    """Images a second."""
    keep_freed_memory()
    if name == READING:
        return reading(folder)
    network = open_metric('metaiqa', device='cpu').net
    way, batch = name.removeprefix(ALONE).split(', batch ')
    engine, precision = way.split()
    views = torch.rand(int(batch), 3, network.shorter_side, network.shorter_side)
    step = step_of(engine, network, precision, views)
    step()
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        images += step()
    return images / (time.perf_counter() - started)


def step_of(engine: str, network, precision: str, views: torch.Tensor) -> Step:
    """What scores some images on ready views, and says how many."""
    if engine == 'onnxruntime':
        return onnxruntime_step(network, views)
    if engine == 'openvino':
        computing = open_engine(network, 'openvino', precision)

        def step() -> int:
            waiting = [computing.submit(views) for _ in range(8)]
            for collect in waiting:
                collect()
            return 8 * len(views)

        return step
    scores_of = network.view_scores
    if engine == 'torch.compile':
        import torch._inductor.config as inductor

        inductor.freezing = True
        scores_of = torch.compile(scores_of)
    views = views.contiguous(memory_format=torch.channels_last)

    def step_of_torch() -> int:
        with (
            torch.inference_mode(),
            torch.autocast('cpu', torch.bfloat16, precision == 'bf16'),
        ):
            scores_of(views)
        return len(views)

    return step_of_torch


def onnxruntime_step(network, views: torch.Tensor) -> Step:
    import onnxruntime

    with tempfile.NamedTemporaryFile(suffix='.onnx') as file:
        names = {'input_names': ['views']}
        torch.onnx.export(Views(network), (views,), file.name, dynamo=False, **names)
        session = onnxruntime.InferenceSession(
            file.name, providers=['CPUExecutionProvider']
        )

    def step() -> int:
        session.run(None, {'views': views.numpy()})
        return len(views)

    return step


def reading(folder: str) -> float:
    (scorer,) = open_scorers(['metaiqa'], engine='torch', device='cpu')
    reader, paths = Reader(), [*Sources([folder])]
    torch.set_num_threads(1)
    with ThreadPoolExecutor(available_cores()) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda path: scorer.prepare(np.array(reader(path))), paths):
            pass
        return len(paths) / (time.perf_counter() - started)


def summary(
    rates: Mapping[str, list[float]], starts: Mapping[str, list[float]]
) -> Iterator[tuple]:
    for name, found in rates.items():
        numbers = (median(found), min(found), max(found))
        shown = [f'{number:.1f}' for number in numbers]
        ratios = (rate / base for rate, base in zip(found, rates['pyiqa'], strict=True))
        start = f'{median(starts[name]):.2f}' if name in starts else ''
        yield name, *shown, f'{median(ratios):.2f}', start


if __name__ == '__main__':
    sys.exit(run(main))
