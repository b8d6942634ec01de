"""What the tables say, of experiments with known numbers."""

import math
from itertools import product

import numpy as np
import pytest
from made_experiments import KADID, Made, cell, grid, predict, read, told

from metaiqa_plugin.benchmark.records import Predictions
from metaiqa_plugin.benchmark.report.differences import difference_tables
from metaiqa_plugin.benchmark.report.results import (
    published_methods,
    published_types,
    result_tables,
)
from metaiqa_plugin.benchmark.report.summaries import (
    measure,
    srocc_of,
    with_best,
)
from metaiqa_plugin.benchmark.report.tables import (
    cells_table,
    duration,
    unfinished_table,
)
from metaiqa_plugin.data.databases.names import parse_kadid10k, parse_tid2013
from metaiqa_plugin.errors import UserError

NAN = math.nan


@pytest.fixture
def filled(tmp_path):
    """Makes an experiment of {method: {(split, seed): srocc, an error or None}}."""

    def made(values):
        cells = [
            cell(method, split, seed, split=split)
            for method, row in values.items()
            for split, seed in row
        ]
        experiment = Made(tmp_path, 'authentic', cells)
        for planned in cells:
            srocc = values[planned['method']][planned['split'], planned['seed']]
            if isinstance(srocc, str):
                experiment.fail(planned, srocc)
            elif srocc is not None:
                experiment.finish(planned, told(srocc))
        return experiment.read()

    return made


def column(table, *title):
    """Cells of a column by the text of the first."""
    first, *_ = table.columns.values()
    cells = table.columns[title if len(title) > 1 else title[0]]
    return {row.text: shown for row, shown in zip(first, cells, strict=True)}


def test_mean_and_deviation_over_splits_of_means_over_seeds(filled):
    values = {'a': {('1', 0): 0.1, ('1', 1): 0.3, ('2', 0): 0.6, ('2', 1): 0.8}}
    table, _ = result_tables(filled({**values, 'b': {('1', 0): 0.2, ('2', 0): 0.3}}))
    assert column(table, 'SROCC', 'mean')['a'].text == '0.450'
    assert column(table, 'SROCC', 'mean')['a'].best
    assert column(table, 'SROCC', 'SD')['a'].text == f'{0.5 / math.sqrt(2):.3f}'
    assert column(table, 'SROCC', 'SD over seeds')['a'].text == '0.141'
    assert column(table, 'SROCC', 'SD over seeds')['b'].text == '-'
    assert column(table, 'cells')['a'].text == '4/4'


def test_one_split_has_no_deviation(filled):
    table, _ = result_tables(filled({'a': {('1', 0): 0.5}, 'b': {('1', 0): -0.0001}}))
    assert column(table, 'SROCC', 'SD')['a'].text == '-'
    assert column(table, 'SROCC', 'mean')['b'].text == '0.000'
    assert ('SROCC', 'SD over seeds') not in table.columns


def test_nan_and_fewer_splits_are_never_best(filled):
    table, other = result_tables(
        filled(
            {
                'nan': {('1', 0): NAN, ('2', 0): 0.9},
                'few': {('1', 0): 0.99, ('2', 0): None},
                'full': {('1', 0): 0.2, ('2', 0): 0.3},
                'less': {('1', 0): 0.1, ('2', 0): 0.3},
                'gone': {('1', 0): 'ValueError: no', ('2', 0): None},
            }
        )
    )
    mean = column(table, 'SROCC', 'mean')
    assert {name for name, shown in mean.items() if shown.best} == {'full'}
    assert (mean['nan'].text, mean['nan'].key) == ('NaN', None)
    assert mean['few'].text == '0.990'
    assert column(table, 'cells')['few'].text == '1/2'
    assert column(table, 'cells')['gone'].text == '0/2'
    assert column(table, 'PLCC', 'mean')['gone'].text == 'failed: ValueError: no (0/2)'
    assert any('nan: SROCC does not exist in 1 of its' in note for note in table.notes)
    assert any(shown.best for shown in column(other, 'RMSE', 'mean').values())


@pytest.mark.parametrize(
    ('rows', 'best'),
    [
        ({'a': [0.1, 0.2], 'b': [0.3, 0.4]}, {'b'}),
        ({'a': [0.3, 0.3], 'b': [0.3, 0.3]}, {'a', 'b'}),
        ({'a': [0.7502, 0.75], 'b': [0.75, 0.7501], 'c': [0.7, 0.7]}, {'a', 'b'}),
        ({'a': [0.1, 0.2], 'b': [0.9, None], 'c': [0.1, 0.1]}, {'a'}),
        ({'a': [0.1, 0.2], 'b': [0.9, None], 'c': [0.8, None]}, set()),
        ({'a': [0.1, None], 'b': [None, 0.9]}, set()),
        ({'a': [0.1, None], 'b': [0.9, None]}, {'b'}),
        ({'a': [0.1, 0.2], 'b': [NAN, 0.9]}, set()),
        ({'a': [0.1, 0.2]}, set()),
        ({'a': [None, None], 'b': [None, None]}, set()),
    ],
)
def test_the_best_is_among_those_over_the_same_splits(filled, rows, best):
    values = {
        name: dict(zip((('1', 0), ('2', 0)), row, strict=True))
        for name, row in rows.items()
    }
    found = filled(values).summaries(measure('test', 'srocc'))
    marked = dict(zip(rows, with_best(found), strict=True))
    assert {name for name, (_, is_best) in marked.items() if is_best} == best


def test_seeds_that_are_open_leave_a_split_comparable(filled):
    values = {
        'a': {('1', 0): 0.5, ('1', 1): None},
        'b': {('1', 0): 0.4, ('1', 1): 0.4},
    }
    table, _ = result_tables(filled(values))
    assert column(table, 'SROCC', 'mean')['a'].best


def test_measures_that_are_better_small_and_fits_that_failed(tmp_path):
    made = Made(tmp_path, 'authentic', grid('ab', '1'))
    for planned, rmse, fit in zip(made.cells, (0.1, 0.2), (0.5, None), strict=True):
        made.finish(planned, told(0.5, rmse=rmse, plcc_logistic=fit))
    main, other = result_tables(made.read())
    best = {name: shown.best for name, shown in column(other, 'RMSE', 'mean').items()}
    assert best == {'a': True, 'b': False}
    assert column(other, 'PLCC, logistic fit', 'mean')['b'].text == 'NaN'
    assert other.notes == [
        'b: the logistic fit failed in 1 of its cells, so the measures taken after it '
        'have no mean.'
    ]
    assert len(main.notes) == 1


def test_published_rows_and_the_best_epoch_stand_apart(experiments):
    table, _ = result_tables(read(experiments / 'authentic'))
    published = [cells for kind, cells in table.rows if kind == 'published']
    assert len(published) == 12
    assert published[-1][0].text == 'MetaIQA'
    last = column(table, 'SROCC', 'mean')
    assert last['MetaIQA'].text == '0.802'
    assert not any(shown.best for cells in published for shown in cells)
    picked = column(table, 'best epoch, picked on the test set', 'SROCC')
    assert picked['metaiqa'].key == pytest.approx(last['metaiqa'].key + 0.01)
    assert not any(shown.best for shown in picked.values())
    assert any('no estimate for new images' in note for note in table.notes)
    assert any('by the same protocol' in note for note in table.notes)


def test_published_metrics_only_where_names_agree(experiments):
    table, _ = result_tables(read(experiments / 'zero_shot'))
    published = [cells[0].text for kind, cells in table.rows if kind == 'published']
    assert published == ['brisque', 'musiq-koniq']


def test_published_rows_are_beside_the_test_set_of_their_database(tmp_path):
    source = {'table': 'authentic', 'database': 'KonIQ10k', 'same_protocol': False}
    made = Made(tmp_path, 'zero_shot', [cell('a', 'all')], published=source)
    made.finish(made.cells[0], {'koniq10k': told(0.5), 'livec': told(0.4)})
    koniq, _, livec, _ = result_tables(made.read())
    assert (koniq.caption, livec.caption) == (
        'PLCC and SROCC on koniq10k',
        'PLCC and SROCC on livec',
    )
    assert (koniq.published, livec.published) == (8, 0)


def test_unseen_types_with_averages(experiments):
    table, adapted = result_tables(read(experiments / 'unseen'))
    ours = column(table, 'this run', 'metaiqa')
    theirs = column(table, 'published', 'MetaIQA')
    assert theirs['gaussian_blur'].text == '0.946'
    for shown in (ours, theirs):
        types = [shown[kind].key for kind in KADID]
        assert shown['Average'].key == pytest.approx(np.mean(types))
    assert table.rows[-1][0] == 'summary'
    assert adapted.caption == 'SROCC after 10 labels'
    after = column(adapted, 'a_third', 'after')['contrast_change']
    assert after.text.endswith('(1/2)') and 'disk full' in after.hint


def test_unseen_subsets_are_called_so(tmp_path):
    cells = [
        cell(method, f'{subset}-{labels}', type=subset, labels=labels)
        for method, subset, labels in product('ab', ('s1', 's2'), (0, 10))
    ]
    made = Made(tmp_path, 'leave_one_subset_out', cells, compare_with='b')
    for planned in cells:
        made.finish(planned, predict(planned['folder'], 0.2))
    experiment = made.read()
    unseen, adapted = result_tables(experiment)
    assert unseen.caption == 'SROCC on unseen subsets'
    for table in (unseen, adapted):
        assert next(iter(table.columns)) == 'unseen subset'
    assert 'Paired over subsets.' in ' '.join(difference_tables(experiment)[0].notes)


def test_before_is_on_the_images_of_after(tmp_path):
    cells = [cell(name, 'jpeg', type='jpeg', labels=0) for name in 'ab']
    cells += [cell('a', 'jpeg-10', type='jpeg', labels=10, draw=0)]
    made = Made(tmp_path, 'leave_one_distortion_out', cells)
    names = list('abcdef')
    mos, scores = np.linspace(0, 1, 6), np.array([3, 1, 2, 9, 7, 8.0])
    chosen = [5, 1, 3]
    part = [names[index] for index in chosen]
    made.finish(cells[0], Predictions(names, ['jpeg'] * 6, mos, scores))
    made.finish(cells[2], Predictions(part, ['jpeg'] * 3, mos[chosen], mos[chosen]))
    unseen, adapted = result_tables(made.read())
    expected = srocc_of(mos[chosen], scores[chosen])
    assert expected == pytest.approx(0.5)
    assert column(adapted, 'a', 'before')['jpeg'].key == pytest.approx(expected)
    assert column(adapted, 'a', 'after')['jpeg'].key == pytest.approx(1)
    # b does not adapt
    assert list(unseen.columns) == ['unseen type', ('this run', 'a'), ('this run', 'b')]
    assert list(adapted.columns) == ['unseen type', ('a', 'before'), ('a', 'after')]
    (tmp_path / cells[0]['folder'] / 'predictions-test.csv').unlink()
    _, adapted = result_tables(made.read())
    assert column(adapted, 'a', 'before')['jpeg'].state == 'missing'


def test_labels_in_order_with_deviation_over_draws(experiments):
    experiment = read(experiments / 'few_shot')
    table, _ = result_tables(experiment)
    labels = [('labelled images', count) for count in ('0', '10', '50')]
    assert list(table.columns) == ['method', *labels]
    values = [
        one.tests['test'].srocc
        for one in experiment
        if one.method == 'metaiqa' and one.facets['labels'] == 50
    ]
    text = f'{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}'
    assert column(table, *labels[2])['metaiqa'].text == text


def test_small_samples_are_told_with_their_size(filled, experiments):
    values = {name: {(split, 0): 0.5 for split in '12'} for name in 'ab'}
    said = filled(values).small_sample()
    assert said.startswith('Small sample (24 images in a test set, splits or draws: 2)')
    few = read(experiments / 'few_shot').small_sample()
    assert '(24 images in a test set, splits or draws: 3)' in few
    assert 'split' not in read(experiments / 'unseen').small_sample()
    assert read(experiments / 'nothing').small_sample() == ''
    assert read(experiments / 'runtime').small_sample() == ''


def test_large_samples_are_not(tmp_path):
    made = Made(tmp_path, 'authentic', grid('a', '12345'))
    for planned in made.cells:
        made.finish(planned, told(0.5, images=100))
    assert made.read().small_sample() == ''


def test_parameters_stand_in_columns(experiments):
    table, _ = result_tables(read(experiments / 'sweep'))
    assert column(table, 'k')['k10-S2'].key == 10
    assert column(table, 'S')['k5-S4'].key == 4


def test_databases_across(experiments):
    first, second = result_tables(read(experiments / 'across'))
    names = ('LIVEC', 'KonIQ10k', 'CID2013')
    assert list(first.columns) == ['trained on', *(('SROCC on', one) for one in names)]
    assert column(first, 'SROCC on', 'LIVEC')['LIVEC'].text == '-'
    assert column(second, 'SROCC on', 'LIVEC')['CID2013'].text == 'open (0/1)'
    for test in names:
        for train in ('LIVEC', 'KonIQ10k'):
            pair = [column(table, 'SROCC on', test)[train] for table in (first, second)]
            assert sum(shown.best for shown in pair) == (test != train)


def test_run_time_in_medians_and_ranges(experiments):
    (table,) = result_tables(read(experiments / 'runtime'))
    speed = column(table, 'images per second')
    assert (speed['metaiqa'].text, speed['metaiqa'].key) == ('21 (20 to 22)', 21)
    assert speed['brisque'].best and not speed['metaiqa'].best
    memory = column(table, 'peak memory, MB')
    assert memory['brisque'].best and memory['metaiqa'].text == '400'
    assert column(table, 'parameters')['metaiqa'].text == '24.5 M'


def test_nothing_finished(experiments):
    experiment = read(experiments / 'nothing')
    assert result_tables(experiment) == difference_tables(experiment) == []
    assert column(unfinished_table(experiment), 'splits')['metaiqa'].text == 'all'
    assert column(cells_table(experiment), 'finished')['metaiqa'].text == '0/2'


def test_open_seeds_are_named(filled):
    values = {'a': {('1', 0): 0.5, ('1', 1): None, ('2', 0): None, ('2', 1): 'E: x'}}
    splits = unfinished_table(filled(values)).columns['splits']
    assert [shown.text for shown in splits] == ['1 (seed 1), 2 (seed 0)', '2 (seed 1)']


def test_an_unknown_protocol_is_told(tmp_path):
    made = Made(tmp_path, 'guessing', [cell('a', '1')])
    with pytest.raises(UserError, match="protocol='guessing': expected one of"):
        result_tables(made.read())


@pytest.mark.parametrize(
    ('database', 'parse', 'name', 'count', 'average'),
    [
        ('KADID-10k', parse_kadid10k, 'I01_{:02d}_01.png', 25, 0.7672),
        ('TID2013', parse_tid2013, 'i01_{:02d}_1.bmp', 24, 0.8539),
    ],
)
def test_published_types_are_those_that_names_of_images_give(
    database, parse, name, count, average
):
    given = {parse(name.format(number)).distortion for number in range(1, count + 1)}
    found = published_types({'table': 'lodo_srocc', 'database': database})
    assert len(given) == count
    assert all(set(figures) == given for figures in found.values())
    mean = np.mean(list(found['MetaIQA'].values()))
    assert mean == pytest.approx(average, abs=1e-3)


def test_published_methods():
    found = published_methods({'table': 'authentic', 'database': 'KonIQ10k'})
    assert found['MetaIQA'] == {'plcc': 0.887, 'srocc': 0.85}
    assert 'BIECON' not in found
    source = {'table': 'pyiqa_nr_benchmark', 'database': 'TID2013'}
    assert published_methods(source)['maniqa'] == {'srocc': 0.4515}
    found = published_methods({'table': 'biq2021', 'database': 'BIQ2021'})
    assert found['NASNet-Large'] == {'plcc': 0.7083, 'srocc': 0.6725}
    assert len(found) == 30 and 'ResNet-18' not in found
    with pytest.raises(UserError, match=r"published\.table='x': expected one of"):
        published_methods({'table': 'x', 'database': 'LIVEC'})


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(6.54, '6.5 s'), (245, '4 min 05 s'), (7380, '2 h 03 min'), (59.99, '60.0 s')],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    'scores', [[1, 1, 1], [1, NAN, 2], [1, math.inf, 2], [1 / 3] * 3]
)
def test_srocc_that_does_not_exist(scores):
    assert math.isnan(srocc_of(np.array([0.1, 0.2, 0.3]), np.array(scores)))
    assert math.isnan(srocc_of(np.array([0.1]), np.array([1.0])))
