"""Made experiments of every protocol, as a benchmark leaves them on disk."""

import itertools
import tempfile
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import yaml

import metaiqa_plugin
from metaiqa_plugin.benchmark.plan import read_plan
from metaiqa_plugin.benchmark.records import (
    Predictions,
    read_experiment,
    write_json,
    write_predictions,
)
from metaiqa_plugin.benchmark.report.summaries import Cells, srocc_of
from metaiqa_plugin.files import write_table

PHOTOS = Path(metaiqa_plugin.__file__).parent / 'photos' / 'kodak24'
NAMES = sorted(path.name for path in PHOTOS.glob('*.webp'))
KADID = ('gaussian_blur', 'jpeg', 'white_noise', 'contrast_change')


@cache
def facts():
    """What the plan of a real benchmark file says."""
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / 'labels.csv'
        write_table(labels, ('img_name', 'mos'), zip(NAMES, range(24), strict=True))
        kodak = {'meta_info_file': str(labels), 'dataroot_target': str(PHOTOS)}
        options = {
            'name': 'made',
            'about': 'Made numbers & <no> results.',
            'protocol': {'type': 'zero_shot', 'targets': ['kodak']},
            'databases': {'kodak': {**kodak, 'mos_range': [0, 100]}},
            'methods': {'niqe': {'metric': 'niqe'}},
        }
        path = Path(folder) / 'made.yml'
        path.write_text(yaml.safe_dump(options))
        return read_plan(str(path)).facts()


def cell(method, split, seed=0, /, **facets):
    """A planned cell."""
    folder = f'cells/{method}/{split}/{seed}'
    place = {'method': method, 'split': split, 'seed': seed, 'facets': facets}
    return {**facts()['cells'][0], **place, 'folder': folder}


def grid(methods, splits, seeds=(0,)):
    """Cells of a protocol that varies the split alone."""
    return [
        cell(method, split, seed, split=int(split))
        for method, split, seed in itertools.product(methods, splits, seeds)
    ]


def told(srocc, **more):
    """Correlations as told."""
    rest = {'plcc': 0.5, 'plcc_logistic': 0.5, 'krocc': 0.5, 'rmse': 0.1}
    return {'images': 24, 'srocc': srocc, **rest, 'best_epoch': None, **more}


def correlations(shown):
    """Those of predictions, roughly; best epoch a bit better, as it always is."""
    srocc = srocc_of(shown.mos, shown.scores)
    plcc = srocc  # of a constant
    if not np.isnan(srocc):
        plcc = float(np.corrcoef(shown.mos, shown.scores)[0, 1])
    best = {'epoch': 3, 'srocc': srocc + 0.01, 'plcc': plcc + 0.01, 'epochs': 5}
    rest = {'plcc_logistic': plcc + 0.005, 'krocc': 0.8 * srocc, 'rmse': 0.3}
    return told(srocc, plcc=plcc, **rest, best_epoch=best, images=len(shown.mos))


class Made:
    """An experiment on disk with no cell finished; ``plan`` overrides its plan."""

    def __init__(self, folder, protocol, cells, kind='trained', **plan):
        self.folder, self.cells = folder, cells
        names = list(dict.fromkeys(planned['method'] for planned in cells))
        self.plan = {
            **facts(),
            'name': folder.name,
            'title': f'{folder.name}: a made experiment',
            'protocol': protocol,
            'methods': [{'name': name, 'kind': kind} for name in names],
            'compare_with': names[0],
            'cells': cells,
            'notes': ['Left out: <nothing>.'],
            'options': f'name: {folder.name}\nnote: "<script>alert(1)</script>"\n',
            'command': f'metaiqa benchmark {folder.name}.yml --out runs',
            'commit': '0123abc',
            'environment': {'python': '3.11.7', 'torch': '2.14.1'},
            **plan,
        }
        write_json(folder / 'plan.json', self.plan)

    def finish(self, planned, content=None, curve=False, **measures):
        """Finish a cell: predictions, correlations, or several of them by test set."""
        found, tests = self.folder / planned['folder'], {}
        if isinstance(content, Predictions) or 'srocc' in (content or {}):
            content = {'test': content}
        for name, test in (content or {}).items():
            if isinstance(test, Predictions):
                write_predictions(found / f'predictions-{name}.csv', test)
                test = correlations(test)
            tests[name] = {'database': 'kodak', **test}
            if curve:
                rows = [(epoch, test['srocc'] * (1 - 0.5**epoch)) for epoch in EPOCHS]
                path = found / 'validation.csv'
                write_table(
                    path, ('epoch', 'srocc', 'plcc'), ((*row, 0.5) for row in rows)
                )
        measures = {'seconds': 61.5, 'train_images': 96, **measures}
        write_json(found / 'result.json', {'tests': tests, 'measures': measures})

    def fail(self, planned, error):
        """Let a cell fail."""
        path = self.folder / planned['folder'] / 'error.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{error}\n', encoding='utf-8')

    def read(self):
        """Its cells, as the report reads them."""
        return read(self.folder)


EPOCHS = range(1, 6)


def read(folder):
    """Cells of an experiment, as the report reads them."""
    return Cells.of_experiment(read_experiment(folder))


def predict(key, noise, types=('all',), names=NAMES, constant=False):
    """Scores that follow the MOS of their images, up to noise."""
    generator = np.random.default_rng(crc32(key.encode()))
    names = [name for name in names for _ in types]
    kinds = list(types) * (len(names) // len(types))
    mos = np.round(generator.random(len(names)), 4)
    scores = 20 + 50 * (mos + noise * generator.standard_normal(len(names)))
    return Predictions(names, kinds, mos, np.zeros(len(mos)) if constant else scores)


def authentic(folder):
    """Ten splits: one method constant on one split, one cell failed, one open."""
    methods = ('metaiqa', 'baseline', 'regressed')
    cells = grid(methods, [f'{number:02d}' for number in range(1, 11)], (0, 1))
    cells += grid(['constant', 'broken'], ['01'])
    published = {'table': 'authentic', 'database': 'LIVEC', 'same_protocol': True}
    made = Made(folder, 'authentic', cells, published=published)
    for index, planned in enumerate(cells):
        method, key = planned['method'], f'{planned["split"]}{planned["seed"]}'
        if method == 'broken':
            made.fail(planned, 'RuntimeError: <b>no weights</b> in ' + 'x' * 80)
        elif method == 'constant':
            made.finish(planned, predict(key, 0, constant=True), curve=True)
        elif index != 3:
            noise = 0.1 + 0.15 * methods.index(method)
            made.finish(planned, predict(key + method, noise), curve=True)


def unseen(folder):
    """Four types of KADID-10k, before and after ten labels, two draws each."""
    cells = []
    for method, kind in itertools.product(('metaiqa', 'baseline', 'a_third'), KADID):
        cells.append(cell(method, kind, type=kind, labels=0))
        for draw in (0, 1):
            split = f'{kind}-m10-d{draw}'
            cells.append(cell(method, split, type=kind, labels=10, draw=draw))
    published = {
        'table': 'lodo_srocc',
        'database': 'KADID-10k',
        'same_protocol': False,
    }
    made = Made(folder, 'leave_one_distortion_out', cells, published=published)
    for planned in cells[:-1]:
        kind, labels = planned['facets']['type'], planned['facets']['labels']
        noise = (0.1 + 0.2 * len(planned['method']) % 0.5) / (2 if labels else 1)
        names = NAMES[:12] if labels else NAMES
        shown = predict(kind + planned['method'], noise, (kind,), names)
        made.finish(planned, shown, curve=True)
    made.fail(cells[-1], 'OSError: disk full')


def few_shot(folder):
    """Three numbers of labels, three draws, images of two types."""
    cells = [
        cell(method, f'm{labels}-d{draw}', labels=labels, draw=draw, split=1)
        for method, labels, draw in itertools.product(
            ('metaiqa', 'scratch'), (0, 10, 50), (1, 2, 3)
        )
    ]
    made = Made(folder, 'few_shot', cells)
    for planned in cells:
        method, labels = planned['method'], planned['facets']['labels']
        noise = 0.5 / (1 + labels / 10) + 0.1 * (method == 'scratch')
        shown = predict(method + planned['split'], noise, ('jpeg', 'blur'), NAMES[:12])
        made.finish(planned, shown, curve=True, train_images=labels)


def sweep(folder):
    """Points in k and S, one at a time."""
    points = [(k, 2) for k in (2, 5, 10)] + [(5, s) for s in (1, 4)]
    cells = [
        cell(f'k{k}-S{s}', split, k=k, S=s, split=int(split))
        for k, s in points
        for split in ('01', '02')
    ]
    made = Made(folder, 'parameters', cells, compare_with='k5-S2')
    for planned in cells:
        key = planned['method'] + planned['split']
        made.finish(planned, predict(key, 0.2), curve=True)


def across(folder):
    """Three databases, each trained on and tested on the others."""
    names = ('LIVEC', 'KonIQ10k', 'CID2013')
    cells = [
        cell(method, train, train=train)
        for method, train in itertools.product(('metaiqa', 'baseline'), names)
    ]
    made = Made(folder, 'cross_database', cells)
    for planned in cells[:-1]:
        train = planned['facets']['train']
        tests = {
            name: predict(planned['method'] + train + name, 0.2)
            for name in names
            if name != train
        }
        made.finish(planned, tests, curve=True)


def zero_shot(folder):
    """Many metrics with long names, one split."""
    methods = ['musiq-koniq', 'brisque'] + [
        f'a_metric_with_a_rather_long_name_and_number_{number:02d}'
        for number in range(8)
    ]
    published = {
        'table': 'pyiqa_nr_benchmark',
        'database': 'LIVEC',
        'same_protocol': False,
    }
    cells = grid(methods, ['01'])
    made = Made(folder, 'zero_shot', cells, kind='metric', published=published)
    for index, planned in enumerate(cells):
        types = ('jpeg', 'blur', 'noise')
        shown = predict(planned['method'], 0.05 * index, types)
        made.finish(planned, shown, train_images=0)


def runtime(folder):
    """Three rounds."""
    cells = [
        cell(method, f'round{number}')
        for method, number in itertools.product(('metaiqa', 'brisque'), (1, 2, 3))
    ]
    made = Made(folder, 'runtime', cells)
    for index, planned in enumerate(cells):
        made.finish(
            planned,
            images_per_second=20.0 + index,
            milliseconds=50.0 - index,
            peak_memory_mb=400.0 if index < 3 else 120.0,
            parameters=24_500_000,
        )


def nothing(folder):
    """An experiment that was only planned."""
    Made(folder, 'authentic', grid(['metaiqa'], ['01', '02']))


EVERYTHING = (authentic, unseen, few_shot, sweep, across, zero_shot, runtime, nothing)
