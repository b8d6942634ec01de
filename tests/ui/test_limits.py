"""Files that are too large are refused before they are decoded, by name."""

import pytest
from PIL import Image

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.ui.scoring import check_pixels
from metaiqa_plugin.ui.sessions import Limits


def test_bytes_are_bounded_by_kind():
    limits = Limits(max_megabytes=2, max_checkpoint_megabytes=3)
    limits.check_bytes('a.jpg', 2_000_000)
    limits.check_bytes('a.pth', 3_000_000, checkpoint=True)
    with pytest.raises(UserError, match=r"'a\.jpg' has more than 2 MB.*--max-megab"):
        limits.check_bytes('a.jpg', 2_000_001)
    with pytest.raises(UserError, match=r"'a\.pth'.*3 MB.*--max-checkpoint-megab"):
        limits.check_bytes('a.pth', 3_000_001, checkpoint=True)


def test_pixels_are_bounded_by_the_header(tmp_path, odd_files):
    path = tmp_path / 'million.png'
    Image.new('L', (1000, 1000)).save(path)
    check_pixels(path, 1)
    with pytest.raises(UserError, match='1200x1000 pixels are more than 1 megapixels'):
        check_pixels(odd_files['large.png'], 1)
    check_pixels(odd_files['large.png'], 2)
    with pytest.raises(UserError, match='more pixels than any photo'):
        check_pixels(odd_files['bomb.png'], 2000)
    check_pixels(odd_files['notes.txt'], 1)


@pytest.mark.parametrize('name', ['max_files', 'max_megapixels'])
def test_limits_are_positive(name):
    with pytest.raises(UserError, match=f'{name}=0'):
        Limits(**{name: 0})
