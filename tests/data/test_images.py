"""Reading images: what is read, what is refused, and with which words."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from metaiqa_plugin.data.images import find_images, read_photo, read_rgb, walk_images
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


def saved(tmp_path, image, name='image.png', **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def gradient(width=64, height=48):
    columns = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(columns[None], height, axis=0)


def test_a_photo_is_turned_upright(tmp_path):
    image = Image.fromarray(np.stack([gradient()] * 3, axis=-1))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, image, 'turned.png', exif=exif)
    upright = read_photo(path)
    assert upright.size == (48, 64)
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(image), -1))
    assert read_rgb(path).size == (64, 48)


def test_sixteen_bits_are_scaled(tmp_path):
    deep = gradient().astype(np.uint16) * 256 + 7
    path = saved(tmp_path, Image.fromarray(deep), 'deep.png')
    assert np.array_equal(np.asarray(read_photo(path))[..., 1], gradient())


@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGBA', 'CMYK', '1', 'YCbCr'])
def test_every_usual_mode_becomes_rgb(tmp_path, mode):
    source = Image.fromarray(np.stack([gradient()] * 3, axis=-1)).convert(mode)
    # Pillow 12 can not read a YCbCr TIFF that it has not compressed
    how = {'compression': 'tiff_lzw'} if mode in ('CMYK', 'YCbCr') else {}
    image = read_photo(
        saved(tmp_path, source, f'image.{"tif" if how else "png"}', **how)
    )
    assert image.mode == 'RGB' and image.size == (64, 48)
    assert np.corrcoef(np.asarray(image)[..., 0].ravel(), gradient().ravel())[0, 1] > (
        {'1': 0.5, 'P': 0.9}.get(mode, 0.99)
    )


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new('RGB', (32, 32), color) for color in ('red', 'blue')]
    path = saved(
        tmp_path, frames[0], 'moving.webp', save_all=True, append_images=frames[1:]
    )
    assert np.asarray(read_photo(path))[..., 0].mean() > 240


@pytest.mark.parametrize(('size'), [(1, 1), (7, 100), (30_000, 9), (129, 8)])
def test_slivers_are_refused_by_name(tmp_path, size):
    path = saved(tmp_path, Image.new('RGB', size))
    with pytest.raises(UserError, match=rf'image\.png.*{size[0]}x{size[1]} pixels'):
        read_photo(path)


@pytest.mark.parametrize('size', [(8, 8), (128, 8), (30_000, 2_000)])
def test_the_limits_themselves_are_usable(tmp_path, size):
    image = read_photo(saved(tmp_path, Image.new('RGB', size)))
    assert image.size == size


def test_a_decompression_bomb_is_refused_by_name(tmp_path):
    path = tmp_path / 'bomb.png'
    Image.new('1', (30_000, 30_000)).save(path)
    with pytest.raises(UserError, match=r'bomb\.png.*exceeds limit'):
        read_photo(path)


@pytest.mark.parametrize('mode', ['F', 'I'])
def test_unknown_ranges_are_refused(tmp_path, mode):
    image = Image.fromarray(np.full((20, 20), 70_000, np.int32)).convert(mode)
    with pytest.raises(UserError, match=r'deep\.tif.*8'):
        read_photo(saved(tmp_path, image, 'deep.tif'))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_crash_it(tmp_path_factory, noise, cut):
    folder = tmp_path_factory.getbasetemp()
    Image.fromarray(gradient()).save(folder / 'whole.png')
    whole = (folder / 'whole.png').read_bytes()
    path = folder / 'noise.png'
    path.write_bytes(whole[:cut] + noise)
    try:
        assert read_photo(path).mode == 'RGB'
    except UserError as error:
        assert 'noise.png' in str(error)


def test_walking_finds_subfolders_in_order_and_leaves_hidden_ones_out(tmp_path):
    for name in ('b/ä.PNG', 'a b.jpg', '.cache/x.png', 'b/c/d.tif', 'b/notes.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert walk_images(tmp_path) == ['a b.jpg', 'b/c/d.tif', 'b/ä.PNG']
    with pytest.raises(UserError, match=r"photos='nowhere'"):
        walk_images('nowhere', 'photos')
