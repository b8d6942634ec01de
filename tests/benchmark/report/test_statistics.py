"""Means and differences against scipy and against the formulas written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metaiqa_plugin.benchmark.report.statistics import (
    holm,
    paired_difference,
    rank_differences,
    spearman,
    spread_over_splits,
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
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, NAN, 0.5]) == pytest.approx([0.04, NAN, 0.5], nan_ok=True)
    assert holm([0.7, 0.8]) == [1, 1]
    assert holm([]) == []


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


def test_seeds_are_averaged_before_splits():
    found = spread_over_splits([[0.1, 0.3], [0.5], [0.6, 0.8]])
    assert found.mean == pytest.approx((0.2 + 0.5 + 0.7) / 3)
    assert found.sd == pytest.approx(np.std([0.2, 0.5, 0.7], ddof=1))
    assert found.sd_seeds == pytest.approx(math.sqrt(0.02))
    assert found.splits == 3


def test_spread_of_one_none_and_nan():
    one = spread_over_splits([[0.4]])
    assert one.mean == 0.4 and math.isnan(one.sd) and math.isnan(one.sd_seeds)
    assert math.isnan(spread_over_splits([]).mean)
    found = spread_over_splits([[0.4], [NAN, 0.1]])
    assert math.isnan(found.mean)


@pytest.mark.filterwarnings('ignore:An input array is constant')
@given(draws, st.integers(2, 30))
def test_spearman_is_that_of_scipy(generator, size):
    first, second = generator.integers(0, 8, size=(2, size)) + np.eye(2, size)
    expected = stats.spearmanr(first, second).statistic
    assert spearman(first, second) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    'scores', [[1, 1, 1], [1, NAN, 2], [1, math.inf, 2], [1 / 3] * 3]
)
def test_spearman_that_does_not_exist(scores):
    assert math.isnan(spearman([0.1, 0.2, 0.3], scores))


def test_rank_differences():
    found = rank_differences([0.1, 0.2, 0.3, 0.9], [40, 2, 3, NAN])
    assert found == pytest.approx([1, -0.5, -0.5, NAN], nan_ok=True)
    assert np.isnan(rank_differences([0.1, 0.2], [NAN, 1])).all()
