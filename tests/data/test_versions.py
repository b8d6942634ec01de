"""Versions of a photo: their pseudo-MOS, which is milder, what noise depends on."""

import csv
import itertools
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metaiqa_plugin.data.distortions import (
    COMPOSITES,
    DISTORTIONS,
    KADID10K,
    LEVELS,
    TID2013_TYPES,
)
from metaiqa_plugin.data.versions import (
    PRISTINE_MOS,
    PRISTINE_SEVERITY,
    PSEUDO_MOS_RANGE,
    at_working_size,
    pseudo_mos,
    severity,
    version_of,
)
from metaiqa_plugin.errors import UserError

BOTH_WAYS = ('mean_shift', 'contrast_change')


@pytest.mark.parametrize('name', [*DISTORTIONS, 'motion_blur+jpeg'])
def test_a_level_is_its_severity_unless_levels_go_both_ways(name):
    found = [severity(name, level) for level in (1, 2, 2.5, 3, 4, 5)]
    if name in BOTH_WAYS:
        assert found[3] == PRISTINE_SEVERITY == min(found)
        assert found[0] > found[1] > found[3] < found[4] < found[5]
    else:
        assert found == [1, 2, 2.5, 3, 4, 5]


def test_a_chain_with_such_a_part_goes_by_what_people_said():
    found = [severity('mean_shift+jpeg', level) for level in range(1, 6)]
    assert found != [1, 2, 3, 4, 5]
    assert min(found) > PRISTINE_SEVERITY


@pytest.mark.parametrize(('name', 'level'), [('blur', 1), ('jpeg', 6), ('jpeg', 0)])
def test_what_there_is_not_is_named(name, level):
    with pytest.raises(UserError, match=name if level == 1 else str(level)):
        severity(name, level)


@pytest.mark.parametrize(
    ('size', 'most', 'expected'),
    [((90, 60), 45, (45, 30)), ((90, 60), 90, (90, 60)), ((500, 2), 100, (100, 1))],
)
def test_long_photos_are_shrunk_and_others_kept(size, most, expected):
    photo = Image.effect_noise(size, 40).convert('RGB')
    assert at_working_size(photo, most).size == expected
    assert at_working_size(photo, 0) is photo


def test_noise_depends_on_photo_level_and_seed():
    pixels = np.full((20, 20, 3), 128, np.uint8)

    def made(photo='a', level=3, seed=0):
        return version_of(pixels, photo, 'white_noise', level, seed)

    assert np.array_equal(made(), made())
    for other in (made(photo='b'), made(level=3.5), made(seed=1)):
        assert not np.array_equal(made(), other)


def facts(name):
    path = resources.files('metaiqa_plugin.data') / 'facts' / name
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_the_cells_of_kadid10k_are_its_means():
    rows = facts('kadid10k_mos_by_type_and_level.csv')
    assert len(rows) == 125
    for row in rows:
        found = pseudo_mos(row['distortion'], int(row['level']))
        assert found == float(row['mean_mos'])
    assert [DISTORTIONS[row['distortion']].number for row in rows] == [
        int(row['type']) for row in rows
    ]


def test_the_types_of_tid2013_alone_are_mapped_by_the_declared_ranges():
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
def test_all_lie_in_the_range_and_levels_may_be_of_any_number_type(name):
    low, high = PSEUDO_MOS_RANGE
    for level in LEVELS:
        found = pseudo_mos(name, level)
        assert low < found < high
        assert pseudo_mos(name, float(level)) == found
        assert pseudo_mos(name, np.int64(level)) == found


def test_between_levels_it_is_linear():
    low, high = pseudo_mos('jpeg', 3), pseudo_mos('jpeg', 4)
    assert pseudo_mos('jpeg', 3.25) == pytest.approx(0.75 * low + 0.25 * high)
    assert pseudo_mos('jpeg', 3.999999) == pytest.approx(high, abs=1e-4)


def test_pristine_is_the_level_that_keeps_the_image():
    assert pseudo_mos('mean_shift', 3) == PRISTINE_MOS


def test_a_chain_multiplies_what_its_parts_leave():
    span = PRISTINE_MOS - 1
    left = [
        (pseudo_mos(name, 4) - 1) / span for name in ('lens_blur', 'jpeg', 'darken')
    ]
    expected = 1 + span * left[0] * left[1] * left[2]
    assert pseudo_mos('lens_blur+jpeg+darken', 4) == pytest.approx(expected)


def test_a_part_that_keeps_the_image_changes_nothing():
    for name in ('jpeg', 'lens_blur', 'color_block'):
        with_it = pseudo_mos(f'mean_shift+{name}', 3)
        assert with_it == pytest.approx(pseudo_mos(name, 3))
    assert pseudo_mos('gaussian_blur+motion_blur', 1) <= PRISTINE_MOS


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(
        st.sampled_from([*DISTORTIONS]), min_size=2, max_size=3, unique=True
    ),
    level=st.floats(1, 5),
)
def test_a_chain_is_never_better_than_its_worst_part(names, level):
    chain = pseudo_mos('+'.join(names), level)
    parts = [pseudo_mos(name, level) for name in names]
    assert 1 <= chain <= min(parts)
    for other in itertools.permutations(names):
        assert pseudo_mos('+'.join(other), level) == pytest.approx(chain)


@pytest.mark.parametrize('level', [0, 6, 5.1, 0.99, float('nan'), True, '3', None])
def test_a_wrong_level_is_named(level):
    with pytest.raises(ValueError, match=f'level={level!r}: expected a number'):
        pseudo_mos('jpeg', level)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('jpg', r"'jpg'.*'jpeg'"),
        ('jpeg+', 'both sides'),
        ('jpeg+jpeg', 'must differ'),
        ('jpeg+darken+jitter+pixelate', 'got 4'),
        ('jpeg+nothing', "'nothing'"),
        (7, 'distortion=7: .* not int'),
    ],
)
def test_a_wrong_name_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        pseudo_mos(name, 1)
