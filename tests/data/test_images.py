"""Reading images: what is read, what is refused, and with which words."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from metaiqa_plugin.data.images import (
    IMAGE_SUFFIXES,
    iterate_images,
    name_below,
    read_photo,
    read_resized,
    read_rgb,
    resize_shorter,
    walk_images,
)
from metaiqa_plugin.errors import UserError

FAULTS = Path(__file__).parent / 'faults'
READERS = pytest.mark.parametrize('read', [read_rgb, read_photo])


def saved(folder, image, name='image.png', **options):
    image.save(folder / name, **options)
    return folder / name


def gradient(width=64, height=48):
    columns = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(columns[None], height, axis=0)


def coloured():
    return Image.fromarray(np.stack([gradient()] * 3, axis=-1))


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.bmp', '.tiff'])
def test_truncated_files_are_refused_even_where_pyiqa_allows_them(
    tmp_path, photos, monkeypatch, suffix
):
    path = saved(tmp_path, read_rgb(photos[0]), f'cut{suffix}')
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    with pytest.raises(UserError, match=f'cut{suffix}.*cannot be read'):
        read_rgb(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@READERS
@given(noise=st.binary(max_size=200), cut=st.integers(0, 400))
def test_any_bytes_are_an_image_or_an_error_that_names_it(
    tmp_path_factory, read, noise, cut
):
    folder = tmp_path_factory.getbasetemp()
    whole = saved(folder, Image.fromarray(gradient()), 'whole.png').read_bytes()
    path = folder / 'noise.png'
    path.write_bytes(whole[:cut] + noise)
    try:
        assert read(path).mode == 'RGB'
    except UserError as error:
        assert 'noise.png' in str(error)


@READERS
@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('damaged_avif_named.jpg', 'RuntimeError Failed to decode'),
        ('damaged_dds_named.jpg', 'cannot identify'),
    ],
)
def test_whatever_a_decoder_raises_names_the_file(read, name, reason):
    with pytest.raises(UserError, match=f'{name}.*cannot be read: .*{reason}'):
        read(FAULTS / name)


@READERS
@pytest.mark.parametrize('raised', [MemoryError(), KeyError('a\nb'), TypeError('x')])
def test_so_does_what_none_has_raised_yet(read, raised, photos, monkeypatch):
    def load(image):
        raise raised

    monkeypatch.setattr(ImageFile.ImageFile, 'load', load)
    with pytest.raises(UserError) as caught:
        read(photos[0])
    assert str(caught.value).endswith(type(raised).__name__ + f' {raised}'.rstrip())
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['z_res_as_text.jpg', 'fuzz_jpg_exif.jpg'])
def test_a_photo_is_turned_whatever_else_its_exif_says(name):
    lying = read_rgb(FAULTS / name)
    expected = lying.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(read_photo(FAULTS / name), expected)


@READERS
def test_documents_are_not_opened_whatever_they_are_called(tmp_path, read):
    path = tmp_path / 'script.jpg'
    coloured().save(path, 'EPS')
    with pytest.raises(UserError, match='cannot identify'):
        read(path)


@READERS
def test_a_missing_file_and_what_is_no_file_are_named(tmp_path, read):
    with pytest.raises(UserError, match=r'nowhere\.png.*does not exist'):
        read(tmp_path / 'nowhere.png')
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(UserError, match=r'pipe\.png.*no regular file'):
        read(tmp_path / 'pipe.png')
    with pytest.raises(UserError, match='no regular file'):
        read(tmp_path)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_photo_is_turned_upright(tmp_path, orientation):
    image = coloured()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, image, 'turned.png', exif=exif)
    pixels = np.asarray(image)
    turned = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    quarters = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    assert np.array_equal(read_photo(path), np.rot90(turned, quarters))
    assert read_rgb(path).size == (64, 48)


@READERS
def test_deep_gray_is_scaled_by_its_type(tmp_path, read):
    deep = {
        'gray.png': gradient().astype(np.uint16) * 257,
        'short.tif': gradient().astype(np.uint16) * 257,
        'long.tif': gradient().astype(np.int32) * 257,
        'real.tif': gradient().astype(np.float32) / 255,
    }
    for name, pixels in deep.items():
        image = read(saved(tmp_path, Image.fromarray(pixels), name))
        assert np.array_equal(np.asarray(image)[..., 1], gradient()), name


@READERS
@pytest.mark.parametrize(
    'pixels',
    [
        np.full((20, 20), 70_000, np.int32),
        np.full((20, 20), -1, np.int32),
        np.full((20, 20), 200, np.int32),
        np.full((20, 20), 200, np.uint16),
        np.full((20, 20), 200, np.float32),
        np.full((20, 20), np.nan, np.float32),
    ],
)
def test_unknown_ranges_are_refused(tmp_path, read, pixels):
    with pytest.raises(UserError, match=r'deep\.tif.*save it in 8'):
        read(saved(tmp_path, Image.fromarray(pixels), 'deep.tif'))


@READERS
@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGBA', 'CMYK', '1', 'YCbCr'])
def test_every_usual_mode_becomes_rgb(tmp_path, read, mode):
    # Pillow 12 cannot read a YCbCr TIFF that it has not compressed
    how = {'compression': 'tiff_lzw'} if mode in ('CMYK', 'YCbCr') else {}
    name = f'image.{"tif" if how else "png"}'
    path = saved(tmp_path, coloured().convert(mode), name, **how)
    image = read(path)
    assert image.mode == 'RGB' and image.size == (64, 48)
    assert np.array_equal(image, Image.open(path).convert('RGB'))
    assert np.corrcoef(np.asarray(image)[..., 0].ravel(), gradient().ravel())[0, 1] > (
        {'1': 0.5, 'P': 0.9}.get(mode, 0.99)
    )


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new('RGB', (32, 32), color) for color in ('red', 'blue')]
    path = saved(
        tmp_path, frames[0], 'moving.webp', save_all=True, append_images=frames[1:]
    )
    assert np.asarray(read_photo(path))[..., 0].mean() > 240


@pytest.mark.parametrize('size', [(1, 1), (7, 100), (30_000, 9), (129, 8)])
def test_slivers_are_refused_by_name(tmp_path, size):
    path = saved(tmp_path, Image.new('RGB', size))
    with pytest.raises(UserError, match=rf'image\.png.*{size[0]}x{size[1]} pixels'):
        read_photo(path)


@pytest.mark.parametrize('size', [(8, 8), (128, 8), (4_800, 300)])
def test_the_limits_themselves_are_usable(tmp_path, size):
    image = read_photo(saved(tmp_path, Image.new('RGB', size)))
    assert image.size == size


def test_a_decompression_bomb_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    path = saved(tmp_path, Image.new('1', (64, 64)), 'bomb.png')
    with pytest.raises(UserError, match=r'bomb\.png.*exceeds limit'):
        read_photo(path)


@pytest.mark.parametrize(
    ('size', 'expected'),
    [((90, 60), (48, 32)), ((60, 90), (32, 48)), ((8, 9), (32, 36))],
)
def test_the_shorter_side_is_resized(tmp_path, size, expected):
    image = Image.effect_noise(size, 40).convert('RGB')
    assert resize_shorter(image, 32).size == expected
    path = saved(tmp_path, image)
    assert read_resized(path, 32).shape == (*expected[::-1], 3)


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_walking_finds_subfolders_in_order_and_leaves_hidden_ones_out(tmp_path):
    touched(tmp_path, 'b/ä.PNG', 'a b.jpg', '.cache/x.png', 'b/c/d.tif', 'b/notes.txt')
    (tmp_path / 'folder.png').mkdir()
    assert walk_images(tmp_path) == ['a b.jpg', 'b/c/d.tif', 'b/ä.PNG']
    with pytest.raises(UserError, match=r"photos='nowhere'"):
        walk_images('nowhere', 'photos')
    with pytest.raises(UserError, match=r'no image in it .*\.avif, .*\.webp'):
        walk_images(tmp_path / 'folder.png')


@pytest.mark.parametrize(
    ('name', 'shortest'),
    [
        ('a.jpg', 'a.jpg'),
        ('./a.jpg', 'a.jpg'),
        ('b//..\\a.jpg', 'a.jpg'),
        ('{folder}/b/a.jpg', 'b/a.jpg'),
        ('../{name}/a.jpg', 'a.jpg'),
        ('../a.jpg', '../a.jpg'),
    ],
)
def test_the_shortest_way_to_write_a_path(tmp_path, name, shortest):
    name = name.format(folder=tmp_path, name=tmp_path.name)
    assert name_below(tmp_path, name) == shortest


def test_suffixes_are_those_of_the_formats_that_are_opened():
    known = set('.avif .gif .jp2 .jfif .mpo .pgm .tga .tif .jpg .png .webp'.split())
    assert known <= IMAGE_SUFFIXES
    assert not IMAGE_SUFFIXES & {'.eps', '.pdf', '.psd', '.fits', '.wmf'}


@pytest.fixture(scope='module')
def tangle(tmp_path_factory):
    """Links in circles, a pipe and links to nothing, between three images."""
    folder = tmp_path_factory.mktemp('tangle')
    photos = folder / 'photos'
    touched(photos, 'one.png', 'sub/two.png')
    touched(folder, 'elsewhere/three.png', 'four.png')
    for name, target in {
        'again': 'sub',
        'itself': 'itself',
        'itself.png': 'itself.png',
        'nothing.png': 'nowhere.png',
        'other': '../elsewhere',
        'otter': '../elsewhere',
        'sub/four.png': '../../four.png',
        'sub/parent': '..',
    }.items():
        (photos / name).symlink_to(target)
    os.mkfifo(photos / 'pipe.png')
    return photos


def test_each_folder_is_visited_once_and_only_files_count(tangle):
    names = ['one.png', 'other/three.png', 'sub/four.png', 'sub/two.png']
    assert walk_images(tangle) == names
    names = ['four.png', 'parent/one.png', 'parent/other/three.png', 'two.png']
    assert walk_images(tangle / 'again') == names


def test_a_folder_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path, monkeypatch, caplog
):
    touched(tmp_path, 'a.png', 'b/locked/c.png', 'd/e.png')
    real = os.scandir

    def scandir(path):
        if 'locked' in os.fspath(path):
            raise PermissionError(13, 'Permission denied')
        return real(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert walk_images(tmp_path) == walk_images(tmp_path) == ['a.png', 'd/e.png']
    assert [record.getMessage() for record in caplog.records] == [
        f'metaiqa: {str(tmp_path / "b/locked/")!r}'[:-1]
        + "/' is left out: Permission denied"
    ]
    with pytest.raises(UserError, match=r"photos=.*locked' cannot be read: Permission"):
        walk_images(tmp_path / 'b/locked', 'photos')


def test_a_folder_that_vanishes_is_left_out(tmp_path, caplog):
    touched(tmp_path, 'a.png', 'b/c.png', 'd.png')
    names = iterate_images(tmp_path)
    assert next(names) == 'a.png'
    shutil.rmtree(tmp_path / 'b')
    assert list(names) == ['d.png']
    assert 'No such file' in caplog.text
