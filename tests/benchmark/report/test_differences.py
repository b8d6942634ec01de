"""Differences against scipy and the formulas written out, and their tables."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_experiments import Made, grid, read, told
from scipy import stats

from metaiqa_plugin.benchmark.report.differences import (
    difference_tables,
    holm,
    paired_difference,
    wilcoxon,
)

NAN = math.nan
draws = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(draws, st.integers(2, 20))
def test_without_a_correction_it_is_the_paired_t_test(generator, pairs):
    ours, theirs = generator.normal(size=(2, pairs))
    expected = stats.ttest_rel(ours, theirs)
    found = paired_difference(ours - theirs)
    interval = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(ours - theirs))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.pairs, found.factor) == (pairs, pytest.approx(1 / pairs))


def test_corrected_by_the_formula_written_out():
    differences = [0.01, 0.03, -0.02, 0.04, 0.02]
    mean = 0.016
    squares = sum((value - mean) ** 2 for value in differences) / 4
    error = math.sqrt((1 / 5 + 0.25) * squares)
    found = paired_difference(differences, 232 / 928)
    assert found.factor == pytest.approx(0.45)
    assert found.high - found.mean == pytest.approx(2.7764451 * error)
    assert found.mean - found.low == pytest.approx(2.7764451 * error)
    assert found.p == pytest.approx(2 * stats.t.sf(mean / error, 4))


def test_the_correction_keeps_its_level_on_overlapping_splits():
    """Two predictors of equal merit: the usual test finds too many differences."""
    generator = np.random.default_rng(0)
    rejected = {0.0: 0, 0.25: 0}
    for _ in range(400):
        gains = generator.normal(size=(100,))
        differences = []
        for _ in range(10):
            order = generator.permutation(100)
            train, test = order[:80], order[80:]
            differences.append(gains[test].mean() + 0.5 * gains[train].mean())
        for ratio in rejected:
            rejected[ratio] += paired_difference(differences, ratio).p < 0.05
    assert rejected[0.0] > 100
    assert rejected[0.25] < 0.7 * rejected[0.0]


@pytest.mark.parametrize(
    ('differences', 'mean', 'p'),
    [
        ([], NAN, NAN),
        ([0.1], 0.1, NAN),
        ([0.1, NAN], NAN, NAN),
        ([0.1, 0.1], 0.1, 0.0),
        ([0.0, 0.0], 0.0, 1.0),
    ],
)
def test_differences_without_variance(differences, mean, p):
    found = paired_difference(differences, 0.25)
    assert (found.mean, found.p) == pytest.approx((mean, p), nan_ok=True)
    assert math.isnan(found.low) == math.isnan(p)
    assert found.pairs == len(differences)


@given(draws, st.integers(2, 15))
def test_wilcoxon_is_that_of_scipy(generator, pairs):
    differences = generator.normal(size=pairs)
    assert wilcoxon(differences) == stats.wilcoxon(differences).pvalue


def test_wilcoxon_without_ranks():
    assert wilcoxon([0, 0, 0]) == 1
    assert math.isnan(wilcoxon([0.1]))
    assert math.isnan(wilcoxon([0.1, NAN, 0.2]))


def test_holm_by_hand():
    assert list(holm([0.01, 0.04, 0.03, 0.005])) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert list(holm([0.02, NAN, 0.5])) == pytest.approx([0.04, NAN, 0.5], nan_ok=True)
    assert list(holm([0.7, 0.8])) == [1, 1]
    assert holm([]).empty


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_rejects_what_its_steps_reject(values):
    """The definition: go up the sorted p-values until one is too large for its step."""
    level = 0.05
    rejected = set()
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if (len(values) - place) * values[index] > level:
            break
        rejected.add(index)
    adjusted = holm(values)
    assert {index for index, p in enumerate(adjusted) if p <= level} == rejected


def rows(table):
    """Cells by title, of each row."""
    return [dict(zip(table.columns, cells, strict=True)) for _, cells in table.rows]


def test_differences_are_paired_and_corrected(tmp_path):
    values = {
        'base': [0.4, 0.5, 0.6, 0.3],
        'ours': [0.5, 0.7, 0.6, 0.4],
        'half': [0.6, 0.8, None, 'E: x'],
        'none': [None] * 4,
    }
    made = Made(tmp_path, 'authentic', grid(values, '0123'))
    for planned in made.cells:
        srocc = values[planned['method']][int(planned['split'])]
        if isinstance(srocc, str):
            made.fail(planned, srocc)
        elif srocc is not None:
            made.finish(planned, told(srocc))
    table, _ = difference_tables(made.read())
    ours, half, none = rows(table)
    expected = paired_difference(np.subtract(values['ours'], values['base']), 24 / 96)
    assert ours['mean difference'].key == pytest.approx(expected.mean)
    assert ours['corrected t-test', 'p'].key == pytest.approx(expected.p)
    assert ours['95% interval'].text == f'{expected.low:+.4f} to {expected.high:+.4f}'
    assert ours['variance factor'].text == '0.500'
    p = paired_difference([0.2, 0.3], 24 / 96).p
    assert p < expected.p
    assert half['corrected t-test', 'p, Holm'].key == pytest.approx(2 * p)
    adjusted = pytest.approx(max(2 * p, expected.p))
    assert ours['corrected t-test', 'p, Holm'].key == adjusted
    assert half['pairs'].text == '2/4'
    assert none['mean difference'].text == 'no pair'


@pytest.mark.parametrize(
    ('train', 'pool', 'factor'),
    [(0, 0, '0.500 (1/J)'), (96, 0, '0.750'), (10, 300, f'{1 / 2 + 24 / 300:.3f}')],
)
def test_splits_share_the_part_that_images_are_drawn_from(
    tmp_path, train, pool, factor
):
    cells = [{**planned, 'pool': pool} for planned in grid('ab', '12')]
    made = Made(tmp_path, 'zero_shot', cells)
    for planned in cells:
        srocc = 0.3 if planned['method'] == 'a' else 0.1 * int(planned['split'])
        made.finish(planned, told(srocc), train_images=train)
    first, table = difference_tables(made.read())
    assert first.notes == ()
    assert [row['variance factor'].text for row in rows(table)] == [factor]
    unknown = any('usual paired t-test' in note for note in table.notes)
    assert unknown == (not train)


def test_draws_from_one_train_part_are_compared_as_they_are(experiments):
    experiment = read(experiments / 'few_shot')
    (table,) = difference_tables(experiment)
    pairs = [
        [
            one.tests['test'].srocc
            for one in experiment
            if one.method == method and one.facets['labels'] == 10
        ]
        for method in ('scratch', 'metaiqa')
    ]
    expected = paired_difference(np.subtract(*pairs))
    row = next(row for row in rows(table) if row['labels'].key == 10)
    assert row['paired t-test', 'p'].key == pytest.approx(expected.p)
    assert row['variance factor'].text == '0.333 (1/J)'
    assert 'usual paired t-test' in table.notes[0]


def test_after_labels_types_share_as_much_as_before(experiments):
    (table,) = difference_tables(read(experiments / 'unseen'))
    assert {row['variance factor'].text for row in rows(table)} == {'0.500'}


@pytest.mark.parametrize(('finished', 'base'), [(('a', 'b'), None), (('a',), 'a')])
def test_nothing_to_compare(tmp_path, finished, base):
    made = Made(tmp_path, 'authentic', grid('ab', '1'), compare_with=base)
    for planned in made.cells:
        if planned['method'] in finished:
            made.finish(planned, told(0.5))
    assert difference_tables(made.read()) == []
