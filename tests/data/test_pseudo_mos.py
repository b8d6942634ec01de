"""Tests of the pseudo-MOS: tables, levels between the five, chains."""

from __future__ import annotations

import csv
import itertools
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaiqa_plugin.data.distortions import (
    COMPOSITES,
    DISTORTIONS,
    KADID10K,
    LEVELS,
    TID2013_TYPES,
)
from metaiqa_plugin.data.versions import PRISTINE_MOS, PSEUDO_MOS_RANGE, pseudo_mos


def facts(name: str) -> list[dict[str, str]]:
    path = resources.files('metaiqa_plugin.data') / 'facts' / name
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_the_cells_of_kadid10k_are_its_means() -> None:
    rows = facts('kadid10k_mos_by_type_and_level.csv')
    assert len(rows) == 125
    for row in rows:
        found = pseudo_mos(row['distortion'], int(row['level']))
        assert found == float(row['mean_mos'])
    assert [DISTORTIONS[row['distortion']].number for row in rows] == [
        int(row['type']) for row in rows
    ]


def test_the_types_of_tid2013_alone_are_mapped_by_the_declared_ranges() -> None:
    rows = facts('tid2013_mos_by_type_and_level.csv')
    assert len(rows) == 120
    seen = set()
    for row in rows:
        name = TID2013_TYPES.get(int(row['type']))
        if name is None or name in KADID10K:
            continue
        seen.add(name)
        expected = float(row['mean_mos']) / 9 * 4 + 1
        assert pseudo_mos(name, int(row['level'])) == pytest.approx(expected)
    assert seen == set(DISTORTIONS) - set(KADID10K)
    assert pseudo_mos('sparse_sampling', 5) == pytest.approx(1.4251, abs=1e-4)


@pytest.mark.parametrize('name', [*DISTORTIONS, *COMPOSITES])
def test_all_lie_in_the_range_and_levels_may_be_of_any_number_type(name: str) -> None:
    low, high = PSEUDO_MOS_RANGE
    for level in LEVELS:
        found = pseudo_mos(name, level)
        assert low < found < high
        assert pseudo_mos(name, float(level)) == found
        assert pseudo_mos(name, np.int64(level)) == found


def test_between_levels_it_is_linear() -> None:
    low, high = pseudo_mos('jpeg', 3), pseudo_mos('jpeg', 4)
    assert pseudo_mos('jpeg', 3.25) == pytest.approx(0.75 * low + 0.25 * high)
    assert pseudo_mos('jpeg', 3.999999) == pytest.approx(high, abs=1e-4)


def test_pristine_is_the_level_that_keeps_the_image() -> None:
    assert pseudo_mos('mean_shift', 3) == PRISTINE_MOS


def test_a_chain_multiplies_what_its_parts_leave() -> None:
    span = PRISTINE_MOS - 1
    left = [
        (pseudo_mos(name, 4) - 1) / span for name in ('lens_blur', 'jpeg', 'darken')
    ]
    expected = 1 + span * left[0] * left[1] * left[2]
    assert pseudo_mos('lens_blur+jpeg+darken', 4) == pytest.approx(expected)


def test_a_part_that_keeps_the_image_changes_nothing() -> None:
    for name in ('jpeg', 'lens_blur', 'color_block'):
        with_it = pseudo_mos(f'mean_shift+{name}', 3)
        assert with_it == pytest.approx(pseudo_mos(name, 3))
    assert pseudo_mos('gaussian_blur+motion_blur', 1) <= PRISTINE_MOS


@settings(max_examples=200, deadline=None)
@given(
    names=st.lists(
        st.sampled_from([*DISTORTIONS]), min_size=2, max_size=3, unique=True
    ),
    level=st.floats(1, 5),
)
def test_a_chain_is_never_better_than_its_worst_part(
    names: list[str], level: float
) -> None:
    chain = pseudo_mos('+'.join(names), level)
    parts = [pseudo_mos(name, level) for name in names]
    assert 1 <= chain <= min(parts)
    for other in itertools.permutations(names):
        assert pseudo_mos('+'.join(other), level) == pytest.approx(chain)


@pytest.mark.parametrize('level', [0, 6, 5.1, 0.99, float('nan'), True, '3', None])
def test_a_wrong_level_is_named(level: object) -> None:
    with pytest.raises(ValueError, match=f'level must be a number .*{level!r}'):
        pseudo_mos('jpeg', level)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('jpg', r"'jpg'.*'jpeg'"),
        ('jpeg+', 'both sides'),
        ('jpeg+jpeg', 'must differ'),
        ('jpeg+darken+jitter+pixelate', 'got 4'),
        ('jpeg+nothing', "'nothing'"),
        (7, '7 of type int'),
    ],
)
def test_a_wrong_name_is_named(name: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pseudo_mos(name, 1)
