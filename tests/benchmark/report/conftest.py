"""Made experiments of every protocol, as a benchmark leaves them on disk."""

import csv
import itertools
import math
import types
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

import metaiqa_plugin
from metaiqa_plugin.benchmark.records import (
    Predictions,
    write_json,
    write_predictions,
)
from metaiqa_plugin.benchmark.report import write_report
from metaiqa_plugin.benchmark.report.statistics import spearman

PHOTOS = Path(metaiqa_plugin.__file__).parent / 'photos' / 'kodak24'
NAMES = sorted(path.name for path in PHOTOS.glob('*.webp'))
KADID = ('gaussian_blur', 'jpeg', 'white_noise', 'contrast_change')


@pytest.fixture(scope='session')
def make():
    """Tools that make experiments; see the functions of the same names."""
    return types.SimpleNamespace(
        plan=plan,
        cell=cell,
        write=write,
        finish=finish,
        fail=fail,
        authentic=authentic,
        unseen=unseen,
        few_shot=few_shot,
        sweep=sweep,
        across=across,
        zero_shot=zero_shot,
        runtime=runtime,
        nothing=nothing,
        everything=everything,
        photos=PHOTOS,
        names=NAMES,
    )


@pytest.fixture(scope='session')
def experiments(tmp_path_factory):
    """A folder with an experiment of every protocol."""
    return everything(tmp_path_factory.mktemp('runs'))


@pytest.fixture(scope='session')
def report(experiments, tmp_path_factory):
    """The report of all of them."""
    return write_report([experiments], tmp_path_factory.mktemp('report'))


def plan(name, protocol, methods, cells, **more):
    """A plan; methods are names, all trained unless told as (name, kind)."""
    methods = [one if isinstance(one, tuple) else (one, 'trained') for one in methods]
    return {
        'name': name,
        'title': f'{name}: a made experiment',
        'protocol': protocol,
        'about': ['Made numbers & <no> results.'],
        'option_file': f'{name}.yml',
        'options': f'name: {name}\nnote: "<script>alert(1)</script>"\n',
        'command': f'metaiqa benchmark {name}.yml --out runs',
        'commit': '0123abc',
        'environment': {'python': '3.11.7', 'torch': '2.14.1'},
        'threads': 1,
        'started': '2025-01-02T03:04:05',
        'methods': [{'name': name, 'kind': kind} for name, kind in methods],
        'compare_with': methods[0][0],
        'published': None,
        'databases': {
            'kodak': {
                'dataroot_target': str(PHOTOS),
                'mos_range': [0, 100],
                'lower_better': False,
            }
        },
        'cells': cells,
        'priors': [],
        'notes': ['Left out: <nothing>.'],
        **more,
    }


def cell(method, split, seed=0, /, **facets):
    """A planned cell."""
    folder = f'cells/{method}/{split}/{seed}'
    return {
        'method': method,
        'split': split,
        'seed': seed,
        'facets': facets,
        'folder': folder,
    }


def write(folder, made):
    """An experiment with no cell finished."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'plan.json', made)
    return folder


def finish(folder, planned, tests=None, curve=True, **measures):
    """Finish a cell; tests: predictions, or a mapping of correlations, by name."""
    found = folder / planned['folder']
    result = {}
    for name, content in (tests or {}).items():
        if isinstance(content, Predictions):
            write_predictions(found / f'predictions-{name}.csv', content)
            content = correlations(content)
        result[name] = {'database': 'kodak', 'images': 24, **content}
        if curve:
            write_curve(found / 'validation.csv', content['srocc'])
    measures = {'seconds': 61.5, 'train_images': 96, **measures}
    write_json(found / 'result.json', {'tests': result, 'measures': measures})


def fail(folder, planned, error):
    """Let a cell fail."""
    path = folder / planned['folder'] / 'error.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{error}\n', encoding='utf-8')


def correlations(shown):
    """Those of predictions; best epoch a bit better, as it always is."""
    srocc = spearman(shown.mos, shown.scores)
    plcc = math.nan
    if not math.isnan(srocc):
        plcc = float(np.corrcoef(shown.mos, shown.scores)[0, 1])
    best = {'epoch': 3, 'srocc': srocc + 0.01, 'plcc': plcc + 0.01, 'epochs': 5}
    return {
        'srocc': srocc,
        'plcc': plcc,
        'plcc_logistic': plcc + 0.005,
        'krocc': srocc * 0.8,
        'rmse': 0.3 - 0.1 * srocc,
        'best_epoch': best,
        'images': len(shown.mos),
    }


def write_curve(path, last):
    """Five epochs that end at ``last``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['epoch', 'srocc', 'plcc'])
        for epoch in range(1, 6):
            value = last * (1 - 0.5**epoch)
            writer.writerow([epoch, value, value])


def predict(key, noise, types=('all',), names=NAMES, constant=False):
    """Scores that follow the MOS of their images, up to noise."""
    generator = np.random.default_rng(crc32(key.encode()))
    names = [name for name in names for _ in types]
    kinds = list(types) * (len(names) // len(types))
    mos = np.round(generator.random(len(names)), 4)
    scores = 20 + 50 * (mos + noise * generator.standard_normal(len(names)))
    return Predictions(names, kinds, mos, np.zeros(len(mos)) if constant else scores)


def authentic(folder, methods=('metaiqa', 'baseline', 'regressed'), seeds=(0, 1)):
    """Ten splits: one method constant on one split, one cell failed, one open."""
    splits = [f'{number:02d}' for number in range(1, 11)]
    cells = [
        cell(method, split, seed, split=int(split))
        for method, split, seed in itertools.product(methods, splits, seeds)
    ]
    cells += [cell('constant', '01', split=1), cell('broken', '01', split=1)]
    made = plan(
        'authentic',
        'authentic',
        [*methods, 'constant', ('broken', 'metric')],
        cells,
        published={'table': 'authentic', 'database': 'LIVEC', 'same_protocol': True},
    )
    write(folder, made)
    for index, planned in enumerate(cells):
        method, key = planned['method'], f'{planned["split"]}{planned["seed"]}'
        if method == 'broken':
            fail(folder, planned, 'RuntimeError: <b>no weights</b> in ' + 'x' * 80)
        elif method == 'constant':
            finish(folder, planned, {'test': predict(key, 0, constant=True)})
        elif index != 3:
            noise = 0.1 + 0.15 * methods.index(method)
            finish(folder, planned, {'test': predict(key + method, noise)})
    return folder


def unseen(folder, methods=('metaiqa', 'baseline', 'a_third')):
    """Four types of KADID-10k, before and after ten labels, two draws each."""
    cells = []
    for method, kind in itertools.product(methods, KADID):
        cells.append(cell(method, kind, type=kind, labels=0))
        for draw in (0, 1):
            split = f'{kind}-m10-d{draw}'
            cells.append(cell(method, split, type=kind, labels=10, draw=draw))
    published = {
        'table': 'lodo_srocc',
        'database': 'KADID-10k',
        'same_protocol': False,
    }
    made = plan(
        'unseen', 'leave_one_distortion_out', methods, cells, published=published
    )
    write(folder, made)
    for planned in cells[:-1]:
        facets, noise = planned['facets'], 0.1 + 0.2 * len(planned['method']) % 0.5
        names = NAMES[:12] if facets['labels'] else NAMES
        shown = predict(
            f'{facets["type"]}{planned["method"]}',
            noise / 2 if facets['labels'] else noise,
            (facets['type'],),
            names,
        )
        finish(folder, planned, {'test': shown})
    fail(folder, cells[-1], 'OSError: disk full')
    return folder


def few_shot(folder, methods=('metaiqa', 'scratch')):
    """Three numbers of labels, three draws, images of two types."""
    cells = [
        cell(method, f'm{labels}-d{draw}', labels=labels, draw=draw, split=1)
        for method, labels, draw in itertools.product(methods, (0, 10, 50), (1, 2, 3))
    ]
    write(folder, plan('few_shot', 'few_shot', methods, cells))
    for planned in cells:
        labels = planned['facets']['labels']
        noise = 0.5 / (1 + labels / 10) + 0.1 * methods.index(planned['method'])
        key = f'{planned["method"]}{planned["split"]}'
        shown = predict(key, noise, ('jpeg', 'blur'), NAMES[:12])
        finish(folder, planned, {'test': shown}, train_images=labels)
    return folder


def sweep(folder):
    """Points in k and S, one at a time."""
    points = [(k, 2) for k in (2, 5, 10)] + [(5, s) for s in (1, 4)]
    methods = [f'k{k}-S{s}' for k, s in points]
    cells = [
        cell(method, split, k=k, S=s, split=int(split))
        for method, (k, s) in zip(methods, points, strict=True)
        for split in ('01', '02')
    ]
    write(folder, plan('sweep', 'parameters', methods, cells, compare_with='k5-S2'))
    for planned in cells:
        key = planned['method'] + planned['split']
        finish(folder, planned, {'test': predict(key, 0.2)})
    return folder


def across(folder, methods=('metaiqa', 'baseline')):
    """Three databases, each trained on and tested on the others."""
    names = ('LIVEC', 'KonIQ10k', 'CID2013')
    cells = [
        cell(method, train, train=train)
        for method, train in itertools.product(methods, names)
    ]
    write(folder, plan('across', 'cross_database', methods, cells))
    for planned in cells[:-1]:
        train = planned['facets']['train']
        tests = {
            name: predict(planned['method'] + train + name, 0.2)
            for name in names
            if name != train
        }
        finish(folder, planned, tests)
    return folder


def zero_shot(folder, count=20):
    """Many metrics with long names, one split."""
    methods = [('musiq-koniq', 'metric'), ('brisque', 'metric')]
    methods += [
        (f'a_metric_with_a_rather_long_name_and_number_{number:02d}', 'metric')
        for number in range(count - len(methods))
    ]
    cells = [cell(name, '01', split=1) for name, _ in methods]
    published = {
        'table': 'pyiqa_nr_benchmark',
        'database': 'LIVEC',
        'same_protocol': False,
    }
    made = plan('zero_shot', 'zero_shot', methods, cells, published=published)
    write(folder, made)
    for index, planned in enumerate(cells):
        shown = predict(planned['method'], 0.05 * index, ('jpeg', 'blur', 'noise'))
        finish(folder, planned, {'test': shown}, curve=False, train_images=0)
    return folder


def runtime(folder, methods=('metaiqa', 'brisque')):
    """Three rounds."""
    cells = [
        cell(method, f'round{number}')
        for method, number in itertools.product(methods, (1, 2, 3))
    ]
    write(folder, plan('runtime', 'runtime', methods, cells))
    for index, planned in enumerate(cells):
        finish(
            folder,
            planned,
            images_per_second=20.0 + index,
            milliseconds=50.0 - index,
            peak_memory_mb=400.0 if index < 3 else 120.0,
            parameters=24_500_000,
        )
    return folder


def nothing(folder):
    """An experiment that was only planned."""
    cells = [cell('metaiqa', '01', split=1), cell('metaiqa', '02', split=2)]
    return write(folder, plan('nothing', 'authentic', ['metaiqa'], cells))


def everything(folder):
    """All of them below one folder."""
    makers = (authentic, unseen, few_shot, sweep, across, zero_shot, runtime, nothing)
    for maker in makers:
        maker(folder / maker.__name__)
    return folder
