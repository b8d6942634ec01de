"""Reading images: what is read, what is refused, and with which words."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from metaiqa_plugin.data.images import find_images, read_rgb
from metaiqa_plugin.errors import UserError


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.bmp', '.tiff'])
def test_truncated_files_are_refused_even_where_pyiqa_allows_them(
    tmp_path, photos, monkeypatch, suffix
):
    path = tmp_path / f'cut{suffix}'
    read_rgb(photos[0]).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    with pytest.raises(UserError, match=f'cut{suffix}.*can not be read'):
        read_rgb(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16']),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)
def test_every_mode_becomes_rgb(tmp_path, mode, width, height):
    path = tmp_path / 'image.png'
    Image.new(mode, (width, height)).save(path)
    image = read_rgb(path)
    assert image.mode == 'RGB'
    assert np.asarray(image).shape == (height, width, 3)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_other_bytes_are_a_clear_error(tmp_path, content):
    path = tmp_path / 'noise.png'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'noise\.png'):
        read_rgb(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_rgb(tmp_path / 'nowhere.png')


def test_images_are_found_sorted_and_nothing_else(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'notes.txt', 'ü ö.webp'):
        (tmp_path / name).touch()
    (tmp_path / 'folder.png').mkdir()
    assert [path.name for path in find_images(tmp_path)] == [
        'a.jpg',
        'b.PNG',
        'ü ö.webp',
    ]
