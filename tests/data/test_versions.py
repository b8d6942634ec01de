"""Which version is the milder one."""

import numpy as np
import pytest
from PIL import Image

from metaiqa_plugin.data.distortions import DISTORTIONS
from metaiqa_plugin.data.versions import (
    PRISTINE_SEVERITY,
    at_working_size,
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
