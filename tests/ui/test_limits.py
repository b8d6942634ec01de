"""Files that are too large are refused before they are decoded, by name."""

import pytest

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.ui.scoring import _load
from metaiqa_plugin.ui.sessions import Limits, Photo


def test_bytes_are_bounded_by_kind():
    limits = Limits(max_megabytes=2, max_checkpoint_megabytes=3)
    limits.check_bytes('a.jpg', 2_000_000)
    limits.check_bytes('a.pth', 3_000_000, checkpoint=True)
    with pytest.raises(UserError, match=r"'a\.jpg' has more than 2 MB.*--max-megab"):
        limits.check_bytes('a.jpg', 2_000_001)
    with pytest.raises(UserError, match=r"'a\.pth'.*3 MB.*--max-checkpoint-megab"):
        limits.check_bytes('a.pth', 3_000_001, checkpoint=True)


def test_pixels_are_bounded_by_the_header(tmp_path, odd_files):
    def load(name, most):
        return _load(Photo(1, name, odd_files[name]), tmp_path, most)

    with pytest.raises(UserError, match='1200x1000 pixels are more than 1 megapixels'):
        load('large.png', 1)
    assert load('large.png', 2).size == (1200, 1000)
    with pytest.raises(UserError, match=r'bomb\.png.* is refused: Image size'):
        load('bomb.png', 2000)


@pytest.mark.parametrize('name', ['max_tabs', 'max_files', 'max_megapixels'])
def test_limits_are_positive(name):
    with pytest.raises(UserError, match=f'{name}=0'):
        Limits(**{name: 0})
