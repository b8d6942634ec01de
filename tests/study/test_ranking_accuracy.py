"""Pairs counted by hand, and the measures that are made of them."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.ranking_accuracy import (
    RankedVersions,
    count_pairs,
    order_agreement,
    ranking_accuracy,
)


def test_equal_scores_are_wrong_and_equal_severities_no_pair():
    assert count_pairs([0, 1, 2, 3], [4, 3, 3, 1]) == (5, 6)
    assert count_pairs([1, 1, 2], [5, 0, 3]) == (1, 2)
    assert count_pairs([2, 2], [1, 0]) == (0, 0)
    assert count_pairs([1, 2, 3], [7, 7, 7]) == (0, 3)


def test_pairs_do_not_depend_on_the_order_of_the_levels():
    assert count_pairs([3, 0, 2, 1], [1, 4, 3, 3]) == (5, 6)


def test_without_ties_accuracy_is_kendalls_tau_on_another_scale():
    generator = np.random.default_rng(3)
    for _ in range(20):
        bad, good = generator.permutation(7), generator.normal(size=7)
        right, pairs = count_pairs(bad, good)
        assert pairs == 21
        tau = kendalltau(-bad, good).statistic
        assert right / pairs == pytest.approx((tau + 1) / 2)


def test_order_agreement_is_srocc_of_mildness():
    assert order_agreement([0, 1, 2], [9, 5, 1]) == pytest.approx(1)
    assert order_agreement([0, 1, 2], [1, 5, 9]) == pytest.approx(-1)
    # ranks 4 3 2 1 against 4 3 1 2: 1 - 6 * 2 / (4 * 15)
    assert order_agreement([0, 1, 2, 3], [9, 8, 1, 2]) == pytest.approx(0.8)


@pytest.mark.filterwarnings('error')
def test_what_is_constant_tells_no_order():
    assert order_agreement([0, 1, 2], [4, 4, 4]) == 0
    assert order_agreement([1, 1, 1], [1, 2, 3]) == 0


def test_accuracy_of_one_type():
    found = ranking_accuracy(
        [
            RankedVersions('a', [0, 1, 2], [9, 5, 1]),
            RankedVersions('b', [0, 1, 2], [5, 9, 7]),
            RankedVersions('c', [0, 1, 2], [9, 1, 5]),
        ]
    )
    assert (found.photos, found.pairs) == (3, 9)
    # shares 1, 1/3 and 2/3: their standard deviation (n - 1) is 1/3
    assert found.accuracy == pytest.approx(6 / 9)
    assert found.standard_error == pytest.approx(1 / 3 / math.sqrt(3))
    assert found.srocc == pytest.approx((1 - 0.5 + 0.5) / 3)


def test_types_of_one_photo_are_one_photo_of_the_standard_error():
    found = ranking_accuracy(
        [
            RankedVersions('a', [0, 1], [2, 1]),
            RankedVersions('b', [0, 1], [1, 2]),
            RankedVersions('a', [0, 1, 2], [1, 2, 3]),
        ]
    )
    assert (found.photos, found.pairs) == (2, 5)
    # photo a has 1 of 4 right, b 0 of 1
    assert found.accuracy == pytest.approx(1 / 5)
    assert found.standard_error == pytest.approx(0.25 / 2)


def test_an_entry_without_a_pair_changes_nothing():
    whole = [RankedVersions('a', [0, 1], [2, 1]), RankedVersions('b', [0, 1], [1, 2])]
    alone = [RankedVersions('c', [1], [5]), RankedVersions('d', [2, 2], [5, 6])]
    assert ranking_accuracy(alone[:1] + whole + alone[1:]) == ranking_accuracy(whole)


def test_nothing_to_compare_is_nan():
    found = ranking_accuracy([RankedVersions('a', [1], [5])])
    assert (found.photos, found.pairs) == (0, 0)
    figures = (found.accuracy, found.standard_error, found.srocc)
    assert all(math.isnan(value) for value in figures)
    assert math.isnan(
        ranking_accuracy([RankedVersions('a', [0, 1], [2, 1])]).standard_error
    )


@pytest.mark.parametrize(
    ('bad', 'good', 'message'),
    [
        ([1, 2], [1, 2, 3], 'severity of shape'),
        ([[1, 2]], [[1, 2]], 'one of each'),
        ([1, 2], [1, math.nan], 'quality='),
        ([1, 2], [1, math.inf], 'quality='),
    ],
)
def test_versions_that_can_not_be_ranked_are_refused(bad, good, message):
    with pytest.raises(UserError, match=message):
        RankedVersions('a', bad, good)
