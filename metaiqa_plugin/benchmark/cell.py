"""The work of one cell, in a process of its own.

``python -m metaiqa_plugin.benchmark.cell ROOT FOLDER`` reads ``FOLDER/cell.json`` below
ROOT and leaves ``result.json`` beside it, or ``error.txt``. What was trained before a
kill is not trained again. It ends when its standard input does, so that no cell
outlives the command that started it, however that ends.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyiqa.archs import build_network
from torch import nn
from tqdm import tqdm

from metaiqa_plugin.benchmark.records import (
    Predictions,
    read_json,
    write_json,
    write_predictions,
)
from metaiqa_plugin.benchmark.training import TRAIN_TABLE, located
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import BAD_INPUT, SOME_FAILED, Stopped, UserError
from metaiqa_plugin.files import replacing
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.score import open_metric, score_network
from metaiqa_plugin.score.agreement import agreement
from metaiqa_plugin.train.iqa_model import load_weights
from metaiqa_plugin.train.logs import VALIDATION

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None

__all__ = ['ERROR', 'RESULT', 'WEIGHTS', 'do', 'main']

RESULT, ERROR = 'result.json', 'error.txt'
WEIGHTS = 'weights.pth'
FEATURES = 'features.npz'
IMAGES_A_PART = 500


class Work:
    """A cell at work.

    Attributes:
        root: folder of all experiments.
        folder: of the cell.
        cell: its description.
        measures: what it noted of itself.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.cell: Mapping[str, Any] = read_json(folder / 'cell.json')
        self.measures: dict[str, float] = {}

    def need(self, name: str) -> Path:
        """Folder of shared work."""
        return self.root / self.cell['needs'][name]

    def rows(self, table: str, images: str) -> LabelledRows:
        """The labelled images of one of the cell's tables."""
        return read_rows(DatabaseOptions(str(self.folder / table), images, (0, 1)))

    def tests(self) -> Iterator[tuple[str, LabelledRows]]:
        for name, test in self.cell['tests'].items():
            yield name, self.rows(test['table'], test['dataroot_target'])

    def note_training(self) -> None:
        count = 0
        for table in self.folder.glob('train*.csv'):
            with table.open(encoding='utf-8', newline='') as file:
                count += sum(1 for _ in csv.reader(file)) - 1
        self.measures['train_images'] = count


def do(root: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Do the work of a cell, if it is not done.

    Args:
        root: folder of all experiments.
        folder: of the cell, below it.

    Raises:
        UserError: whatever the work refuses.
        Stopped: a signal ended a training that was saved.
    """
    root, folder = Path(root), Path(folder)
    with _alone(folder):
        if (folder / RESULT).is_file():
            return
        work = Work(root, folder)
        torch.set_num_threads(work.cell['threads'])
        started = time.monotonic()
        tests = KINDS[work.cell['kind']](work)
        work.note_training()
        work.measures['seconds'] = round(time.monotonic() - started, 2)
        write_json(folder / RESULT, {'tests': tests, 'measures': work.measures})
        (folder / ERROR).unlink(missing_ok=True)


def _prior(work: Work) -> dict[str, Any]:
    start = work.need('start') / WEIGHTS if work.cell['needs'] else None
    shutil.copyfile(_train(work, start), work.folder / WEIGHTS)
    shutil.rmtree(work.folder / 'experiments' / 'run' / 'training_states')
    shutil.rmtree(work.folder / 'experiments' / 'run' / 'models')
    return {}


def _trained(work: Work) -> dict[str, Any]:
    start = work.need('prior') / WEIGHTS if work.cell['needs'] else None
    weights, best = start, None
    if work.cell['training'] is not None:
        weights = _train(work, start)
        best = _curve(work)
    network = build_network(dict(work.cell['network']))
    load_weights(network, str(weights))
    work.measures['parameters'] = sum(p.numel() for p in network.parameters())
    found = {
        name: _tested(work, name, rows, score_network(network, _paths(rows), name))
        for name, rows in work.tests()
    }
    for test in found.values():
        test['best_epoch'] = best
    if work.cell['keep_weights']:
        shutil.copyfile(weights, work.folder / WEIGHTS)
    for name in ('models', 'training_states'):
        shutil.rmtree(work.folder / 'experiments' / 'run' / name, ignore_errors=True)
    return found


def _metric(work: Work) -> dict[str, Any]:
    metric = open_metric(work.cell['metric'], **work.cell['arguments'])
    return {
        name: _tested(work, name, rows, _metric_scores(metric, rows))
        for name, rows in work.tests()
    }


def _regressed(work: Work) -> dict[str, Any]:
    from metaiqa_plugin.benchmark.handcrafted.regression import (
        REGRESSION_OF,
        Regression,
    )

    learn = work.rows(TRAIN_TABLE, '.')
    groups = [learn[i].reference or learn[i].image for i in range(len(learn))]
    regression = Regression(REGRESSION_OF[work.cell['features']])
    known = _Features(work.need(work.cell['learn_from']))
    regression.fit(known.of(learn.images), learn.mos, groups, work.cell['seed'])
    found = {}
    for name, rows in work.tests():
        database = work.cell['tests'][name]['database']
        features = _Features(work.need(database)).of(rows.images)
        found[name] = _tested(work, name, rows, regression.predict(features))
    return found


def _features(work: Work) -> dict[str, Any]:
    """In parts, so that a killed run goes on after the last one."""
    from metaiqa_plugin.benchmark.handcrafted.features import FEATURES as EXTRACTORS

    cell = work.cell
    extractor = EXTRACTORS[cell['features']](**cell['arguments'])
    if 'codebook' in cell:
        learn = [work.rows(*pair) for pair in cell['codebook'].items()]
        extractor.fit([path for rows in learn for path in _paths(rows)], cell['seed'])
    rows = work.rows('images.csv', cell['dataroot_target'])
    parts = []
    bar = tqdm(total=len(rows), desc=cell['features'], unit='image')
    for start in range(0, len(rows), IMAGES_A_PART):
        part = work.folder / f'part-{start:08d}.npy'
        places = range(start, min(start + IMAGES_A_PART, len(rows)))
        if not part.is_file():
            found = []
            for index in places:
                found.append(extractor(np.asarray(read_rgb(rows.path(index)))))
                bar.update()
            with replacing(part) as temporary:
                np.save(temporary, np.stack(found))
        parts.append(part)
    matrix = np.concatenate([np.load(part) for part in parts])
    with replacing(work.folder / FEATURES) as temporary:
        np.savez(temporary, images=np.array(list(rows.images)), features=matrix)
    for part in parts:
        part.unlink()
    return {}


def _runtime(work: Work) -> dict[str, Any]:
    """Each image from its file to its score, one at a time, after three to warm up."""
    score = RUNTIME[work.cell['method_kind']](work)
    ((_, rows),) = work.tests()
    paths = _paths(rows)
    for path in paths[:3]:
        score(path)
    seconds = []
    for path in tqdm(paths, work.cell['method'], unit='image'):
        started = time.perf_counter()
        score(path)
        seconds.append(time.perf_counter() - started)
    work.measures |= {
        'images_per_second': len(seconds) / sum(seconds),
        'milliseconds': 1000 * float(np.median(seconds)),
        'peak_memory_mb': _peak_memory(),
    }
    return {}


def _network_scorer(work: Work) -> Callable[[str], object]:
    """Of the method's network as its file builds it: weights do not change the time."""
    network = build_network(dict(work.cell['network']))
    work.measures['parameters'] = sum(p.numel() for p in network.parameters())
    return lambda path: score_network(network, [path])


def _metric_scorer(work: Work) -> Callable[[str], object]:
    metric = open_metric(work.cell['metric'], **work.cell['arguments'])
    return lambda path: metric(read_rgb(path)).item()


def _regressed_scorer(work: Work) -> Callable[[str], object]:
    """Features of the image and a regression fitted to the very images."""
    from metaiqa_plugin.benchmark.handcrafted.features import FEATURES as EXTRACTORS
    from metaiqa_plugin.benchmark.handcrafted.regression import (
        REGRESSION_OF,
        Regression,
    )

    ((_, rows),) = work.tests()
    extractor = EXTRACTORS[work.cell['features']](**work.cell['arguments'])
    extractor.fit(_paths(rows), work.cell['seed'])
    known = np.stack([extractor(np.asarray(read_rgb(path))) for path in _paths(rows)])
    regression = Regression(REGRESSION_OF[work.cell['features']])
    regression.fit(known, rows.mos, None, work.cell['seed'])
    return lambda path: regression.predict(
        extractor(np.asarray(read_rgb(path)))[None, :]
    )


KINDS = {
    'prior': _prior,
    'trained': _trained,
    'metric': _metric,
    'regressed': _regressed,
    'features': _features,
    'runtime': _runtime,
}
RUNTIME = {
    'trained': _network_scorer,
    'metric': _metric_scorer,
    'regressed': _regressed_scorer,
}


class _Features:
    """Features of a database's images, by name."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / FEATURES) as file:
            self._matrix = file['features']
            self._place = {name: row for row, name in enumerate(file['images'])}

    def of(self, images) -> np.ndarray:
        return self._matrix[[self._place[image] for image in images]]


def _train(work: Work, start: Path | None) -> Path:
    """Train to the end, from where it was stopped; the weights."""

    from metaiqa_plugin.option_yaml import dump
    from metaiqa_plugin.train.run import train

    options = located(
        work.cell['training'], work.folder, None if start is None else str(start)
    )
    file = work.folder / 'options.yml'
    with replacing(file) as temporary:
        temporary.write_text(dump(options), encoding='utf-8')
    train(file, work.folder, resume=True)
    return work.folder / 'experiments' / 'run' / 'models' / 'net_latest.pth'


def _curve(work: Work) -> dict[str, float] | None:
    """``validation.csv`` by epochs, and its best row."""
    path = work.folder / 'experiments' / 'run' / VALIDATION
    if not path.is_file():
        return None
    every = work.cell['training']['val']['val_freq']
    with path.open(encoding='utf-8', newline='') as file:
        rows = [
            {
                'epoch': round(int(row['iter']) / every, 3),
                'srocc': float(row['srcc']),
                'plcc': float(row['plcc']),
            }
            for row in csv.DictReader(file)
        ]
    with (
        replacing(work.folder / VALIDATION) as temporary,
        temporary.open('w', encoding='utf-8', newline='') as file,
    ):
        writer = csv.DictWriter(file, rows[0], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    known = [row for row in rows if np.isfinite(row['srocc'])]
    if not known:
        return None
    return max(known, key=lambda row: row['srocc']) | {'epochs': rows[-1]['epoch']}


def _tested(
    work: Work, name: str, rows: LabelledRows, scores: np.ndarray
) -> dict[str, Any]:
    """Writes the predictions; the agreement with MOS."""
    types = [rows.tasks[code] for code in rows.task_of]
    predictions = Predictions(list(rows.images), types, rows.mos, scores)
    write_predictions(work.folder / f'predictions-{name}.csv', predictions)
    found = agreement(scores, rows.mos)
    database = work.cell['tests'][name]['database']
    return {'database': database, 'images': len(rows), **found, 'best_epoch': None}


def _metric_scores(metric: nn.Module, rows: LabelledRows) -> np.ndarray:
    """Higher better: those of a metric that says otherwise change their sign."""
    sign = -1 if metric.lower_better else 1
    return np.array(
        [
            sign * metric(read_rgb(path)).item()
            for path in tqdm(_paths(rows), metric.metric_name, unit='image')
        ]
    )


def _paths(rows: LabelledRows) -> list[Path]:
    return [rows.path(index) for index in range(len(rows))]


def _peak_memory() -> float:
    """Of this process, in MB.

    Linux counts the memory of the process that started this one in ``ru_maxrss``.
    """
    status = Path('/proc/self/status')
    if status.is_file():
        (line,) = re.findall(r'^VmHWM:\s*(\d+) kB$', status.read_text(), re.MULTILINE)
        return round(int(line) / 1e3, 1)
    if resource is None:
        return math.nan
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Another process at the same cell waits, and finds it done."""
    with (folder / 'lock').open('w') as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with_input() -> None:
    while sys.stdin.buffer.raw.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Exit code: 0 done, 2 bad input, 1 another error, 128 + signal stopped."""
    root, folder = map(Path, arguments)
    keep_freed_memory()
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        do(root, folder)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except Exception as error:
        traceback.print_exc()
        kind = '' if isinstance(error, UserError) else f'{type(error).__name__}: '
        with replacing(folder / ERROR) as temporary:
            temporary.write_text(kind + ' '.join(str(error).split()) + '\n')
        return BAD_INPUT if isinstance(error, UserError) else SOME_FAILED
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
