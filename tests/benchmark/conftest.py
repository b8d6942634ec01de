"""Experiments of a few seconds: tiny networks, a few small photos."""

import copy
import csv
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from PIL import ImageFilter
from started import Started
from tiny_options import ADAPT, OPTIONS, PRIOR

from metaiqa_plugin.benchmark.cell import do
from metaiqa_plugin.benchmark.plan import read_plan
from metaiqa_plugin.benchmark.records import read_cell
from metaiqa_plugin.benchmark.run import prepare
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.splits import split_columns


@pytest.fixture(scope='session')
def wild(tmp_path_factory, photos):
    """Thirty blurred photos, the sharper the better, with ten splits."""
    folder = tmp_path_factory.mktemp('wild')
    (folder / 'images').mkdir()
    rows = []
    for path in photos[6:16]:
        small = read_rgb(path).resize((72, 48))
        for radius in range(3):
            name = f'{path.stem}-{radius}.png'
            small.filter(ImageFilter.GaussianBlur(radius)).save(
                folder / 'images' / name
            )
            rows.append((name, 90 - 30 * radius + len(rows) % 3))
    splits = split_columns([name for name, _ in rows])
    with (folder / 'meta_info_wild.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('img_name', 'mos', *splits))
        for name, mos in rows:
            writer.writerow((name, mos, *(parts[name] for parts in splits.values())))
    return folder


@pytest.fixture(scope='session')
def two_networks(database, wild):
    """A benchmark file of two networks on two splits; copy it to change it."""
    shipped = OPTIONS / 'train' / 'MetaIQA'
    adapt = str(shipped / 'adapt_livec.yml')
    return {
        'name': 'tiny',
        'protocol': {
            'type': 'authentic',
            'target': 'wild',
            'splits': 2,
            'source': 'small',
        },
        'databases': {
            'small': {
                'meta_info_file': str(database / 'meta_info_small.csv'),
                'dataroot_target': str(database / 'images'),
                'mos_range': [1, 5],
            },
            'wild': {
                'meta_info_file': str(wild / 'meta_info_wild.csv'),
                'dataroot_target': str(wild / 'images'),
                'mos_range': [0, 100],
            },
        },
        'seeds': [3],
        'change': {'prior': dict(PRIOR), 'adapt': dict(ADAPT)},
        'methods': {
            'MetaIQA': {'prior': str(shipped / 'metaiqa_kodak.yml'), 'adapt': adapt},
            'from scratch': {'adapt': adapt},
        },
    }


@pytest.fixture
def tiny(two_networks, tmp_path, monkeypatch):
    """A benchmark file of two networks on two splits, as a dict to change."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return copy.deepcopy(two_networks)


@pytest.fixture(scope='session')
def write_file():
    """Writes options to a benchmark file; its path."""

    def write(folder, options):
        path = folder / 'tiny.yml'
        path.write_text(yaml.safe_dump(options, sort_keys=False))
        return str(path)

    return write


@pytest.fixture
def written(write_file, tmp_path):
    """The same in the folder of the test."""
    return partial(write_file, tmp_path)


@pytest.fixture(scope='session')
def do_here():
    """Does the cells of a benchmark file in this process; their records."""

    def do_all(path, root, only=''):
        plan, root = read_plan(path), Path(root).resolve()
        chosen = [cell for cell in plan.cells if only in cell.label]
        for cell in (*plan.shared, *chosen):
            if only in cell.label:
                prepare(root, cell)
                do(root, root / cell.folder)
        return [
            read_cell(root, {**cell.description, 'folder': cell.folder})
            for cell in chosen
        ]

    return do_all


@pytest.fixture
def benchmark_process():
    """Starts ``metaiqa benchmark`` as a user does, in a session of its own."""
    started = []

    def start(*arguments, **environment):
        process = Started(
            [sys.executable, '-m', 'metaiqa_plugin.cli', 'benchmark', *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
