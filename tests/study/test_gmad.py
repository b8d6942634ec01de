"""Levels and pairs of a gMAD competition, worked out by hand."""

import math

import numpy as np
import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.study.gmad import Pair, Role, Settings, Side, competition

TEN = [0, 0, 0, 0, 0, 100, 100, 100, 100, 100]
SD_OF_0_TO_9 = math.sqrt(99 / 12)
"""Variance of n whole numbers in a row: (n^2 - 1) / 12."""


def chosen(levels):
    return [[(pair.better, pair.worse) for pair in level.pairs] for level in levels]


def test_best_against_worst_then_the_next_of_what_remains():
    attacker = [3, 0, 4, 1, 2, 5, 9, 7, 6, 8]
    levels = competition(TEN, attacker, Settings(2, 2))
    assert [level.number for level in levels] == [1, 2]
    assert [level.images for level in levels] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert chosen(levels) == [[(2, 1), (0, 3)], [(6, 5), (9, 8)]]
    differences = [pair.difference for level in levels for pair in level.pairs]
    expected = np.array([4, 2, 4, 2]) / SD_OF_0_TO_9
    assert differences == pytest.approx(expected)


def test_level_one_is_the_worst_of_the_defender_wherever_its_images_stand():
    defender = [100, 0, 100, 0]
    levels = competition(defender, [1, 2, 3, 4], Settings(2, 1))
    assert [level.images for level in levels] == [(1, 3), (0, 2)]
    assert chosen(levels) == [[(3, 1)], [(2, 0)]]


def test_a_level_reaches_as_far_as_the_tolerance_from_the_median_and_no_further():
    defender = [0, 2, 3, 4, 10]
    deviation = np.std(defender)
    attacker = [9, 0, 1, 2, -9]
    for reach, images in ((1, (1, 2, 3)), (3, (0, 1, 2, 3)), (7, (0, 1, 2, 3, 4))):
        settings = Settings(1, 1, reach * 1.001 / deviation)
        (level,) = competition(defender, attacker, settings)
        assert level.images == images
    (level,) = competition(defender, attacker, Settings(1, 1, 0.999 / deviation))
    assert level.images == (2,)
    assert level.pairs == ()


def test_no_image_is_in_two_levels_however_wide_they_are():
    rng = np.random.default_rng(0)
    defender, attacker = rng.normal(size=(2, 60))
    levels = competition(defender, attacker, Settings(5, 3, 50))
    images = [image for level in levels for image in level.images]
    assert sorted(images) == list(range(60))
    assert {len(level.images) for level in levels} == {12}


def test_pairs_are_the_most_different_ones_without_a_common_image():
    """Against all ways to choose two pairs out of a level."""
    rng = np.random.default_rng(1)
    defender, attacker = rng.normal(size=(2, 30))
    for level in competition(defender, attacker, Settings(3, 2, 1)):
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
    levels = competition(TEN, attacker, Settings(2, 5))
    assert chosen(levels) == [[(1, 0), (3, 2)], [(9, 5)]]


def test_a_level_with_one_score_from_the_attacker_has_no_pair():
    attacker = [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert chosen(competition(TEN, attacker, Settings(2, 2))) == [[], [(9, 5)]]


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


def test_the_quality_of_a_side_is_higher_where_it_is_better():
    assert Side('one', [1, 3]).quality.tolist() == [1, 3]
    assert Side('two', [1, 3], lower_better=True).quality.tolist() == [-1, -3]


def test_the_mean_difference_is_of_first_pairs():
    levels = competition(TEN, [0, 4, 1, 2, 2, 0, 8, 1, 1, 1], Settings(2, 2))
    role = Role(Side('a', TEN), Side('b', TEN), levels)
    first = [level.pairs[0] for level in levels]
    assert first[0] == Pair(1, 0, first[0].difference)
    assert role.mean_difference == (first[0].difference + first[1].difference) / 2
    none = competition(TEN, [*[1] * 5, *[2] * 5], Settings(2, 2))
    assert math.isnan(Role(Side('a', TEN), Side('b', TEN), none).mean_difference)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'settings': Settings(levels=6)}, 'needs at least 12 images, got 10'),
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


@pytest.mark.parametrize('name', ['levels', 'pairs', 'tolerance'])
def test_settings_out_of_range_name_themselves(name):
    with pytest.raises(UserError, match=f'{name}=-1'):
        Settings(**{name: -1})
