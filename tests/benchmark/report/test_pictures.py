"""What the pictures are drawn of."""

import numpy as np
import pytest
from made_experiments import Made, cell, read, told

from metaiqa_plugin.benchmark.report import charts
from metaiqa_plugin.benchmark.report.pictures import (
    rank_differences,
    result_pictures,
)
from metaiqa_plugin.benchmark.report.summaries import srocc_of


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
        experiment = read(experiments / name)
        pictures = list(result_pictures(experiment, 'e1'))
        assert [picture.name for picture in pictures] == list(asked)
        return experiment, asked

    return draw


def test_learning_curves_are_means_over_splits_of_means_over_seeds(drawn):
    experiment, asked = drawn('authentic')
    assert list(asked) == ['e1-learning']
    _, title, panels = asked['e1-learning']
    assert title == 'SROCC on the test images while training: mean ± SD over splits'
    lines = {line.label: line for line in panels['epoch']}
    assert list(lines) == ['metaiqa', 'baseline', 'regressed', 'constant']
    by_split = {}
    for one in experiment.finished:
        if one.method == 'baseline':
            by_split.setdefault(one.split, []).append(one.curve()[1]['srocc'])
    means = [np.mean(seeds) for seeds in by_split.values()]
    line = lines['baseline']
    assert list(line.x) == [1, 2, 3, 4, 5]
    assert line.y[1] == pytest.approx(np.mean(means))
    assert line.band[1] == pytest.approx(np.std(means, ddof=1))


def test_bars_are_within_types_with_the_most_labels(drawn):
    experiment, asked = drawn('few_shot')
    assert list(asked) == ['e1-test-labels', 'e1-test-types', 'e1-learning']
    kind, title, values, types = asked['e1-test-types']
    assert (kind, types) == ('bars', ['jpeg', 'blur'])
    assert title.endswith('mean over splits, 50 labels')
    found = []
    for one in experiment:
        if one.method == 'scratch' and one.facets['labels'] == 50:
            shown = one.predictions('test')
            chosen = np.array(shown.types) == 'blur'
            found.append(srocc_of(shown.mos[chosen], shown.scores[chosen]))
    assert values['scratch'][1] == pytest.approx(np.mean(found))
    _, _, panels = asked['e1-test-labels']
    assert [list(line.x) for line in panels['labelled images']] == [[0, 10, 50]] * 2


def test_unseen_types_are_those_before_labels(drawn):
    experiment, asked = drawn('unseen')
    _, title, values, types = asked['e1-test-types']
    (found,) = [
        one.tests['test'].srocc
        for one in experiment
        if (one.method, one.split) == ('baseline', types[2])
    ]
    assert title == 'SROCC on unseen types'
    assert values['baseline'][2] == found


def test_single_lines_along_parameters_stand_side_by_side(drawn):
    _, asked = drawn('sweep')
    _, title, panels = asked['e1-test-sweep']
    assert title == 'SROCC against k, S: mean ± SD over splits'
    assert {name: list(lines[0].x) for name, lines in panels.items()} == {
        'k (S = 2)': [2, 5, 10],
        'S (k = 5)': [1, 2, 4],
    }


def test_a_grid_of_parameters_has_a_picture_for_each(tmp_path):
    points = [(k, s) for k in (1, 5) for s in (1, 2)]
    cells = [cell(f'k{k}S{s}', '1', k=k, S=s) for k, s in points]
    made = Made(tmp_path, 'parameters', cells)
    for planned in cells:
        made.finish(planned, told(0.5))
    pictures = list(result_pictures(made.read(), 'e1'))
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
    picture = charts.lines('a', 'a', {'epoch': [line]})
    assert '3.05' not in picture.svg
    assert all(f'>{tick}</text>' in picture.svg for tick in shown)


def test_large_scatter_plots_are_pixels():
    many = np.linspace(0, 1, 2000)
    small = charts.scatter('a', 'few', many[:50], many[:50])
    large = charts.scatter('b', 'many', many, many)
    assert '<image' in large.svg and '<image' not in small.svg
    assert len(large.svg) < 60_000


def test_rank_differences():
    found = rank_differences([0.1, 0.2, 0.3, 0.9], [40, 2, 3, np.nan])
    assert found == pytest.approx([1, -0.5, -0.5, np.nan], nan_ok=True)
    assert np.isnan(rank_differences([0.1, 0.2], [np.nan, 1])).all()
