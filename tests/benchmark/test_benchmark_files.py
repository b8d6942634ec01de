"""Every shipped benchmark file: bound to what reads it; those of Table 2 are run."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_options import ADAPT, NETWORK, OPTIONS, PRIOR

from metaiqa_plugin.benchmark.plan import read_plan
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.databases.registry import DATABASES
from metaiqa_plugin.data.datasets import database_options
from metaiqa_plugin.data.distortions import KADID10K, distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.data.splits import split_columns
from metaiqa_plugin.train.options import read_options

FILES = sorted((OPTIONS / 'benchmark').rglob('*.yml'))
TID = {1: 'white_noise', 8: 'gaussian_blur', 10: 'jpeg', 11: 'jpeg2000'}
PHOTOS = 7


def in_options(path):
    return str(path.relative_to(OPTIONS.parent))


def commands(path):
    head = path.read_text().split('\nname:')[0]
    lines = [line.lstrip('# ').partition('   ')[0] for line in head.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith('metaiqa ')]


def databases_of(path):
    blocks = read_options(path)['databases'].values()
    return [
        database_options({key: block[key] for key in block if key != 'store'}, '')
        for block in blocks
    ]


def write_table(options):
    """As much of a database as a plan reads: a thousand rows and their splits."""
    name = Path(options.meta_info_file).name
    synthetic = any(word in name for word in ('kodak', 'tid', 'kadid'))
    references = [f'r{place}' for place in range(10 if synthetic else 1000)]
    splits = split_columns(references)
    splits['official_split'] = splits['ratio802_seed123_split_01']
    kinds = KADID10K if synthetic else ['all']
    path, (low, high) = Path(options.meta_info_file), options.mos_range
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        header = ['img_name', 'mos', 'distortion', 'ref_name', 'subset', 'group']
        writer.writerow([*header, *splits])
        for place, reference in enumerate(references):
            for kind in kinds:
                for level in range(5 if synthetic else 1):
                    writer.writerow(
                        (
                            f'{reference}-{kind}-{level}.png',
                            (low + high) / 2,
                            kind,
                            reference,
                            f'subset{place % 3}',
                            '',
                            *(parts[reference] for parts in splits.values()),
                        )
                    )


@pytest.mark.parametrize('path', FILES, ids=in_options)
def test_it_is_bound_to_what_reads_it(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('options').symlink_to(OPTIONS)
    for options in databases_of(path):
        write_table(options)
    plan = read_plan(in_options(path))
    assert plan.cells
    assert plan.file.name == path.stem + (
        '_small' if path.parent.name == 'small' else ''
    )
    assert not plan.notes or 'lodo' in path.name


@pytest.mark.parametrize('path', FILES, ids=in_options)
def test_its_first_lines_make_its_databases_and_run_it(path):
    first_lines = commands(path)
    run = [command for command in first_lines if command[1] == 'benchmark']
    assert [command[3] for command in run] == [in_options(path)]
    made = {Path(command[-1]).name for command in first_lines if command not in run}
    wanted = {
        Path(options.meta_info_file).parent.name for options in databases_of(path)
    }
    text = path.read_text()
    assert made == {name for name in wanted if f'data/{name} has Images/' not in text}
    prepared = {command[2] for command in first_lines if command[1] == 'prepare'}
    assert prepared <= set(DATABASES)


@pytest.fixture(scope='module')
def references(photos):
    return [read_rgb(path).resize((64, 48)) for path in photos[:PHOTOS]]


def make_tid2013(root, references):
    (root / 'distorted_images').mkdir(parents=True)
    (root / 'reference_images').mkdir()
    lines = []
    for number, photo in enumerate(references, start=1):
        photo.save(root / 'reference_images' / f'I{number:02d}.BMP')
        for code, kind in TID.items():
            for level in range(1, 6):
                name = f'i{number:02d}_{code:02d}_{level}.bmp'
                image = distort(photo, kind, level, rng=0)
                image.save(root / 'distorted_images' / name)
                lines.append(f'{8 - level + number / 10:.5f} {name}')
    (root / 'mos_with_names.txt').write_text('\r\n'.join(lines) + '\r\n')
    (root / 'mos_std.txt').write_text('0.10000\n' * len(lines))


def make_kadid10k(root, references):
    (root / 'images').mkdir(parents=True)
    rows = []
    for number, photo in enumerate(references, start=1):
        reference = f'I{number:02d}.png'
        photo.save(root / 'images' / reference)
        for code in (1, 10, 11):
            for level in range(1, 6):
                name = f'I{number:02d}_{code:02d}_{level:02d}.png'
                image = distort(photo, KADID10K[code - 1], level, rng=0)
                image.save(root / 'images' / name)
                rows.append((name, reference, f'{5 - level / 2:.2f}', '0.5'))
    with (root / 'dmos.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('dist_img', 'ref_img', 'dmos', 'var'))
        writer.writerows(rows)


@pytest.mark.parametrize(
    ('name', 'maker', 'unseen', 'methods'),
    [
        ('tid2013', make_tid2013, 'JPEG', None),
        ('kadid10k', make_kadid10k, 'jpeg', ('MetaIQA', 'Baseline', 'BRISQUE + SVR')),
    ],
    ids=['tid2013', 'kadid10k'],
)
def test_table_2_on_a_small_database_in_the_published_layout(
    name, maker, unseen, methods, references, tmp_path, monkeypatch, capsys, do_here
):
    """The shipped file, once with every method; networks are tiny, trainings short."""
    monkeypatch.chdir(tmp_path)
    Path('options').symlink_to(OPTIONS)
    shipped = OPTIONS / 'benchmark' / f'lodo_{name}.yml'
    maker(Path('datasets') / name, references)
    for command in commands(shipped):
        if command[1] == 'prepare':
            assert main(command[1:]) == 0, capsys.readouterr().err
    options = read_options(shipped)
    options['protocol'] |= {'types': [unseen], 'labels': 4, 'references': 2}
    options['min_steps'] = 2
    chosen = methods or options['methods']
    options['methods'] = shrunk({key: options['methods'][key] for key in chosen})
    Path('run.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    records = do_here('run.yml', 'runs')
    assert {record.method for record in records} == set(options['methods'])
    for record in records:
        predictions = record.predictions(name)
        assert set(predictions.types) == {unseen}
        assert len(predictions.images) == (25 if record.facets['labels'] else 35)
        assert np.isfinite(predictions.scores).all()
        assert np.ptp(predictions.scores) > 0


def shrunk(methods):
    """Tiny networks for MetaIQA's; few images a step for all."""
    short = {'train.total_epoch': 1, 'datasets.train.num_worker_per_gpu': 0}
    crops = {'datasets.train.resize': 48, 'datasets.train.crop_size': 40}
    result = {}
    for name, method in methods.items():
        if 'features' in method:
            learned = method['features'] in ('cornia', 'hosa')
            small = {'codewords': 32, 'codebook_patches': 2000}
            arguments = small if learned else {}
            result[name] = {'features': method['features'], 'arguments': arguments}
            continue
        result[name] = {}
        for stage, block in method.items():
            block = {'file': block} if isinstance(block, str) else dict(block)
            change = block.get('change', {}) | short | crops
            if 'MetaIQA/' in block['file']:
                tiny = PRIOR if stage == 'prior' else ADAPT
                change |= {key: tiny[key] for key in tiny if key in NETWORK} | short
                if stage == 'prior':
                    sizes = ('support_size', 'query_size', 'tasks_per_epoch')
                    keys = [f'datasets.train.{size}' for size in sizes]
                    keys.append('datasets.train.batch_size_per_gpu')
                    change |= {key: tiny[key] for key in keys}
            if 'WaDIQaM/' in block['file']:
                change['network.train_patch_num'] = 1
            result[name][stage] = {'file': block['file'], 'change': change}
    return result
