"""What the tables say, of experiments with known numbers."""

import math

import numpy as np
import pytest

from metaiqa_plugin.benchmark.records import Predictions, read_experiment
from metaiqa_plugin.benchmark.report.differences import difference_tables
from metaiqa_plugin.benchmark.report.overview import (
    cells_table,
    csv_rows,
    unfinished_table,
)
from metaiqa_plugin.benchmark.report.protocol_tables import result_tables
from metaiqa_plugin.benchmark.report.published import (
    KADID10K_TYPES,
    published_methods,
    published_types,
)
from metaiqa_plugin.benchmark.report.statistics import paired_difference, spearman
from metaiqa_plugin.benchmark.report.summaries import (
    best_of,
    measure,
    select,
    summarize,
)
from metaiqa_plugin.benchmark.report.table_model import duration
from metaiqa_plugin.data.databases.names import parse_kadid10k, parse_tid2013
from metaiqa_plugin.data.distortions import DISTORTIONS, TID2013_ABBREVIATIONS
from metaiqa_plugin.errors import UserError

NAN = math.nan


def told(srocc, plcc=0.5, **more):
    """Correlations as told."""
    rest = {'plcc_logistic': 0.5, 'krocc': 0.5, 'rmse': 0.1, 'best_epoch': None}
    return {'srocc': srocc, 'plcc': plcc, **rest, **more}


@pytest.fixture
def grid(tmp_path, make):
    """Makes an experiment of the srocc of {method: {(split, seed): srocc}}."""

    def made(values, protocol='authentic', **more):
        cells = [
            make.cell(method, split, seed, split=split)
            for method, row in values.items()
            for split, seed in row
        ]
        folder = make.write(
            tmp_path / 'made', make.plan('made', protocol, list(values), cells, **more)
        )
        for planned in cells:
            srocc = values[planned['method']][planned['split'], planned['seed']]
            if isinstance(srocc, str):
                make.fail(folder, planned, srocc)
            elif srocc is not None:
                make.finish(folder, planned, {'test': told(srocc)}, curve=False)
        return read_experiment(folder)

    return made


def column(table, title, group=''):
    """Cells of a column by the text of the first."""
    (index,) = [
        index
        for index, one in enumerate(table.columns)
        if (one.title, one.group) == (title, group)
    ]
    return {row.cells[0].text: row.cells[index] for row in table.rows}


def test_mean_and_deviation_over_splits_of_means_over_seeds(grid):
    values = {'a': {('1', 0): 0.1, ('1', 1): 0.3, ('2', 0): 0.6, ('2', 1): 0.8}}
    table, _ = result_tables(grid({**values, 'b': {('1', 0): 0.2, ('2', 0): 0.3}}))
    assert column(table, 'mean', 'SROCC')['a'].text == '0.450'
    assert column(table, 'mean', 'SROCC')['a'].best
    assert column(table, 'SD', 'SROCC')['a'].text == f'{0.5 / math.sqrt(2):.3f}'
    assert column(table, 'SD over seeds', 'SROCC')['a'].text == '0.141'
    assert column(table, 'SD over seeds', 'SROCC')['b'].text == '-'
    assert column(table, 'cells')['a'].text == '4/4'


def test_one_split_has_no_deviation(grid):
    table, _ = result_tables(grid({'a': {('1', 0): 0.5}, 'b': {('1', 0): -0.0001}}))
    assert column(table, 'SD', 'SROCC')['a'].text == '-'
    assert column(table, 'mean', 'SROCC')['b'].text == '0.000'
    assert [one.title for one in table.columns].count('SD over seeds') == 0


def test_nan_and_fewer_splits_are_never_best(grid):
    table, other = result_tables(
        grid(
            {
                'nan': {('1', 0): NAN, ('2', 0): 0.9},
                'few': {('1', 0): 0.99, ('2', 0): None},
                'full': {('1', 0): 0.2, ('2', 0): 0.3},
                'less': {('1', 0): 0.1, ('2', 0): 0.3},
                'gone': {('1', 0): 'ValueError: no', ('2', 0): None},
            }
        )
    )
    mean = column(table, 'mean', 'SROCC')
    assert {name for name, cell in mean.items() if cell.best} == {'full'}
    assert (mean['nan'].text, mean['nan'].key) == ('NaN', None)
    assert mean['few'].text == '0.990'
    assert column(table, 'cells')['few'].text == '1/2'
    assert column(table, 'cells')['gone'].text == '0/2'
    gone = next(row for row in table.rows if row.cells[0].text == 'gone')
    assert 'failed: ValueError: no (0/2)' in [cell.text for cell in gone.cells]
    assert any('nan: SROCC does not exist in 1 of its' in note for note in table.notes)
    assert {name for name, cell in column(other, 'mean', 'RMSE').items() if cell.best}


@pytest.mark.parametrize(
    ('rows', 'best'),
    [
        ({'a': [0.1, 0.2], 'b': [0.3, 0.4]}, {'b'}),
        ({'a': [0.3, 0.3], 'b': [0.3, 0.3]}, {'a', 'b'}),
        ({'a': [0.1, 0.2], 'b': [0.9, None], 'c': [0.1, 0.1]}, {'a'}),
        ({'a': [0.1, 0.2], 'b': [0.9, None], 'c': [0.8, None]}, set()),
        ({'a': [0.1, None], 'b': [None, 0.9]}, set()),
        ({'a': [0.1, None], 'b': [0.9, None]}, {'b'}),
        ({'a': [0.1, 0.2], 'b': [NAN, 0.9]}, set()),
        ({'a': [0.1, 0.2]}, set()),
        ({'a': [None, None], 'b': [None, None]}, set()),
    ],
)
def test_the_best_is_among_those_over_the_same_splits(tmp_path, make, rows, best):
    cells = [make.cell(name, split) for name in rows for split in '12']
    plan = make.plan('made', 'runtime', list(rows), cells)
    folder = make.write(tmp_path / 'made', plan)
    for planned in cells:
        number = rows[planned['method']][int(planned['split']) - 1]
        if number is not None:
            make.finish(folder, planned, {'test': told(number)}, curve=False)
    found = read_experiment(folder).cells
    summaries = [
        summarize(select(found, name), measure('test', 'srocc')) for name in rows
    ]
    assert {list(rows)[index] for index in best_of(summaries)} == best


def test_seeds_that_are_open_leave_a_split_comparable(grid):
    values = {
        'a': {('1', 0): 0.5, ('1', 1): None},
        'b': {('1', 0): 0.4, ('1', 1): 0.4},
    }
    table, _ = result_tables(grid(values))
    assert column(table, 'mean', 'SROCC')['a'].best


def test_less_rmse_is_better(tmp_path, make):
    cells = [make.cell(name, '1', split=1) for name in ('a', 'b')]
    plan = make.plan('made', 'authentic', ['a', 'b'], cells)
    folder = make.write(tmp_path / 'made', plan)
    for planned, rmse in zip(cells, (0.1, 0.2), strict=True):
        make.finish(folder, planned, {'test': told(0.5, rmse=rmse)}, curve=False)
    _, other = result_tables(read_experiment(folder))
    best = {name: cell.best for name, cell in column(other, 'mean', 'RMSE').items()}
    assert best == {'a': True, 'b': False}


def test_published_rows_and_the_best_epoch_stand_apart(experiments):
    table, _ = result_tables(read_experiment(experiments / 'authentic'))
    published = [row for row in table.rows if row.kind == 'published']
    assert len(published) == 12
    assert published[-1].cells[0].text == 'MetaIQA'
    assert column(table, 'mean', 'SROCC')['MetaIQA'].text == '0.802'
    assert not any(cell.best for row in published for cell in row.cells)
    picked = column(table, 'SROCC', 'best epoch, picked on the test set')
    last = column(table, 'mean', 'SROCC')
    assert picked['metaiqa'].key == pytest.approx(last['metaiqa'].key + 0.01)
    assert not any(cell.best for cell in picked.values())
    assert any('no estimate for new images' in note for note in table.notes)
    assert any('by the same protocol' in note for note in table.notes)


def test_published_metrics_only_where_names_agree(experiments):
    table, _ = result_tables(read_experiment(experiments / 'zero_shot'))
    published = [row.cells[0].text for row in table.rows if row.kind == 'published']
    assert published == ['brisque', 'musiq-koniq']


def test_published_rows_are_beside_the_test_set_of_their_database(tmp_path, make):
    planned = make.cell('a', 'all')
    source = {'table': 'authentic', 'database': 'KonIQ10k', 'same_protocol': False}
    plan = make.plan('x', 'zero_shot', ['a'], [planned], published=source)
    folder = make.write(tmp_path / 'x', plan)
    make.finish(folder, planned, {'koniq10k': told(0.5), 'livec': told(0.4)})
    koniq, _, livec, _ = result_tables(read_experiment(folder))
    assert (koniq.caption, livec.caption) == (
        'PLCC and SROCC on koniq10k',
        'PLCC and SROCC on livec',
    )
    kinds = [[row.kind for row in table.rows] for table in (koniq, livec)]
    assert kinds[0].count('published') == 8 and kinds[1] == ['own']


def test_differences_are_paired_and_corrected(grid):
    ours, base = [0.5, 0.7, 0.6, 0.4], [0.4, 0.5, 0.6, 0.3]
    experiment = grid(
        {
            'base': {(f'{split}', 0): value for split, value in enumerate(base)},
            'ours': {(f'{split}', 0): value for split, value in enumerate(ours)},
            'half': {('0', 0): 0.6, ('1', 0): 0.8, ('2', 0): None, ('3', 0): 'E: x'},
            'none': {('0', 0): None},
        }
    )
    table, _ = difference_tables(experiment)
    expected = paired_difference(np.subtract(ours, base), 24 / 96)
    assert column(table, 'mean difference')['ours'].key == pytest.approx(expected.mean)
    assert column(table, 'p', 'corrected t-test')['ours'].key == pytest.approx(
        expected.p
    )
    assert column(table, '95% interval')['ours'].text == (
        f'{expected.low:+.4f} to {expected.high:+.4f}'
    )
    half = paired_difference([0.2, 0.3], 24 / 96).p
    holm = column(table, 'p, Holm', 'corrected t-test')
    assert half < expected.p
    assert holm['half'].key == pytest.approx(2 * half)
    assert holm['ours'].key == pytest.approx(max(2 * half, expected.p))
    assert column(table, 'pairs')['half'].text == '2/4'
    assert column(table, 'mean difference')['none'].text == 'no pair'
    assert column(table, 'variance factor')['ours'].text == '0.500'


def test_differences_say_when_train_sizes_are_unknown(experiments, tmp_path, make):
    cells = [make.cell(name, split) for name in ('a', 'b') for split in '12']
    plan = make.plan('made', 'zero_shot', ['a', 'b'], cells)
    folder = make.write(tmp_path / 'made', plan)
    for planned in cells:
        srocc = 0.3 if planned['method'] == 'a' else 0.1 * int(planned['split'])
        make.finish(folder, planned, {'test': told(srocc)}, curve=False, train_images=0)
    first, table = difference_tables(read_experiment(folder))
    assert first.notes == ()
    assert column(table, 'variance factor')['b'].text == '0.500 (1/J)'
    assert any('usual paired t-test' in note for note in table.notes)


def test_draws_from_one_train_part_are_compared_as_they_are(experiments):
    experiment = read_experiment(experiments / 'few_shot')
    (table,) = difference_tables(experiment)
    pairs = [
        [
            cell.tests['test'].srocc
            for cell in select(experiment.cells, method, labels=10)
        ]
        for method in ('scratch', 'metaiqa')
    ]
    expected = paired_difference(np.subtract(*pairs))
    row = next(row for row in table.rows if row.cells[0].text == '10')
    index = [one.group for one in table.columns].index('paired t-test')
    assert row.cells[index].key == pytest.approx(expected.p)
    assert row.cells[-1].text == '0.333 (1/J)'
    assert 'drawn' not in table.notes[0] and 'usual paired t-test' in table.notes[0]


def test_after_labels_types_share_as_much_as_before(experiments):
    (table,) = difference_tables(read_experiment(experiments / 'unseen'))
    assert {row.cells[-1].text for row in table.rows} == {'0.500'}


def test_few_labels_share_no_more_than_the_part_they_are_drawn_from(tmp_path, make):
    cells = [make.cell(name, split) for name in ('a', 'b') for split in '12']
    cells = [{**planned, 'pool': 300} for planned in cells]
    plan = make.plan('made', 'authentic', ['a', 'b'], cells)
    folder = make.write(tmp_path / 'made', plan)
    for planned in cells:
        srocc = 0.3 if planned['method'] == 'a' else 0.1 * int(planned['split'])
        make.finish(folder, planned, {'test': told(srocc)}, train_images=10)
    table, _ = difference_tables(read_experiment(folder))
    assert table.rows[0].cells[-1].text == f'{1 / 2 + 24 / 300:.3f}'


def test_nothing_to_compare_with(grid):
    values = {'a': {('1', 0): 0.5}, 'b': {('1', 0): 0.4}}
    assert difference_tables(grid(values, compare_with=None)) == []


def test_no_pair_is_no_table(grid):
    values = {'a': {('1', 0): 0.5}, 'b': {('1', 0): None}}
    assert difference_tables(grid(values)) == []


def test_a_logistic_fit_that_failed_is_told(tmp_path, make):
    cells = [make.cell('a', split) for split in '12']
    folder = make.write(tmp_path / 'x', make.plan('x', 'authentic', ['a'], cells))
    for planned, fit in zip(cells, (0.5, None), strict=True):
        make.finish(folder, planned, {'test': told(0.5, plcc_logistic=fit)})
    main, other = result_tables(read_experiment(folder))
    assert column(other, 'mean', 'PLCC, logistic fit')['a'].text == 'NaN'
    assert other.notes == [
        'a: the logistic fit failed in 1 of its cells, so there is no mean of what is '
        'taken after it.'
    ]
    assert len(main.notes) == 1


def test_a_method_that_does_not_adapt_is_not_in_the_table_after_labels(tmp_path, make):
    cells = [make.cell(name, 'jpeg', type='jpeg', labels=0) for name in 'ab']
    cells += [make.cell('a', 'jpeg-10', type='jpeg', labels=10, draw=0)]
    plan = make.plan('x', 'leave_one_distortion_out', ['a', 'b'], cells)
    folder = make.write(tmp_path / 'x', plan)
    make.finish(folder, cells[0], {'test': told(0.5)})
    before, after = result_tables(read_experiment(folder))
    assert [one.title for one in before.columns] == ['unseen type', 'a', 'b']
    assert [one.group for one in after.columns] == ['', 'a', 'a']


def test_open_seeds_are_named(grid):
    values = {'a': {('1', 0): 0.5, ('1', 1): None, ('2', 0): None, ('2', 1): 'E: x'}}
    table = unfinished_table(grid(values))
    assert [row.cells[-1].text for row in table.rows] == [
        '1 (seed 1), 2 (seed 0)',
        '2 (seed 1)',
    ]


def test_unseen_types_with_averages(experiments):
    table, adapted = result_tables(read_experiment(experiments / 'unseen'))
    ours = column(table, 'metaiqa', 'this run')
    theirs = column(table, 'MetaIQA', 'published')
    assert theirs['gaussian_blur'].text == '0.946'
    for shown in (ours, theirs):
        types = [cell.key for name, cell in shown.items() if name != 'Average']
        assert len(types) == 4
        assert shown['Average'].key == pytest.approx(np.mean(types))
    assert table.rows[-1].kind == 'summary'
    assert adapted.caption == 'SROCC after 10 labels'
    after = column(adapted, 'after', 'a_third')['contrast_change']
    assert after.text.endswith('(1/2)') and 'disk full' in after.hint


def test_before_is_on_the_images_of_after(tmp_path, make):
    cells = [make.cell('a', 'jpeg', type='jpeg', labels=0)]
    cells += [make.cell('a', 'jpeg-10', type='jpeg', labels=10, draw=0)]
    plan = make.plan('made', 'leave_one_distortion_out', ['a'], cells)
    folder = make.write(tmp_path / 'made', plan)
    names = list('abcdef')
    mos, scores = np.linspace(0, 1, 6), np.array([3, 1, 2, 9, 7, 8.0])
    first = Predictions(names, ['jpeg'] * 6, mos, scores)
    chosen = [5, 1, 3]
    second = Predictions(
        [names[index] for index in chosen], ['jpeg'] * 3, mos[chosen], mos[chosen]
    )
    for planned, shown in zip(cells, (first, second), strict=True):
        make.finish(folder, planned, {'test': shown})
    _, adapted = result_tables(read_experiment(folder))
    expected = spearman(mos[chosen], scores[chosen])
    assert expected == pytest.approx(0.5)
    assert column(adapted, 'before', 'a')['jpeg'].key == pytest.approx(expected)
    assert column(adapted, 'after', 'a')['jpeg'].key == pytest.approx(1)
    (folder / cells[0]['folder'] / 'predictions-test.csv').unlink()
    _, adapted = result_tables(read_experiment(folder))
    assert column(adapted, 'before', 'a')['jpeg'].state == 'missing'


def test_labels_in_order_with_deviation_over_draws(experiments):
    experiment = read_experiment(experiments / 'few_shot')
    table, _ = result_tables(experiment)
    assert [one.title for one in table.columns] == ['method', '0', '10', '50']
    values = [
        cell.tests['test'].srocc
        for cell in experiment.cells
        if cell.method == 'metaiqa' and cell.facets['labels'] == 50
    ]
    text = f'{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}'
    assert column(table, '50', 'labelled images')['metaiqa'].text == text


def test_parameters_stand_in_columns(experiments):
    table, _ = result_tables(read_experiment(experiments / 'sweep'))
    assert column(table, 'k')['k10-S2'].key == 10
    assert column(table, 'S')['k5-S4'].key == 4


def test_databases_across(experiments):
    first, second = result_tables(read_experiment(experiments / 'across'))
    assert [one.title for one in first.columns[1:]] == ['LIVEC', 'KonIQ10k', 'CID2013']
    assert column(first, 'LIVEC', 'SROCC on')['LIVEC'].text == '-'
    assert column(second, 'LIVEC', 'SROCC on')['CID2013'].text == 'open (0/1)'
    for title in ('LIVEC', 'KonIQ10k', 'CID2013'):
        for train in ('LIVEC', 'KonIQ10k'):
            pair = [
                column(table, title, 'SROCC on')[train] for table in (first, second)
            ]
            assert sum(cell.best for cell in pair) == (title != train)


def test_run_time_in_medians_and_ranges(experiments):
    (table,) = result_tables(read_experiment(experiments / 'runtime'))
    speed = column(table, 'images per second')
    assert (speed['metaiqa'].text, speed['metaiqa'].key) == ('21 (20 to 22)', 21)
    assert speed['brisque'].best and not speed['metaiqa'].best
    memory = column(table, 'peak memory, MB')
    assert memory['brisque'].best and memory['metaiqa'].text == '400'
    assert column(table, 'parameters')['metaiqa'].text == '24.5 M'


def test_nothing_finished(experiments):
    experiment = read_experiment(experiments / 'nothing')
    assert result_tables(experiment) == difference_tables(experiment) == []
    assert column(unfinished_table(experiment), 'splits')['metaiqa'].text == 'all'
    assert column(cells_table(experiment), 'finished')['metaiqa'].text == '0/2'


def test_every_cell_is_in_the_csv(experiments):
    for name in ('authentic', 'across', 'runtime'):
        experiment = read_experiment(experiments / name)
        rows = list(csv_rows(experiment))
        assert len(rows) == sum(max(1, len(cell.tests)) for cell in experiment.cells)


def test_an_unknown_protocol_is_told(tmp_path, make):
    cells = [make.cell('a', '1')]
    folder = make.write(tmp_path / 'x', make.plan('x', 'guessing', ['a'], cells))
    with pytest.raises(UserError, match="protocol='guessing': the report knows"):
        result_tables(read_experiment(folder))


def test_published_types_have_our_names():
    assert list(KADID10K_TYPES.values()) == list(DISTORTIONS)[:25]
    for database, names in (
        ('KADID-10k', set(KADID10K_TYPES.values())),
        ('TID2013', set(TID2013_ABBREVIATIONS.values())),
    ):
        found = published_types({'table': 'lodo_srocc', 'database': database})
        assert all(set(figures) == names for figures in found.values())
        average = {'TID2013': 0.8539, 'KADID-10k': 0.7672}[database]
        mean = np.mean(list(found['MetaIQA'].values()))
        assert mean == pytest.approx(average, abs=1e-3)


def test_published_types_are_those_that_names_of_images_give():
    readers = {
        'KADID-10k': (parse_kadid10k, 'I01_{:02d}_01.png', 25),
        'TID2013': (parse_tid2013, 'i01_{:02d}_1.bmp', 24),
    }
    for database, (parse, name, count) in readers.items():
        given = {
            parse(name.format(number)).distortion for number in range(1, count + 1)
        }
        found = published_types({'table': 'lodo_srocc', 'database': database})
        assert len(given) == count
        assert all(set(figures) == given for figures in found.values())


def test_published_methods():
    found = published_methods({'table': 'authentic', 'database': 'KonIQ10k'})
    assert found['MetaIQA'] == {'plcc': 0.887, 'srocc': 0.85}
    assert 'BIECON' not in found
    source = {'table': 'pyiqa_nr_benchmark', 'database': 'TID2013'}
    assert published_methods(source)['maniqa'] == {'srocc': 0.4515}
    with pytest.raises(UserError, match="published table 'x': expected one of"):
        published_methods({'table': 'x', 'database': 'LIVEC'})


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(6.54, '6.5 s'), (245, '4 min 05 s'), (7380, '2 h 03 min'), (59.99, '60.0 s')],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
