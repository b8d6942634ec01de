"""Records what a restructuring must not move; ``diff -r`` compares two records.

    python studies/house/record.py OUT [--package metaiqa_plugin]

OUT gets the scores of the shipped metrics on the carried photos, by the command and by
pyiqa (``scores.csv``, ``scores_pyiqa.json``); the SHA-256 of each tensor after a tiny
meta-training, and its losses; the results and predictions of a tiny benchmark, without
times. All of it on one thread of a CPU: another processor or torch may round otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tiny_jobs

METRICS = ('metaiqa', 'metaiqa-prior', 'rankiqa', 'hyperiqa-lite0')
CELLS = 'runs/grid/cells'
"""Folder of the benchmark's cells; each has a result.json and predictions-*.csv."""
RUN = 'import sys, {package}.{cli} as cli; sys.exit(cli.main(sys.argv[1:]))'
BY_PYIQA = """
import json, sys
from pathlib import Path
import {package}, pyiqa
photos, *names = sys.argv[1:]
metrics = {{name: pyiqa.create_metric(name, device='cpu') for name in names}}
scores = {{
    name: {{p.name: metric(str(p)).item() for p in sorted(Path(photos).iterdir())}}
    for name, metric in metrics.items()
}}
print(json.dumps(scores, indent=1, sort_keys=True))
"""


class Recorder:
    """Runs jobs in a folder, and keeps what they say in another."""

    def __init__(self, package: Path, work: Path, out: Path) -> None:
        self.package, self.work, self.out = package, work, out

    def python(self, code: str, *arguments: str) -> str:
        """Run code in a process of the package; what it printed."""
        code = code.format(package=self.package.name, cli=tiny_jobs.CLI_MODULE)
        limits = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), '1')
        done = subprocess.run(
            [sys.executable, '-c', code, *arguments],
            cwd=self.work,
            env=os.environ | limits | {'PYTHONPATH': str(self.package.parent)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f'{" ".join(arguments)}: {done.stderr[-2000:]}')
        return done.stdout

    def command(self, verb: str, **values: object) -> None:
        self.python(RUN, *tiny_jobs.command(verb, **values))

    def scores(self) -> None:
        """Paths are relative, so that they are the same everywhere."""
        tiny_jobs.copy_photos(self.package, self.work / 'kodak24', 24)
        flags = ' '.join(f'{tiny_jobs.METRIC_FLAG} {name}' for name in METRICS)
        self.command('score', photos='kodak24', out='scores.csv', metrics=flags)
        shutil.copy(self.work / 'scores.csv', self.out)
        text = self.python(BY_PYIQA, 'kodak24', *METRICS)
        (self.out / 'scores_pyiqa.json').write_text(text[text.index('{') :])

    def synthesize(self) -> Path:
        photos = tiny_jobs.copy_photos(self.package, self.work / 'pristine', 6)
        self.command('synthesize', photos=photos, out=self.work / 'small')
        return self.work / 'small'

    def training(self, folder: Path) -> None:
        import torch

        options = tiny_jobs.meta_training(folder)
        path = tiny_jobs.write_options(self.work / 'train.yml', options)
        self.command('train', options=path, root=self.work)
        trained = self.work / tiny_jobs.TRAINED.format(name=options['name'])
        params = torch.load(trained, weights_only=True)['params']
        hashes = {
            name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
            for name, value in params.items()
        }
        _write(self.out / 'training_sha256.json', hashes)
        curve = self.work / tiny_jobs.CURVE.format(name=options['name'])
        shutil.copy(curve, self.out / 'training_losses.csv')

    def benchmark(self, folder: Path) -> None:
        options = tiny_jobs.small_grid(folder, self.work)
        path = tiny_jobs.write_options(self.work / 'grid.yml', options)
        self.command('benchmark', options=path, root=self.work / 'runs')
        cells = self.work / CELLS
        found = {}
        for result in sorted(cells.rglob('result.json')):
            cell = result.parent.relative_to(cells)
            found[cell.as_posix()] = _without_times(json.loads(result.read_text()))
            for predictions in result.parent.glob('predictions-*.csv'):
                name = '-'.join((*cell.parts, predictions.name)).replace(' ', '_')
                shutil.copy(predictions, self.out / f'benchmark-{name}')
        _write(self.out / 'benchmark.json', found)


def _without_times(result: dict) -> dict:
    measures = result['measures']
    kept = {name: value for name, value in measures.items() if name != 'seconds'}
    return result | {'measures': kept}


def _write(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, sort_keys=True) + '\n'
    path.write_text(text, encoding='utf-8')


def main() -> None:
    """The command; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='folder to make')
    parser.add_argument('--package', default='metaiqa_plugin', type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix='record-') as work:
        recorder = Recorder(options.package.resolve(), Path(work), options.out)
        recorder.scores()
        folder = recorder.synthesize()
        recorder.training(folder)
        recorder.benchmark(folder)


if __name__ == '__main__':
    main()
