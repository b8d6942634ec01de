"""From a file to cells: what each is told, and the faults that are found before."""

import csv
import sys
from pathlib import Path

import pytest
from tiny_options import RANK

from metaiqa_plugin.benchmark.methods import START
from metaiqa_plugin.benchmark.plan import read_plan
from metaiqa_plugin.cli import main
from metaiqa_plugin.data.datasets import DATABASE_OPTIONS, database_options
from metaiqa_plugin.data.labels import read_rows
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.options import changed


def images_of(block):
    known = {key: block[key] for key in DATABASE_OPTIONS & set(block)}
    return set(read_rows(database_options(known, '')).images)


def test_the_grid(tiny, written):
    tiny['seeds'] = [3, 4]
    tiny['methods']['NIQE'] = {'metric': 'niqe'}
    plan = read_plan(written(tiny))
    places = [
        (
            cell.description['method'],
            cell.description['split'],
            cell.description['seed'],
        )
        for cell in plan.cells
    ]
    networks = [
        (method, split, seed)
        for method in ('MetaIQA', 'from scratch')
        for seed in (3, 4)
        for split in ('01', '02')
    ]
    assert places == [*networks, ('NIQE', '01', 3), ('NIQE', '02', 3)]
    assert len({cell.folder for cell in plan.cells}) == len(places)
    assert len(plan.shared) == 2, 'one prior a seed, not one a split'


def test_a_cell_sees_no_test_image(tiny, written):
    for cell in read_plan(written(tiny)).cells:
        train = images_of(cell.description['training']['datasets']['train'])
        test = images_of(cell.description['tests']['wild']['rows'])
        assert (len(train), len(test)) == (24, 6)
        assert not train & test


def test_another_label_is_another_cell(tiny, written, tmp_path):
    before = read_plan(written(tiny)).cells
    assert read_plan(written(tiny)).cells[0].fingerprint == before[0].fingerprint
    table = Path(tiny['databases']['wild']['meta_info_file'])
    header, first, *rest = table.read_text().splitlines(keepends=True)
    name, mos, *parts = first.split(',')
    changed_table = tmp_path / 'relabelled.csv'
    relabelled = ','.join((name, str(float(mos) - 1), *parts))
    changed_table.write_text(''.join((header, relabelled, *rest)))
    tiny['databases']['wild']['meta_info_file'] = str(changed_table)
    for old, new in zip(before, read_plan(written(tiny)).cells, strict=True):
        assert new.folder == old.folder
        assert new.fingerprint != old.fingerprint


def test_training_options(tiny, written):
    tiny['change']['adapt']['train.optim.lr'] = 0.5
    tiny['methods']['from scratch']['adapt'] = {
        'file': tiny['methods']['from scratch']['adapt'],
        'change': {'train.optim.lr': 0.25},
    }
    cells = read_plan(written(tiny)).cells
    adapted, scratch = cells[0].description, cells[2].description
    assert adapted['training']['train']['optim']['lr'] == 0.5
    assert scratch['training']['train']['optim']['lr'] == 0.25, 'its own change wins'
    assert adapted['training']['path']['pretrain_network'] == 'the prior'
    assert scratch['training']['path']['pretrain_network'] is None
    for description in (adapted, scratch):
        block = description['training']['datasets']['train']
        assert 'split_index' not in block and 'store' not in block
        assert block['seed'] == description['training']['manual_seed'] == 3
        validation = description['training']['datasets']['val']
        assert images_of(validation) == images_of(description['tests']['wild']['rows'])


def test_few_images_get_smaller_batches_and_more_epochs(tiny, written):
    tiny['protocol'] |= {'type': 'few_shot', 'labels': [3, 8]}
    tiny['min_steps'] = 12
    few, more, *_ = (
        cell.description['training'] for cell in read_plan(written(tiny)).cells
    )
    assert few['datasets']['train']['batch_size_per_gpu'] == 3
    assert few['train']['total_epoch'] == few['train']['scheduler']['T_max'] == 12
    assert more['datasets']['train']['batch_size_per_gpu'] == 4
    assert more['train']['total_epoch'] == more['train']['scheduler']['T_max'] == 6


def test_nobody_learns_from_what_is_tested(tiny, written):
    tiny['databases']['under another name'] = dict(tiny['databases']['wild'])
    tiny['protocol']['source'] = ['small', 'under another name']
    with pytest.raises(UserError, match=r'source.*6 of 6 images.*split 01'):
        read_plan(written(tiny))


def test_methods_with_the_same_prior_share_it(tiny, written):
    tiny['methods']['the same'] = dict(tiny['methods']['MetaIQA'])
    tiny['methods']['another'] = {
        'prior': {
            'file': tiny['methods']['MetaIQA']['prior'],
            'change': {'train.meta.update': 'joint'},
        },
        'adapt': tiny['methods']['MetaIQA']['adapt'],
    }
    plan = read_plan(written(tiny))
    assert len(plan.shared) == 2
    needs = {
        cell.description['method']: cell.description['needs'].get('prior')
        for cell in plan.cells
    }
    assert needs['MetaIQA'] == needs['the same'] != needs['another']
    assert needs['from scratch'] is None


def test_a_prior_of_two_databases(tiny, written):
    tiny['databases']['copy'] = dict(tiny['databases']['small'])
    tiny['protocol']['source'] = ['small', 'copy']
    (prior,) = read_plan(written(tiny)).shared
    blocks = prior.description['training']['datasets']['train']['databases']
    assert [block['name'] for block in blocks] == ['small', 'copy']
    assert [block['rows'] for block in blocks] == ['0-89', '0-89']


def test_a_sweep_varies_one_parameter_at_a_time(tiny, written):
    tiny['protocol'] |= {'type': 'parameters', 'splits': 1}
    tiny['sweep'] = {'method': 'MetaIQA', 'points': {'k': [1, 2], 'S': [2, 4]}}
    plan = read_plan(written(tiny))
    names = [method.name for method in plan.methods]
    assert names == ['k=1, S=2', 'k=2, S=2', 'k=2, S=4', 'from scratch']
    facets = [cell.description['facets'] for cell in plan.cells]
    assert facets[0] == {'split': 1, 'k': 1, 'S': 2}
    trainings = [cell.description['training'] for cell in plan.shared]
    k = [options['datasets']['train']['batch_size_per_gpu'] for options in trainings]
    steps = [options['train']['meta']['steps'] for options in trainings]
    assert (k, steps) == ([1, 2, 2], [2, 2, 4])


def test_only_methods_that_adapt_have_cells_with_labels(tiny, written):
    tiny['protocol'] = {
        'type': 'leave_one_distortion_out',
        'database': 'small',
        'types': ['jpeg'],
        'labels': 5,
        'references': 2,
    }
    tiny['methods'] = {
        'MetaIQA': tiny['methods']['MetaIQA'],
        'prior only': {'prior': tiny['methods']['MetaIQA']['prior']},
    }
    plan = read_plan(written(tiny))
    assert [cell.description['facets']['labels'] for cell in plan.cells] == [0, 5, 0]
    assert 'prior only has no adapt' in plan.notes[0]
    assert len(plan.shared) == 1
    training = plan.shared[0].description['training']['datasets']['train']
    assert not any('jpeg' in image for image in images_of(training))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'methods': {}}, 'methods is missing'),
        ({'protocoll': 1}, r"unknown options \['protocoll'\]"),
        ({'seeds': [1, 1]}, r'seeds=\[1, 1\]'),
        ({'threads': 0}, 'threads=0'),
        ({'curve': 'no'}, "curve='no'"),
        ({'compare_with': 'X'}, "compare_with='X'"),
        ({'change': {'adaptt': {}}}, r"change: unknown options \['adaptt'\]"),
        ({'protocol': {'type': 'loo'}}, "protocol.type='loo'"),
        ({'protocol': {'type': 'authentic'}}, r"missing \['target'\]"),
        (
            {'protocol': {'type': 'authentic', 'target': 'small', 'split': 2}},
            r"unknown options \['split'\]",
        ),
        ({'protocol': {'type': 'authentic', 'target': 'wild'}}, 'protocol.source'),
        ({'sweep': {'method': 'MetaIQA', 'points': {}}}, 'go together'),
        ({'databases': {'small': {'meta_info_file': 'x.csv'}}}, 'dataroot_target'),
        ({'methods': {'x': {'metric': 'niqe', 'prior': 'y'}}}, 'start, prior and/or'),
        ({'methods': {'x': {'metric': 3}}}, 'methods.x.metric=3'),
        ({'methods': {'x': {'adapt': 'nowhere.yml'}}}, 'nowhere.yml'),
        ({'methods': {'x': {'features': 'fog'}}}, r"features='fog'"),
        ({'methods': {'x': {'adapt': {'file': 'a', 'chnage': 1}}}}, 'chnage'),
    ],
)
def test_faults_are_found_before_anything_runs(tiny, written, change, message):
    with pytest.raises(UserError, match=message):
        read_plan(written({**tiny, **change}))


def test_a_test_part_of_one_image_is_a_fault(tiny, written, tmp_path, capfd):
    rows = list(csv.reader(Path(tiny['databases']['wild']['meta_info_file']).open()))
    place = rows[0].index('ratio802_seed123_split_02')
    tested = [row for row in rows if row[place] == 'test']
    for row in tested[1:]:
        row[place] = 'train'
    table = tmp_path / 'one.csv'
    table.write_text(''.join(','.join(row) + '\n' for row in rows))
    tiny['databases']['wild']['meta_info_file'] = str(table)
    assert main(['benchmark', '-opt', written(tiny), '--list']) == 2
    assert "split '02' tests on 1 image of 'wild'" in capfd.readouterr().err


def test_data_that_is_not_there_is_said_with_a_way_out(tiny, written, tmp_path, capfd):
    for key, more in (('dataroot_target', []), ('meta_info_file', ['--list'])):
        tiny['databases']['wild'][key] = 'no'
        more += ['--root', str(tmp_path / 'runs')]
        assert main(['benchmark', '-opt', written(tiny), *more]) == 2
        error = capfd.readouterr().err
        assert f"databases.wild.{key}='no' is not there; metaiqa prepare or" in error
    assert not (tmp_path / 'runs').exists()


def test_a_change_that_nobody_reads_is_a_fault(tiny, written, capsys):
    tiny['change']['adapt']['train.optim.lrr'] = 1
    assert main(['benchmark', '-opt', written(tiny), '--list']) == 2
    assert 'lrr' in capsys.readouterr().err


def test_what_is_not_installed_is_said(tiny, written, monkeypatch, capsys):
    tiny['methods'] = {'BRISQUE': {'features': 'brisque'}}
    for name in [*sys.modules]:
        if name.startswith(('metaiqa_plugin.benchmark.handcrafted', 'sklearn')):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    assert main(['benchmark', '-opt', written(tiny), '--list']) == 2
    assert 'pip install "metaiqa_plugin[benchmark]"' in capsys.readouterr().err


def test_a_method_that_would_be_tested_untrained(tiny, written):
    tiny['protocol'] = {'type': 'zero_shot', 'targets': ['wild']}
    with pytest.raises(UserError, match=r'from scratch.*untrained'):
        read_plan(
            written(
                {**tiny, 'methods': {'from scratch': tiny['methods']['from scratch']}}
            )
        )


def test_changed_copies_and_names_what_is_in_the_way():
    options = {'a': {'b': 1}, 'c': 2}
    assert changed(options, {'a.d.e': 3}, 'x') == {'a': {'b': 1, 'd': {'e': 3}}, 'c': 2}
    assert options == {'a': {'b': 1}, 'c': 2}
    with pytest.raises(UserError, match=r"'c\.d'.*c is 2"):
        changed(options, {'c.d': 1}, 'x')


def test_a_prior_may_start_from_rankings(tiny, written):
    both = {**tiny['methods']['MetaIQA'], 'start': dict(RANK)}
    tiny['methods']['from rankings'] = both
    tiny['methods']['rankings alone'] = {'start': dict(RANK), 'adapt': both['adapt']}
    plan = read_plan(written(tiny))
    shared = {cell.folder: cell for cell in plan.shared}
    needs = {
        cell.description['method']: cell.description['needs'].get('prior')
        for cell in plan.cells
    }
    prior = shared[needs['from rankings']]
    ranked = shared[prior.description['needs']['start']]
    assert needs['rankings alone'] == ranked.folder
    assert needs['MetaIQA'] != needs['from rankings']
    assert len(shared) == 3
    assert ranked.description['training']['path']['pretrain_network'] is None
    assert prior.description['training']['path']['pretrain_network'] == START
    assert ranked.description['training']['model_type'] == 'RankIQAModel'
