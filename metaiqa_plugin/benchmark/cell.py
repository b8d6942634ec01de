"""The work of one cell, in a process of its own.

``python -m metaiqa_plugin.benchmark.cell ROOT FOLDER`` reads ``FOLDER/cell.json`` below
ROOT and leaves ``result.json`` beside it, or ``error.txt``. What was trained before a
kill is not trained again. It ends when its standard input does, so that no cell
outlives the command that started it, however that ends.
"""

from __future__ import annotations

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from metaiqa_plugin.benchmark.records import (
    CELL,
    ERROR,
    RESULT,
    Predictions,
    read_json,
    write_json,
    write_predictions,
)
from metaiqa_plugin.benchmark.training import START
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.data.rows import LabelledRows
from metaiqa_plugin.errors import BAD_INPUT, SOME_FAILED, Stopped, UserError
from metaiqa_plugin.files import locked, replacing, sha256_of, write_table
from metaiqa_plugin.option_yaml import dump
from metaiqa_plugin.parallel import keep_freed_memory
from metaiqa_plugin.registration import build_network
from metaiqa_plugin.score import open_metric, score_network
from metaiqa_plugin.score.agreement import agreement
from metaiqa_plugin.train.iqa_model import load_weights
from metaiqa_plugin.train.logs import VALIDATION
from metaiqa_plugin.train.options import changed
from metaiqa_plugin.train.run import train

try:
    import resource
except ImportError:  # Windows
    resource = None

__all__ = ['do', 'main']

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
        self.cell: Mapping[str, Any] = read_json(folder / CELL)
        self.measures: dict[str, float] = {'train_images': self.cell['train_images']}
        for path, digest in self.cell['csv'].items():
            if not Path(path).is_file() or sha256_of(path) != digest:
                raise UserError(
                    f'{path} has changed since this cell was planned; start the '
                    'benchmark again'
                )

    def need(self, name: str) -> Path:
        """Folder of shared work."""
        return self.root / self.cell['needs'][name]

    def start(self, name: str) -> Path | None:
        """Weights of shared work that this one begins with, if any."""
        return self.need(name) / WEIGHTS if self.cell['needs'] else None

    def tests(self) -> Iterator[tuple[str, LabelledRows]]:
        for name, test in self.cell['tests'].items():
            yield name, _rows(test['rows'])

    def network(self) -> nn.Module:
        network = build_network(dict(self.cell['network']))
        self.measures['parameters'] = sum(p.numel() for p in network.parameters())
        return network

    def metric(self) -> nn.Module:
        return open_metric(self.cell['metric'], **self.cell['arguments'])

    def tested(
        self, score: Callable[[str, LabelledRows], np.ndarray]
    ) -> dict[str, dict[str, Any]]:
        """Writes the predictions of all test sets; their agreement with MOS.

        Args:
            score: gives (N,) scores, higher better, of the name and rows of a set.
        """
        found = {}
        for name, rows in self.tests():
            scores = score(name, rows)
            types = [rows.tasks[code] for code in rows.task_of]
            write_predictions(
                self.folder / f'predictions-{name}.csv',
                Predictions(list(rows.images), types, rows.mos, scores),
            )
            found[name] = {
                'database': self.cell['tests'][name]['database'],
                'images': len(rows),
                **agreement(scores, rows.mos),
                'best_epoch': None,
            }
        return found


def do(root: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Do the work of a cell, if it is not done; another process at it is waited for.

    Args:
        root: folder of all experiments.
        folder: of the cell, below it.

    Raises:
        UserError: whatever the work refuses.
        Stopped: a signal ended a training that was saved.
    """
    root, folder = Path(root), Path(folder)
    with locked(folder / 'lock'):
        if (folder / RESULT).is_file():
            return
        work = Work(root, folder)
        torch.set_num_threads(work.cell['threads'])
        started = time.monotonic()
        tests = KINDS[work.cell['kind']](work)
        work.measures['seconds'] = round(time.monotonic() - started, 2)
        write_json(folder / RESULT, {'tests': tests, 'measures': work.measures})
        (folder / ERROR).unlink(missing_ok=True)


def _prior(work: Work) -> dict[str, Any]:
    weights = _train(work, work.start('start'))
    shutil.copyfile(weights, work.folder / WEIGHTS)
    _remove_states(work)
    return {}


def _trained(work: Work) -> dict[str, Any]:
    weights, best = work.start('prior'), None
    if work.cell['training'] is not None:
        weights = _train(work, weights)
        best = _curve(work)
    network = work.network()
    load_weights(network, str(weights))
    found = work.tested(lambda name, rows: score_network(network, _paths(rows), name))
    for test in found.values():
        test['best_epoch'] = best
    if work.cell['keep_weights']:
        shutil.copyfile(weights, work.folder / WEIGHTS)
    _remove_states(work)
    return found


def _metric(work: Work) -> dict[str, Any]:
    """Higher better: those of a metric that says otherwise change their sign."""
    metric = work.metric()
    sign = -1 if metric.lower_better else 1
    bar = metric.metric_name
    return work.tested(
        lambda name, rows: sign * score_network(metric, _paths(rows), bar)
    )


def _regressed(work: Work) -> dict[str, Any]:
    from metaiqa_plugin.benchmark.handcrafted.regression import Regression

    def features(database: str, rows: LabelledRows) -> np.ndarray:
        with np.load(work.need(database) / FEATURES) as file:
            place = {name: row for row, name in enumerate(file['images'])}
            return file['features'][[place[image] for image in rows.images]]

    learn = _rows(work.cell['learn_from']['rows'])
    groups = [row.reference or row.image for row in learn]
    regression = Regression(work.cell['features'])
    known = features(work.cell['learn_from']['database'], learn)
    regression.fit(known, learn.mos, groups, work.cell['seed'])
    tests = work.cell['tests']
    return work.tested(
        lambda name, rows: regression.predict(features(tests[name]['database'], rows))
    )


def _features(work: Work) -> dict[str, Any]:
    """In parts, so that a killed run continues after the last one."""
    cell = work.cell
    codebook = [
        path for part in cell.get('codebook', ()) for path in _paths(_rows(part))
    ]
    extract = _extractor(work, codebook)
    rows = _rows(cell['images'])
    parts = []
    bar = tqdm(total=len(rows), desc=cell['features'], unit='image')
    for start in range(0, len(rows), IMAGES_A_PART):
        part = work.folder / f'part-{start:08d}.npy'
        if not part.is_file():
            found = []
            for path in _paths(rows)[start : start + IMAGES_A_PART]:
                found.append(extract(path))
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
    ((_, rows),) = work.tests()
    score = RUNTIME[work.cell['method_kind']](work, rows)
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


def _network_scorer(work: Work, rows: LabelledRows) -> Callable[[Path], object]:
    """Of the method's network as its file builds it: weights do not change the time."""
    network = work.network()
    return lambda path: score_network(network, [path])


def _metric_scorer(work: Work, rows: LabelledRows) -> Callable[[Path], object]:
    metric = work.metric()
    return lambda path: metric(read_rgb(path)).item()


def _regressed_scorer(work: Work, rows: LabelledRows) -> Callable[[Path], object]:
    """Features of the image and a regression fitted to the very images."""
    from metaiqa_plugin.benchmark.handcrafted.regression import Regression

    extract = _extractor(work, _paths(rows))
    known = np.stack([extract(path) for path in _paths(rows)])
    regression = Regression(work.cell['features'])
    regression.fit(known, rows.mos, None, work.cell['seed'])
    return lambda path: regression.predict(extract(path)[None, :])


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


def _extractor(work: Work, codebook: Sequence[Path]) -> Callable[[Path], np.ndarray]:
    from metaiqa_plugin.benchmark.handcrafted.features import FEATURES as EXTRACTORS

    extractor = EXTRACTORS[work.cell['features']](**work.cell['arguments'])
    if extractor.learned:
        extractor.fit(codebook, work.cell['seed'])
    return lambda path: extractor(np.asarray(read_rgb(path)))


def _train(work: Work, start: Path | None) -> Path:
    """Train to the end, from where it was stopped; the weights."""
    options = work.cell['training']
    if options['path'].get('pretrain_network') == START:
        options = changed(options, {'path.pretrain_network': str(start)}, CELL)
    file = work.folder / 'options.yml'
    with replacing(file) as temporary:
        temporary.write_text(dump(options), encoding='utf-8')
    train(file, work.folder, resume=True)
    return work.folder / 'experiments' / 'run' / 'models' / 'net_latest.pth'


def _remove_states(work: Work) -> None:
    for name in ('models', 'training_states'):
        shutil.rmtree(work.folder / 'experiments' / 'run' / name, ignore_errors=True)


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
    write_table(work.folder / VALIDATION, rows[0], map(dict.values, rows))
    known = [row for row in rows if np.isfinite(row['srocc'])]
    if not known:
        return None
    return max(known, key=lambda row: row['srocc']) | {'epochs': rows[-1]['epoch']}


def _rows(block: Mapping[str, Any]) -> LabelledRows:
    return read_rows(DatabaseOptions(**block))


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
