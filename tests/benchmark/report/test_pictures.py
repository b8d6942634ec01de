"""What the pictures are drawn of."""

import numpy as np
import pytest

from metaiqa_plugin.benchmark.records import read_experiment
from metaiqa_plugin.benchmark.report import charts
from metaiqa_plugin.benchmark.report.pictures import result_pictures
from metaiqa_plugin.benchmark.report.statistics import spearman
from metaiqa_plugin.benchmark.report.summaries import select


@pytest.fixture
def drawn(experiments, monkeypatch):
    """Draws an experiment; gives what charts were asked for, by name of the picture."""
    asked = {}

    def note(kind, function):
        def called(name, title, *content, **options):
            asked[name] = (kind, title, *content)
            return function(name, title, *content, **options)

        return called

    for kind in ('lines', 'bars', 'ranges'):
        monkeypatch.setattr(charts, kind, note(kind, getattr(charts, kind)))

    def draw(name):
        experiment = read_experiment(experiments / name)
        pictures = list(result_pictures(experiment, 'e1'))
        assert [picture.name for picture in pictures] == list(asked)
        return experiment, asked

    return draw


def test_learning_curves_are_means_over_splits_of_means_over_seeds(drawn):
    experiment, asked = drawn('authentic')
    assert list(asked) == ['e1-learning']
    _, title, panels, _ = asked['e1-learning']
    assert title == 'SROCC on the test images while training: mean ± SD over splits'
    lines = {line.label: line for line in panels['epoch']}
    assert list(lines) == ['metaiqa', 'baseline', 'regressed', 'constant']
    cells = [cell for cell in experiment.finished if cell.method == 'baseline']
    by_split = {}
    for cell in cells:
        by_split.setdefault(cell.split, []).append(cell.curve()[1]['srocc'])
    means = [np.mean(seeds) for seeds in by_split.values()]
    line = lines['baseline']
    assert list(line.x) == [1, 2, 3, 4, 5]
    assert line.y[1] == pytest.approx(np.mean(means))
    assert line.band[1] == pytest.approx(np.std(means, ddof=1))


def test_bars_are_within_types_with_the_most_labels(drawn):
    experiment, asked = drawn('few_shot')
    assert list(asked) == ['e1-test-labels', 'e1-test-types', 'e1-learning']
    kind, title, values, types, _ = asked['e1-test-types']
    assert (kind, types) == ('bars', ['jpeg', 'blur'])
    assert title.endswith('mean over splits, 50 labels')
    found = []
    for cell in select(experiment.cells, 'scratch', labels=50):
        shown = cell.predictions('test')
        chosen = np.array(shown.types) == 'blur'
        found.append(spearman(shown.mos[chosen], shown.scores[chosen]))
    assert values['scratch'][1] == pytest.approx(np.mean(found))
    _, _, panels, _, logarithmic = asked['e1-test-labels']
    assert logarithmic
    assert [list(line.x) for line in panels['labelled images']] == [[0, 10, 50]] * 2


def test_unseen_types_are_those_before_labels(drawn):
    experiment, asked = drawn('unseen')
    _, title, values, types, _ = asked['e1-test-types']
    (cell,) = select(experiment.cells, 'baseline', type=types[2], labels=0)
    assert title == 'SROCC on unseen types'
    assert values['baseline'][2] == cell.tests['test'].srocc


def test_single_lines_along_parameters_stand_side_by_side(drawn):
    _, asked = drawn('sweep')
    _, title, panels, _ = asked['e1-test-sweep']
    assert title == 'SROCC against k, S: mean ± SD over splits'
    assert {name: list(lines[0].x) for name, lines in panels.items()} == {
        'k (S = 2)': [2, 5, 10],
        'S (k = 5)': [1, 2, 4],
    }


def test_a_grid_of_parameters_has_a_picture_for_each(tmp_path, make):
    points = [(k, s) for k in (1, 5) for s in (1, 2)]
    cells = [make.cell(f'k{k}S{s}', '1', k=k, S=s) for k, s in points]
    names = [planned['method'] for planned in cells]
    folder = make.write(tmp_path / 'x', make.plan('x', 'parameters', names, cells))
    for planned in cells:
        test = {'srocc': 0.5, 'plcc': 0.5, 'plcc_logistic': 0.5, 'krocc': 0.5}
        make.finish(folder, planned, {'test': {**test, 'rmse': 0.1}}, curve=False)
    pictures = list(result_pictures(read_experiment(folder), 'e1'))
    assert [picture.name for picture in pictures] == [
        'e1-test-sweep-1',
        'e1-test-sweep-2',
    ]
    assert 'S = 2' in pictures[0].svg and 'k = 5' in pictures[1].svg


def test_run_time_in_ranges(drawn):
    _, asked = drawn('runtime')
    assert len(asked) == 3
    kind, _, values, _ = asked['e1-images_per_second']
    assert (kind, values['metaiqa']) == ('ranges', [20, 21, 22])


@pytest.mark.parametrize(
    ('x', 'shown'), [([1, 2, 3], {'1', '2', '3'}), ([1, 2, 3, 3.05], {'1', '2', '3'})]
)
def test_epochs_that_are_not_whole_have_no_tick(x, shown):
    line = charts.Line('a', x, [0.5] * len(x), [np.nan] * len(x))
    picture = charts.lines('a', 'a', {'epoch': [line]}, 'SROCC')
    assert '3.05' not in picture.svg
    assert all(f'>{tick}</text>' in picture.svg for tick in shown)
