"""Levels and pairs of a gMAD competition, worked out by hand."""

import math

import numpy as np
import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.gmad import Pair, Role, Side, both_roles, competition

TEN = [0, 0, 0, 0, 0, 100, 100, 100, 100, 100]
SD_OF_0_TO_9 = math.sqrt(99 / 12)
"""Variance of n whole numbers in a row: (n^2 - 1) / 12."""


def chosen(levels):
    return [[(pair.better, pair.worse) for pair in level.pairs] for level in levels]


def test_best_against_worst_then_the_next_of_what_remains():
    attacker = [3, 0, 4, 1, 2, 5, 9, 7, 6, 8]
    levels = competition(TEN, attacker, levels=2, pairs=2)
    assert [level.number for level in levels] == [1, 2]
    assert [level.images for level in levels] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert chosen(levels) == [[(2, 1), (0, 3)], [(6, 5), (9, 8)]]
    differences = [pair.difference for level in levels for pair in level.pairs]
    expected = np.array([4, 2, 4, 2]) / SD_OF_0_TO_9
    assert differences == pytest.approx(expected)


def test_level_one_is_the_worst_of_the_defender_wherever_its_images_stand():
    defender = [100, 0, 100, 0]
    levels = competition(defender, [1, 2, 3, 4], levels=2, pairs=1)
    assert [level.images for level in levels] == [(1, 3), (0, 2)]
    assert chosen(levels) == [[(3, 1)], [(2, 0)]]


def test_a_level_reaches_as_far_as_the_tolerance_from_the_median_and_no_further():
    defender = [0, 2, 3, 4, 10]
    deviation = np.std(defender)
    attacker = [9, 0, 1, 2, -9]
    for reach, images in ((1, (1, 2, 3)), (3, (0, 1, 2, 3)), (7, (0, 1, 2, 3, 4))):
        (level,) = competition(
            defender, attacker, 1, 1, tolerance=reach * 1.001 / deviation
        )
        assert level.images == images
    (level,) = competition(defender, attacker, 1, 1, tolerance=0.999 / deviation)
    assert level.images == (2,)
    assert level.pairs == ()


def test_no_image_is_in_two_levels_however_wide_they_are():
    rng = np.random.default_rng(0)
    defender, attacker = rng.normal(size=(2, 60))
    levels = competition(defender, attacker, levels=5, pairs=3, tolerance=50)
    images = [image for level in levels for image in level.images]
    assert sorted(images) == list(range(60))
    assert {len(level.images) for level in levels} == {12}


def test_pairs_are_the_most_different_ones_without_a_common_image():
    """Against all ways to choose two pairs out of a level."""
    rng = np.random.default_rng(1)
    defender, attacker = rng.normal(size=(2, 30))
    for level in competition(defender, attacker, levels=3, pairs=2, tolerance=1):
        scores = attacker[list(level.images)]
        gaps = np.abs(scores[:, None] - scores) / attacker.std()
        every = range(len(scores))
        sums = [
            gaps[a, b] + gaps[c, d]
            for a in every
            for b in every
            for c in every
            for d in every
            if len({a, b, c, d}) == 4
        ]
        first, second = (pair.difference for pair in level.pairs)
        assert first == pytest.approx(gaps.max())
        assert first + second == pytest.approx(max(sums))


def test_equal_scores_are_taken_by_position():
    attacker = [1, 2, 1, 2, 1, 0, 0, 0, 0, 5]
    levels = competition(TEN, attacker, levels=2, pairs=5)
    assert chosen(levels) == [[(1, 0), (3, 2)], [(9, 5)]]


def test_a_level_with_one_score_from_the_attacker_has_no_pair():
    attacker = [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert chosen(competition(TEN, attacker, 2, 2)) == [[], [(9, 5)]]


def test_neither_scale_nor_offset_of_the_scores_matters():
    rng = np.random.default_rng(2)
    defender, attacker = rng.normal(size=(2, 40))
    one = competition(defender, attacker)
    other = competition(100 * defender + 7, 0.01 * attacker - 3)
    assert chosen(one) == chosen(other)
    assert [level.images for level in one] == [level.images for level in other]
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left.pairs, right.pairs, strict=True):
            assert a.difference == pytest.approx(b.difference)


def test_both_roles_and_lower_better():
    one = Side('one', TEN)
    two = Side('two', [3, 0, 4, 1, 2, 5, 9, 7, 6, 8], lower_better=True)
    given, swapped = both_roles(one, two, levels=2, pairs=1, tolerance=5)
    assert (given.defender, given.attacker) == (one, two)
    assert (swapped.defender, swapped.attacker) == (two, one)
    assert chosen(given.levels) == [[(1, 2)], [(5, 6)]]
    assert [level.images for level in swapped.levels] == [
        (5, 6, 7, 8, 9),
        (0, 1, 2, 3, 4),
    ]
    assert chosen(swapped.levels) == [[], []]
    assert given.mean_difference == pytest.approx(4 / SD_OF_0_TO_9)
    assert math.isnan(swapped.mean_difference)


def test_the_mean_difference_is_of_first_pairs():
    levels = competition(TEN, [0, 4, 1, 2, 2, 0, 8, 1, 1, 1], levels=2, pairs=2)
    role = Role(Side('a', TEN), Side('b', TEN), levels)
    first = [level.pairs[0] for level in levels]
    assert first[0] == Pair(1, 0, first[0].difference)
    assert role.mean_difference == (first[0].difference + first[1].difference) / 2


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'levels': 0}, 'levels=0'),
        ({'levels': 6}, 'needs at least 12 images, got 10'),
        ({'pairs': 0}, 'pairs=0'),
        ({'tolerance': -1.0}, 'tolerance=-1.0'),
        ({'defender': [1] * 10}, 'defender: gives all 10 images the score 1'),
        ({'attacker': [2] * 10}, 'attacker: gives all 10 images the score 2'),
        ({'attacker': [1, 2]}, '10 scores of the defender for 2'),
        ({'attacker': [*range(9), math.nan]}, 'attacker: .* 1 not finite'),
        ({'defender': [[1, 2]]}, 'shape'),
    ],
)
def test_bad_arguments_name_themselves(changed, message):
    arguments = {'defender': TEN, 'attacker': list(range(10)), **changed}
    with pytest.raises(UserError, match=message):
        competition(**arguments)
