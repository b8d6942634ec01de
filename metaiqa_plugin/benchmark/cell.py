"""The work of one cell, in a process of its own.

``python -m metaiqa_plugin.benchmark.cell ROOT FOLDER`` reads ``FOLDER/cell.json`` below
ROOT and leaves ``result.json`` beside it, or ``error.txt``. What was trained before a
kill is not trained again. It ends when its standard input does, so that no cell
outlives the command that started it, however that ends.
"""

from __future__ import annotations

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

from metaiqa_plugin.benchmark.methods import START
from metaiqa_plugin.benchmark.records import (
    CELL,
    ERROR,
    RESULT,
    Predictions,
    read_json,
    read_table,
    write_json,
    write_predictions,
)
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

Tests = dict[str, dict[str, Any]]
"""Agreement with MOS by the name of the test set."""


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
        tests = getattr(work, work.cell['kind'])()
        work.measures['seconds'] = round(time.monotonic() - started, 2)
        write_json(folder / RESULT, {'tests': tests, 'measures': work.measures})
        (folder / ERROR).unlink(missing_ok=True)


class Work:
    """A cell at work; each kind of cell is a method of that name.

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
        self._run = folder / 'experiments' / 'run'
        for path, digest in self.cell['csv'].items():
            if not Path(path).is_file() or sha256_of(path) != digest:
                raise UserError(
                    f'{path} has changed since this cell was planned; start the '
                    'benchmark again'
                )

    def prior(self) -> Tests:
        """Shared: a training on the source; leaves its weights."""
        self._keep(self._train(self._start('start')))
        return {}

    def trained(self) -> Tests:
        weights, best = self._start('prior'), None
        if self.cell['training'] is not None:
            weights = self._train(weights)
            best = self._curve()
        network = self._network()
        load_weights(network, str(weights))
        found = self._tested(
            lambda name, rows: score_network(network, _paths(rows), name)
        )
        for test in found.values():
            test['best_epoch'] = best
        self._keep(weights if self.cell['keep_weights'] else None)
        return found

    def metric(self) -> Tests:
        """Higher better: those of a metric that says otherwise change their sign."""
        metric = self._metric()
        sign, bar = -1 if metric.lower_better else 1, metric.metric_name
        return self._tested(
            lambda name, rows: sign * score_network(metric, _paths(rows), bar)
        )

    def features(self) -> Tests:
        """Shared: of a database, in parts: a killed run continues after the last."""
        codebook = [
            path
            for part in self.cell.get('codebook', ())
            for path in _paths(_rows(part))
        ]
        extract = self._extractor(codebook)
        rows = _rows(self.cell['images'])
        parts = []
        bar = tqdm(total=len(rows), desc=self.cell['features'], unit='image')
        for start in range(0, len(rows), IMAGES_A_PART):
            part = self.folder / f'part-{start:08d}.npy'
            if not part.is_file():
                found = []
                for path in _paths(rows)[start : start + IMAGES_A_PART]:
                    found.append(extract(path))
                    bar.update()
                with replacing(part) as temporary:
                    np.save(temporary, np.stack(found))
            parts.append(part)
        matrix = np.concatenate([np.load(part) for part in parts])
        with replacing(self.folder / FEATURES) as temporary:
            np.savez(temporary, images=np.array(list(rows.images)), features=matrix)
        for part in parts:
            part.unlink()
        return {}

    def regressed(self) -> Tests:
        from metaiqa_plugin.benchmark.handcrafted.regression import Regression

        def features(database: str, rows: LabelledRows) -> np.ndarray:
            with np.load(self._need(database) / FEATURES) as file:
                place = {name: row for row, name in enumerate(file['images'])}
                return file['features'][[place[image] for image in rows.images]]

        database, learn = (
            self.cell['learn_from'],
            _rows(self.cell['learn_from']['rows']),
        )
        groups = [row.reference or row.image for row in learn]
        regression = Regression(self.cell['features'])
        known = features(database['database'], learn)
        regression.fit(known, learn.mos, groups, self.cell['seed'])
        tests = self.cell['tests']
        return self._tested(
            lambda name, rows: regression.predict(
                features(tests[name]['database'], rows)
            )
        )

    def runtime(self) -> Tests:
        """Each image from file to score, one at a time, after three to warm up."""
        ((_, rows),) = self._sets()
        paths = _paths(rows)
        score = self._scorer(rows)
        for path in paths[:3]:
            score(path)
        seconds = []
        for path in tqdm(paths, self.cell['method'], unit='image'):
            started = time.perf_counter()
            score(path)
            seconds.append(time.perf_counter() - started)
        self.measures |= {
            'images_per_second': len(seconds) / sum(seconds),
            'milliseconds': 1000 * float(np.median(seconds)),
            'peak_memory_mb': _peak_memory(),
        }
        return {}

    def _scorer(self, rows: LabelledRows) -> Callable[[Path], object]:
        """What is timed.

        Of a network as its file builds it, since weights do not change the time; a
        regression is fitted to the very images.
        """
        if self.cell['method_kind'] == 'trained':
            network = self._network()
            return lambda path: score_network(network, [path])
        if self.cell['method_kind'] == 'metric':
            metric = self._metric()
            return lambda path: metric(read_rgb(path)).item()
        from metaiqa_plugin.benchmark.handcrafted.regression import Regression

        extract = self._extractor(_paths(rows))
        known = np.stack([extract(path) for path in _paths(rows)])
        regression = Regression(self.cell['features'])
        regression.fit(known, rows.mos, None, self.cell['seed'])
        return lambda path: regression.predict(extract(path)[None, :])

    def _tested(self, score: Callable[[str, LabelledRows], np.ndarray]) -> Tests:
        """Writes the predictions of all test sets; their agreement with MOS.

        Args:
            score: gives (N,) scores, higher better, of the name and rows of a set.
        """
        found = {}
        for name, rows in self._sets():
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

    def _sets(self) -> Iterator[tuple[str, LabelledRows]]:
        for name, test in self.cell['tests'].items():
            yield name, _rows(test['rows'])

    def _need(self, name: str) -> Path:
        """Folder of shared work."""
        return self.root / self.cell['needs'][name]

    def _start(self, name: str) -> Path | None:
        """Weights of shared work that this one begins with, if any."""
        return self._need(name) / WEIGHTS if self.cell['needs'] else None

    def _network(self) -> nn.Module:
        network = build_network(dict(self.cell['network']))
        self.measures['parameters'] = sum(p.numel() for p in network.parameters())
        return network

    def _metric(self) -> nn.Module:
        return open_metric(self.cell['metric'], **self.cell['arguments'])

    def _extractor(self, codebook: Sequence[Path]) -> Callable[[Path], np.ndarray]:
        from metaiqa_plugin.benchmark.handcrafted import FEATURES as EXTRACTORS

        extractor = EXTRACTORS[self.cell['features']](**self.cell['arguments'])
        if extractor.learned:
            extractor.fit(codebook, self.cell['seed'])
        return lambda path: extractor(np.asarray(read_rgb(path)))

    def _train(self, start: Path | None) -> Path:
        """Train to the end, from where it was stopped; the weights."""
        options = self.cell['training']
        if options['path'].get('pretrain_network') == START:
            options = changed(options, {'path.pretrain_network': str(start)}, CELL)
        file = self.folder / 'options.yml'
        with replacing(file) as temporary:
            temporary.write_text(dump(options), encoding='utf-8')
        train(file, self.folder, resume=True)
        return self._run / 'models' / 'net_latest.pth'

    def _keep(self, weights: Path | None) -> None:
        """These weights, if any, and nothing else that a training saved."""
        if weights is not None:
            shutil.copyfile(weights, self.folder / WEIGHTS)
        for name in ('models', 'training_states'):
            shutil.rmtree(self._run / name, ignore_errors=True)

    def _curve(self) -> dict[str, float] | None:
        """``validation.csv`` by epochs, and its best row."""
        path = self._run / VALIDATION
        if not path.is_file():
            return None
        every = self.cell['training']['val']['val_freq']
        rows = [
            {
                'epoch': round(int(row['iter']) / every, 3),
                'srocc': float(row['srcc']),
                'plcc': float(row['plcc']),
            }
            for row in read_table(path)
        ]
        write_table(self.folder / VALIDATION, rows[0], map(dict.values, rows))
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
