"""Tests of the distortions: contract, effect and severity of each."""

import dataclasses
import doctest
import io
import itertools
import random
from importlib import resources

import cv2
import numpy as np
import pyiqa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.filters import threshold_multiotsu

from metaiqa_plugin.data import distortions
from metaiqa_plugin.data.distortions import (
    COMPOSITES,
    DISTORTIONS,
    KADID10K,
    LEVELS,
    LIVE_TYPES,
    TID2013_ABBREVIATIONS,
    TID2013_TYPES,
    chain_parts,
    distort,
    seed_key,
)
from metaiqa_plugin.data.distortions.spatial import (
    disk_kernel,
    line_kernel,
    multi_otsu,
)
from metaiqa_plugin.errors import UserError

# The types in order: a metric that sees the severity of each grow from level to level,
# and whether it is random (r) and keeps an image of one colour as it is (f).
EXPECTED = {
    'gaussian_blur': ('ssim', 'f'),
    'lens_blur': ('vif', 'f'),
    'motion_blur': ('vsi', 'rf'),
    'color_diffusion': ('psnr', ''),
    'color_shift': ('psnr', 'rf'),
    'color_quantization': ('psnr', ''),
    'color_saturation_1': ('psnr', ''),
    'color_saturation_2': ('psnr', ''),
    'jpeg2000': ('gmsd', ''),
    'jpeg': ('fsim', ''),
    'white_noise': ('vif', 'r'),
    'white_noise_color_component': ('psnr', 'r'),
    'impulse_noise': ('psnr', 'r'),
    'multiplicative_noise': ('nlpd', 'r'),
    'denoise': ('gmsd', 'r'),
    'brighten': ('nlpd', ''),
    'darken': ('psnr', ''),
    'mean_shift': (None, ''),
    'jitter': ('gmsd', 'rf'),
    'non_eccentricity_patch': ('psnr', 'rf'),
    'pixelate': ('gmsd', 'f'),
    'quantization': ('nlpd', 'f'),
    'color_block': ('psnr', 'r'),
    'high_sharpen': ('gmsd', 'f'),
    'contrast_change': (None, ''),
    'spatially_correlated_noise': ('vif', 'r'),
    'masked_noise': ('vif', 'r'),
    'high_frequency_noise': ('ssim', 'r'),
    'noisy_compression': ('gmsd', 'r'),
    'chromatic_aberration': ('fsim', 'rf'),
    'sparse_sampling': ('gmsd', 'rf'),
}
LOWER_IS_BETTER = {'gmsd', 'nlpd'}
NAMES = tuple(EXPECTED)
TID2013_NAMES = NAMES[25:]
SIZES = ((1, 1), (1, 2), (3, 5), (16, 16), (1, 40), (40, 1), (33, 31))

of_each_type = pytest.mark.parametrize('name', NAMES)


@pytest.fixture(scope='module')
def photos():
    """Three photos of 384x256 pixels."""
    folder = resources.files('metaiqa_plugin') / 'photos' / 'kodak24'
    loaded = []
    for name in ('05', '15', '23'):
        with (folder / f'{name}.webp').open('rb') as file, Image.open(file) as photo:
            pixels = np.asarray(photo.convert('RGB'))
        loaded.append(cv2.resize(pixels, (384, 256), interpolation=cv2.INTER_AREA))
    return loaded


@pytest.fixture(scope='module')
def photo(photos):
    return photos[0]


@pytest.fixture(scope='module')
def small(photo):
    """96x64 pixels with edges and texture."""
    return cv2.resize(photo, (96, 64), interpolation=cv2.INTER_AREA)


def noise_image(height, width, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat_image(value, height=64, width=96):
    return np.full((height, width, 3), value, dtype=np.uint8)


def max_difference(image, other):
    return int(np.abs(image.astype(int) - other.astype(int)).max())


def mean_square(image, other):
    return float(np.mean((image.astype(float) - other.astype(float)) ** 2))


def levels_of(name):
    """Pairs of a level and its parameter."""
    return zip(LEVELS, DISTORTIONS[name].levels, strict=True)


def residual(image, name, level, seed=0):
    return distort(image, name, level, seed).astype(float) - image


# --- Table ---------------------------------------------------------------------


def test_the_table_holds_the_types_of_kadid10k_in_order_then_the_others():
    assert NAMES[:25] == KADID10K
    assert tuple(DISTORTIONS) == NAMES
    numbers = [kind.number for kind in DISTORTIONS.values()]
    assert numbers == [*range(1, 26), 103, 104, 105, 121, 123, 124]
    assert all(name == kind.name for name, kind in DISTORTIONS.items())
    abbreviations = {kind.abbreviation for kind in DISTORTIONS.values()}
    assert len(abbreviations) == len(NAMES)


@pytest.mark.parametrize(
    ('name', 'levels'),
    [
        ('gaussian_blur', (0.1, 0.5, 1, 2, 5)),
        ('color_saturation_1', (0.4, 0.2, 0.1, 0, -0.4)),
        ('jpeg2000', (16, 32, 45, 120, 170)),
        ('jpeg', (43, 36, 24, 7, 4)),
        ('white_noise', (0.001, 0.002, 0.003, 0.005, 0.01)),
        ('mean_shift', (0.15, 0.08, 0, -0.08, -0.15)),
        ('contrast_change', (0.3, 0.15, 0, -0.4, -0.6)),
        ('masked_noise', (33, 30, 27, 24, 21)),
        ('high_frequency_noise', (33, 30, 25, 20, 15)),
        ('chromatic_aberration', (33, 28, 25, 23, 21)),
    ],
)
def test_the_parameters_are_the_published_ones(name, levels):
    assert DISTORTIONS[name].levels == levels


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        DISTORTIONS['jpeg'] = DISTORTIONS['jitter']
    with pytest.raises(dataclasses.FrozenInstanceError):
        DISTORTIONS['jpeg'].number = 1


def test_the_documented_example_runs():
    result = doctest.testmod(distortions)
    assert result.attempted > 5
    assert result.failed == 0


def test_a_distortion_needs_five_levels_and_a_function_that_keeps_the_contract():
    with pytest.raises(ValueError, match=r"levels of distortion 'jpeg'.*5.*\(1, 2\)"):
        dataclasses.replace(DISTORTIONS['jpeg'], levels=(1, 2))
    broken = dataclasses.replace(
        DISTORTIONS['jpeg'], name='broken', function=lambda image, *_: image / 255
    )
    with pytest.raises(RuntimeError, match="'broken' must return uint8"):
        distort(flat_image(0), broken, 1)


def test_names_of_other_databases_lead_to_types():
    assert set(TID2013_TYPES.values()) <= set(NAMES)
    assert set(LIVE_TYPES) == {'GB', 'GN', 'JPEG', 'JP2K'}
    assert set(LIVE_TYPES.values()) <= set(KADID10K)
    assert list(TID2013_ABBREVIATIONS) == list(range(1, 25))
    assert set(range(1, 25)) - set(TID2013_TYPES) == {12, 13, 20}
    for number, name in TID2013_TYPES.items():
        if name not in KADID10K:
            assert DISTORTIONS[name].number == 100 + number
    rank_iqa = (1, 2, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23)
    assert len({TID2013_TYPES[number] for number in rank_iqa}) == 17
    with pytest.raises(TypeError):
        TID2013_TYPES[12] = 'jpeg'


def test_abbreviations_agree_with_the_tables_of_facts():
    folder = resources.files('metaiqa_plugin.data') / 'facts'
    for line in (folder / 'tid2013_mos_by_type_and_level.csv').open().readlines()[1:]:
        number, abbreviation = line.split(',')[:2]
        assert TID2013_ABBREVIATIONS[int(number)] == abbreviation


# --- Contract of distort -------------------------------------------------------


@pytest.mark.parametrize('name', [*NAMES, *COMPOSITES])
def test_every_size_keeps_its_shape(name):
    for size in SIZES:
        image = noise_image(*size)
        before = image.copy()
        for level in (1, 2.5, 5):
            distorted = distort(image, name, level)
            assert distorted.shape == image.shape
            assert distorted.dtype == np.uint8
            assert distorted.flags.writeable
            np.testing.assert_array_equal(image, before)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from((*NAMES, *COMPOSITES)),
    level=st.one_of(st.sampled_from(LEVELS), st.floats(1, 5)),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    content=st.integers(0, 9),
    seed=st.integers(0, 2**32),
)
def test_any_small_image_is_distorted_deterministically_and_left_alone(
    name, level, height, width, content, seed
):
    image = noise_image(height, width, content)
    before = image.copy()
    first = distort(image, name, level, seed)
    again = distort(image, name, level, np.random.default_rng(seed))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(first, image)


@pytest.mark.parametrize('name', [*NAMES, *COMPOSITES])
def test_pil_images_and_strided_ones_give_what_arrays_give(name, small):
    mirrored = small[::2, ::-2]
    mirrored.flags.writeable = False
    expected = distort(np.ascontiguousarray(mirrored), name, 4, 3)
    np.testing.assert_array_equal(distort(mirrored, name, 4, 3), expected)
    picture = Image.fromarray(np.ascontiguousarray(mirrored))
    distorted = distort(picture, name, 4, 3)
    assert isinstance(distorted, Image.Image) and distorted.mode == 'RGB'
    np.testing.assert_array_equal(distorted, expected)
    np.testing.assert_array_equal(picture, mirrored)


@of_each_type
def test_the_seed_matters_only_to_random_types(name, small):
    same = np.array_equal(distort(small, name, 5, 1), distort(small, name, 5, 2))
    assert same == ('r' not in EXPECTED[name][1])


def test_global_random_states_are_neither_read_nor_changed(small):
    numpy_before = np.random.get_state()[1].tolist()
    python_before = random.getstate()
    torch_before = torch.get_rng_state()
    made = [distort(small, name, 5) for name in NAMES]
    assert np.random.get_state()[1].tolist() == numpy_before
    assert random.getstate() == python_before
    assert torch.equal(torch.get_rng_state(), torch_before)
    random.random()
    np.random.random()
    for name, first in zip(NAMES, made, strict=True):
        np.testing.assert_array_equal(first, distort(small, name, 5))


def test_numpy_integers_are_levels_and_seeds(small):
    expected = distort(small, 'white_noise', 2, 7)
    given_as_numpy = distort(small, 'white_noise', np.int64(2), np.uint32(7))
    np.testing.assert_array_equal(given_as_numpy, expected)


@pytest.mark.parametrize('name', ['white_noise', 'white_noise+jpeg'])
def test_a_generator_is_advanced(name, small):
    generator = np.random.default_rng(2)
    first, second = (distort(small, name, 2, generator) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, distort(small, name, 2, 2))


# --- Errors --------------------------------------------------------------------


WRONG = {
    'distortion': [
        ('jpg', r"distortion='jpg': .*'jpeg'"),
        ('Gausian Blur', r"distortion='Gausian Blur': .*'gaussian_blur'"),
        ('xyz', r"distortion='xyz': .*known.*'jitter'"),
        (10, r'distortion=10: .* not int'),
        ('jpeg+', r"'jpeg\+'.*both sides"),
        ('+jpeg', r"'\+jpeg'.*both sides"),
        ('jpeg++jitter', r'both sides'),
        ('+', r'both sides'),
        ('', r"distortion='': "),
        ('jpeg+jpg', r"distortion='jpg': .*'jpeg'"),
        ('jpeg + jitter', r"distortion='jpeg ': "),
        ('jpeg+jpeg', r"'jpeg\+jpeg'.*must differ"),
        ('jpeg+jitter+jpeg', r'must differ.*higher level'),
        ('jpeg+jitter+darken+pixelate', r'two or three parts, got 4'),
    ],
    'level': [
        (0, r'level=0: .*1 to 5'),
        (6, r'level=6: .*1 to 5'),
        (5.1, r'level=5\.1: .*1 to 5'),
        (0.999, r'level=0\.999: .*1 to 5'),
        (float('nan'), r'level=nan: .*1 to 5'),
        (float('inf'), r'level=inf: .*1 to 5'),
        (True, r'level=True: '),
        (np.True_, r'level=.*True.*: '),
        (None, r'level=None: '),
        ('3', r"level='3': "),
    ],
    'rng': [
        (-1, r'rng .*-1'),
        (None, r'rng .*None'),
        (True, r'rng .*True'),
        (1.5, r'rng .*1\.5'),
    ],
    'image': [
        ([[0]], r'image .*list'),
        ('photo.png', r'image .*str'),
        (np.zeros((4, 4, 3)), r'image .*uint8.*float64'),
        (np.zeros((4, 4), np.uint8), r'image .*\(4, 4\)'),
        (np.zeros((3, 4, 4), np.uint8), r'image .*\(3, 4, 4\)'),
        (np.zeros((4, 4, 4), np.uint8), r'image .*\(4, 4, 4\)'),
        (np.zeros((0, 4, 3), np.uint8), r'image .*empty'),
        (Image.new('L', (4, 4)), r"'L'.*convert\('RGB'\)"),
        (Image.new('RGBA', (4, 4)), r"'RGBA'.*convert"),
        (Image.new('P', (4, 4)), r"'P'.*convert"),
        (Image.new('RGB', (0, 4)), r'image .*empty'),
    ],
}


@pytest.mark.parametrize(
    ('argument', 'value', 'message'),
    [(argument, *case) for argument, cases in WRONG.items() for case in cases],
)
def test_a_wrong_argument_is_named(argument, value, message):
    right = {'image': flat_image(9), 'distortion': 'jpeg', 'level': 1, 'rng': 0}
    with pytest.raises(UserError, match=message):
        distort(**(right | {argument: value}))


# --- Severity ------------------------------------------------------------------


def severities(name, photos, metric_name):
    """Mean severity of levels 1 to 5 by a metric, signed so that worse is more."""
    photos = [photo[64:192, 96:288] for photo in photos]
    metric = pyiqa.create_metric(metric_name, device='cpu')
    reference = as_batch(photos)
    sign = 1 if metric_name in LOWER_IS_BETTER else -1
    values = []
    for level in LEVELS:
        distorted = [
            distort(photo, name, level, seed) for seed, photo in enumerate(photos)
        ]
        with torch.no_grad():
            scores = metric(as_batch(distorted), reference)
        values.append(sign * float(scores.mean()))
    return values


def as_batch(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize('name', [name for name in NAMES if EXPECTED[name][0]])
def test_severity_grows_with_the_level(name, photos):
    values = severities(name, photos, EXPECTED[name][0])
    assert all(milder < worse for milder, worse in itertools.pairwise(values)), values


@pytest.mark.parametrize(
    ('name', 'metric'),
    [('mean_shift', 'psnr'), ('mean_shift', 'nlpd'), ('contrast_change', 'gmsd')],
)
def test_two_types_grow_away_from_their_third_level(name, metric, photos):
    values = severities(name, photos, metric)
    assert values[0] > values[1] > values[2] < values[3] < values[4]


def test_contrast_change_raises_then_lowers_contrast(photo):
    spreads = [distort(photo, 'contrast_change', level).std() for level in LEVELS]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[2] > photo.std() > spreads[3]


@pytest.mark.parametrize('name', ['jpeg', 'white_noise', 'jitter', 'noisy_compression'])
def test_between_levels_severity_lies_between(name, small):
    errors = [
        mean_square(distort(small, name, level, 1), small) for level in (3, 3.5, 4)
    ]
    assert errors[0] < errors[1] < errors[2]


# --- Single types --------------------------------------------------------------


@pytest.mark.parametrize('name', [name for name in NAMES if 'f' in EXPECTED[name][1]])
def test_flat_images_stay_flat_to_the_border(name):
    image = flat_image((200, 120, 60))
    for level in LEVELS:
        assert max_difference(distort(image, name, level), image) <= 1


@pytest.mark.parametrize(
    ('name', 'level', 'tolerance'),
    [
        ('gaussian_blur', 1, 0),
        ('motion_blur', 1, 0),
        ('color_saturation_2', 1, 1),
        ('mean_shift', 3, 0),
    ],
)
def test_levels_that_keep_the_image(name, level, tolerance, photo):
    assert max_difference(distort(photo, name, level), photo) <= tolerance


@pytest.mark.parametrize('radius', [1, 2, 4, 6, 8])
def test_the_disk_has_its_radius(radius):
    kernel = disk_kernel(radius)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    variance = (kernel.sum(axis=0) * offsets**2).sum()
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1])
    assert variance == pytest.approx(radius**2 / 4 + 1 / 12, abs=0.1)


@pytest.mark.parametrize('length', [2, 4, 6, 10])
@pytest.mark.parametrize('degrees', [0, 30, 45, 90, 135, 179])
def test_the_line_has_its_length_and_angle(length, degrees):
    angle = np.radians(degrees)
    kernel = line_kernel(length, angle)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    y, x = np.meshgrid(-offsets, offsets, indexing='ij')
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel * along).sum() == pytest.approx(0, abs=1e-5)
    assert (kernel * along**2).sum() == pytest.approx(length**2 / 12, abs=0.3)
    assert (kernel * across**2).sum() < 0.3


def test_jpeg_is_pillows_round_trip(photo):
    for level, quality in levels_of('jpeg'):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, format='JPEG', quality=quality)
        np.testing.assert_array_equal(distort(photo, 'jpeg', level), Image.open(buffer))


def test_jpeg2000_is_pillows_round_trip_at_its_ratio(photo):
    for level, ratio in levels_of('jpeg2000'):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(
            buffer,
            format='JPEG2000',
            quality_mode='rates',
            quality_layers=[ratio],
            irreversible=True,
            mct=1,
        )
        assert photo.nbytes / len(buffer.getvalue()) == pytest.approx(ratio, rel=0.05)
        np.testing.assert_array_equal(
            distort(photo, 'jpeg2000', level), Image.open(buffer)
        )


def test_white_noise_has_its_variance():
    for level, expected in levels_of('white_noise'):
        image = flat_image(128, 200, 200)
        residual = (distort(image, 'white_noise', level).astype(float) - 128) / 255
        assert residual.var() == pytest.approx(expected, rel=0.05)
        assert abs(residual.mean()) < 0.002
        assert (
            abs(np.corrcoef(residual[..., 0].ravel(), residual[..., 1].ravel())[0, 1])
            < 0.03
        )


def test_noise_in_color_components_has_its_variance():
    for level, expected in levels_of('white_noise_color_component'):
        image = flat_image(128, 200, 200)
        noisy = distort(image, 'white_noise_color_component', level)
        luma = noisy.astype(float) @ (0.299, 0.587, 0.114) / 255
        assert luma.var() == pytest.approx(expected * (255 / 219) ** 2, rel=0.1)


def test_impulse_noise_has_its_density():
    for level, density in levels_of('impulse_noise'):
        image = flat_image(128, 300, 300)
        noisy = distort(image, 'impulse_noise', level)
        assert set(np.unique(noisy)) <= {0, 128, 255}
        assert (noisy != 128).mean() == pytest.approx(density, rel=0.15)
        assert (noisy == 255).mean() == pytest.approx(density / 2, rel=0.25)


def test_multiplicative_noise_is_proportional():
    for level, variance in levels_of('multiplicative_noise'):
        for value in (40, 80):
            image = np.full((200, 200, 3), value, dtype=np.uint8)
            noisy = distort(image, 'multiplicative_noise', level).astype(float)
            assert (noisy / value).std() == pytest.approx(variance**0.5, rel=0.06)
        assert not distort(flat_image(0), 'multiplicative_noise', level).any()


def test_denoise_removes_the_noise_it_adds():
    image = flat_image(128, 128, 128)
    for level in LEVELS:
        noisy = distort(image, 'white_noise', level).astype(float)
        denoised = distort(image, 'denoise', level).astype(float)
        assert denoised.std() < 0.5 * noisy.std()


def test_denoise_takes_texture_away(photo):
    def detail(image):
        return float(cv2.Laplacian(image, cv2.CV_32F).std())

    assert detail(distort(photo, 'denoise', 5)) < 0.5 * detail(photo)


@pytest.mark.parametrize('name', ['brighten', 'darken', 'contrast_change'])
def test_curves_keep_black_and_white(name):
    for level in LEVELS:
        for value in (0, 255):
            image = flat_image(value)
            assert max_difference(distort(image, name, level), image) <= 1


@pytest.mark.parametrize(('name', 'sign'), [('brighten', 1), ('darken', -1)])
def test_curves_move_middle_gray_as_stated(name, sign):
    for level, strength in levels_of(name):
        moved = distort(flat_image(128), name, level).mean() / 255
        expected = np.clip(0.5 + sign * strength / 2, 0, 1)
        assert moved == pytest.approx(expected, abs=0.03)


def test_mean_shift_adds_its_offset():
    means = [distort(flat_image(128), 'mean_shift', level).mean() for level in LEVELS]
    assert means == pytest.approx([166, 148, 128, 108, 90], abs=1)


def test_color_saturation_1_matches_hsv_and_keeps_value(photo):
    hsv = cv2.cvtColor(photo.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    for level in (1, 2, 3, 4):
        distorted = distort(photo, 'color_saturation_1', level)
        scaled = hsv * np.float32(
            (1, DISTORTIONS['color_saturation_1'].levels[level - 1], 1)
        )
        expected = 255 * cv2.cvtColor(scaled, cv2.COLOR_HSV2RGB)
        assert np.abs(distorted - expected).max() < 1
        np.testing.assert_array_equal(distorted.max(axis=2), photo.max(axis=2))
    gray = distort(photo, 'color_saturation_1', 4)
    assert np.ptp(gray, axis=2).max() == 0


def test_a_negative_saturation_turns_hues_into_their_opposites():
    red = flat_image((200, 100, 100))
    red, green, blue = distort(red, 'color_saturation_1', 5)[0, 0].astype(int)
    assert red < green == blue


def test_color_saturation_2_strengthens_color_and_keeps_gray():
    gray = flat_image(90)
    muted = flat_image((120, 110, 100))
    spreads = []
    for level in LEVELS:
        assert max_difference(distort(gray, 'color_saturation_2', level), gray) <= 1
        spreads.append(np.ptp(distort(muted, 'color_saturation_2', level)[0, 0]))
    assert spreads == sorted(set(spreads))


def test_color_diffusion_keeps_lightness_at_its_first_level(photo):
    def lightness(image):
        return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0]

    diffused = distort(photo, 'color_diffusion', 1)
    assert np.abs(lightness(diffused) - lightness(photo)).mean() < 1
    assert max_difference(diffused, photo) > 20


def test_color_shift_moves_green_alone(photo):
    shifted = distort(photo, 'color_shift', 5)
    np.testing.assert_array_equal(shifted[..., [0, 2]], photo[..., [0, 2]])
    assert max_difference(shifted[..., 1], photo[..., 1]) > 100


def test_color_shift_leaves_flat_areas_alone():
    image = np.zeros((128, 256, 3), dtype=np.uint8)
    image[:, 64:] = 200
    for level in LEVELS:
        shifted = distort(image, 'color_shift', level)
        np.testing.assert_array_equal(shifted[:, 128:], image[:, 128:])


def test_color_quantization_keeps_its_number_of_colors(photo):
    for level, expected in levels_of('color_quantization'):
        colors = np.unique(
            distort(photo, 'color_quantization', level).reshape(-1, 3), axis=0
        )
        assert 0.9 * expected <= len(colors) <= expected


@pytest.mark.parametrize('level', LEVELS)
def test_quantization_keeps_its_number_of_levels(level, photo):
    quantized = distort(photo, 'quantization', level)
    assert len(np.unique(quantized)) == DISTORTIONS['quantization'].levels[level - 1]
    assert quantized.mean() == pytest.approx(photo.mean(), abs=0.5)


@pytest.mark.parametrize('classes', [2, 3, 4])
def test_multi_otsu_agrees_with_scikit_image(classes, photos):
    for photo in photos:
        histogram = np.bincount(photo.ravel(), minlength=256)
        counts = (histogram, np.arange(256))
        expected = threshold_multiotsu(hist=counts, classes=classes)
        found = multi_otsu(histogram, classes)
        assert [start - 1 for start in found] == list(expected)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    classes=st.integers(1, 5),
)
def test_multi_otsu_is_optimal(counts, classes):
    histogram = np.array(counts)

    def within(thresholds):
        total = 0.0
        edges = (0, *thresholds, len(counts))
        for start, stop in itertools.pairwise(edges):
            values = np.repeat(np.arange(start, stop), histogram[start:stop])
            total += values.var() * len(values) if len(values) else 0.0
        return total

    starts = itertools.combinations_with_replacement(
        range(len(counts) + 1), classes - 1
    )
    best = min(within(candidate) for candidate in starts)
    found = multi_otsu(histogram, classes)
    assert len(found) == classes - 1
    assert found == sorted(found)
    assert within(tuple(found)) == pytest.approx(best, abs=1e-6)


def test_color_blocks_are_solid_squares(photo):
    for level, blocks in levels_of('color_block'):
        changed = (distort(photo, 'color_block', level) != photo).any(axis=2)
        assert 1024 * blocks / 2 < changed.sum() <= 1024 * blocks
        assert (
            len(np.unique(distort(photo, 'color_block', level)[changed], axis=0))
            <= blocks
        )


def test_patches_come_from_nearby():
    for level, patches in levels_of('non_eccentricity_patch'):
        rows, columns = np.indices((256, 192), dtype=np.uint8)
        image = np.stack([rows, columns, np.zeros_like(rows)], axis=2)
        patched = distort(image, 'non_eccentricity_patch', level)
        moved = np.abs(patched.astype(int) - image)
        assert moved.max() == 8
        assert 0 < moved.any(axis=2).sum() <= 256 * patches


def test_pixelate_has_its_relative_size():
    for level, strength in levels_of('pixelate'):
        columns = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (16, 256, 3))
        pixelated = distort(columns.copy(), 'pixelate', level)
        remaining = len(np.unique(pixelated))
        assert remaining == int((0.95 - strength**0.6) * 256)


def test_jitter_displaces_by_its_amount():
    ramp = np.arange(0, 256, 2, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (64, 1))] * 3, axis=2)
    for level, amount in levels_of('jitter'):
        moved = (distort(image, 'jitter', level).astype(float) - image) / 2
        inner = moved[16:-16, 16:-16, 0]
        assert abs(inner.mean()) < 0.1
        if level > 1:
            assert amount < inner.std() < 5**0.5 * amount + 0.2


def test_high_sharpen_overshoots_at_edges():
    image = flat_image(100)
    image[:, 48:] = 150
    overshoots = []
    for level in LEVELS:
        sharpened = distort(image, 'high_sharpen', level)
        overshoots.append(int(sharpened.max()) - int(sharpened.min()))
        assert max_difference(sharpened[:, :32], image[:, :32]) <= 1
    assert overshoots == sorted(overshoots)
    assert overshoots[0] > 60


# --- Levels between the five ---------------------------------------------------


@of_each_type
def test_a_whole_level_is_the_tables_whatever_its_type(name, small):
    kind = DISTORTIONS[name]
    for level, value in zip(LEVELS, kind.levels, strict=True):
        found = kind.value_at(float(level))
        assert found == value and type(found) is type(value)
    expected = kind.function(small.copy(), kind.levels[3], np.random.default_rng(3))
    for same in (4, 4.0, np.float64(4), np.int16(4)):
        np.testing.assert_array_equal(distort(small, name, same, 3), expected)


@pytest.mark.parametrize(
    ('name', 'level', 'value'),
    [
        ('gaussian_blur', 1.5, 0.3),
        ('gaussian_blur', 4.25, 2.75),
        ('mean_shift', 2.5, 0.04),
        ('jpeg2000', 3.2, 60),
        ('jpeg', 1.5, 40),
        ('jpeg', 3.5, 16),
        ('color_quantization', 4.9, 9),
        ('non_eccentricity_patch', 1.01, 20),
        ('quantization', 1.5, 18),
        ('color_block', 4.9, 10),
        ('high_frequency_noise', 2.5, 27.5),
    ],
)
def test_between_levels_the_parameter_is_linear(name, level, value):
    found = DISTORTIONS[name].value_at(level)
    assert found == pytest.approx(value)
    assert isinstance(found, int) == DISTORTIONS[name].whole


def test_whole_parameters_are_marked_where_the_table_holds_counts():
    whole = {name for name, kind in DISTORTIONS.items() if kind.whole}
    assert whole == {
        'color_quantization',
        'jpeg',
        'non_eccentricity_patch',
        'quantization',
        'color_block',
    }


def test_the_function_gets_the_interpolated_parameter():
    seen = []

    def watch(image, value, rng):
        seen.append(value)
        return image

    watched = dataclasses.replace(DISTORTIONS['lens_blur'], function=watch)
    for level in (1, 1.25, 3, 4.5, 5):
        distort(flat_image(0), watched, level)
    assert seen == [1, 1.25, 4, 7, 8]


# --- Chains --------------------------------------------------------------------


def test_a_chain_applies_its_parts_in_order(small):
    chained = distort(small, 'darken+pixelate+jpeg', 3)
    expected = small
    for name in ('darken', 'pixelate', 'jpeg'):
        expected = distort(expected, name, 3)
    np.testing.assert_array_equal(chained, expected)
    assert max_difference(chained, distort(small, 'jpeg+pixelate+darken', 3)) > 20


def test_each_part_of_a_chain_has_its_own_generator(small):
    seeds = np.random.default_rng(5).integers(2**63, size=2)
    expected = small
    for name, seed in zip(('motion_blur', 'white_noise'), seeds, strict=True):
        expected = distort(expected, name, 4, np.random.default_rng(seed))
    np.testing.assert_array_equal(
        distort(small, 'motion_blur+white_noise', 4, 5), expected
    )
    noise_alone = distort(flat_image(9), 'white_noise', 4, np.random.default_rng(5))
    chained = distort(flat_image(9), 'mean_shift+white_noise', 3, 5)
    assert not np.array_equal(noise_alone, chained)


def test_composites_are_chains_of_different_known_types():
    assert len(set(COMPOSITES)) == len(COMPOSITES) >= 6
    for name in COMPOSITES:
        parts = [kind.name for kind in chain_parts(name)]
        assert '+'.join(parts) == name
        assert 2 <= len(parts) <= 3
    assert chain_parts('jpeg') == (DISTORTIONS['jpeg'],)


def test_seed_keys_tell_types_chains_and_levels_apart():
    assert seed_key('jpeg', 3) == seed_key('jpeg', 3.0) == (10, 3)
    assert seed_key('motion_blur+jpeg', 2) == (3, 10, 2)
    assert seed_key('jpeg', 2.5) == (10, 2500)
    levels = (1, 1.001, 1.5, 2, 3, 4.999, 5)
    names = (*NAMES, *COMPOSITES, 'jpeg+motion_blur')
    keys = {seed_key(name, level) for name in names for level in levels}
    assert len(keys) == len(names) * len(levels)
    assert all(type(number) is int for key in keys for number in key)
    with pytest.raises(ValueError, match=r'level=5\.1: '):
        seed_key('jpeg', 5.1)


# --- The types of TID2013 ------------------------------------------------------


def psnr(image, other):
    return 10 * float(np.log10(255**2 / mean_square(image, other)))


@pytest.mark.parametrize('name', TID2013_NAMES)
@pytest.mark.parametrize('level', [1, 3.5, 5])
def test_the_psnr_is_the_levels(name, level, photos):
    for seed, photo in enumerate(photos[1:]):
        reached = psnr(distort(photo, name, level, seed), photo)
        assert reached == pytest.approx(DISTORTIONS[name].value_at(level), abs=0.3)


@pytest.mark.parametrize('name', TID2013_NAMES)
def test_one_gray_is_no_trouble(name):
    for value in (0, 128, 255):
        image = flat_image(value)
        distorted = distort(image, name, 4)
        if (distorted != image).any():
            assert psnr(distorted, image) > DISTORTIONS[name].value_at(4) - 0.3


def test_clipped_noise_still_has_its_psnr():
    black = flat_image(0)
    for name in ('spatially_correlated_noise', 'high_frequency_noise'):
        for level in LEVELS:
            reached = psnr(distort(black, name, level), black)
            expected = DISTORTIONS[name].value_at(level)
            assert reached == pytest.approx(expected, abs=0.3)


def test_correlated_noise_is_correlated_between_neighbours_only():
    image = flat_image(128, 256, 256)
    noise = residual(image, 'spatially_correlated_noise', 3)

    def correlation(first, second):
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])

    assert correlation(noise[:, 1:], noise[:, :-1]) == pytest.approx(2 / 3, abs=0.03)
    assert correlation(noise[1:], noise[:-1]) == pytest.approx(2 / 3, abs=0.03)
    assert abs(correlation(noise[:, 4:], noise[:, :-4])) < 0.05
    assert abs(correlation(noise[..., 0], noise[..., 1])) < 0.05
    assert abs(noise.mean()) < 1


@pytest.mark.parametrize('level', [1, 3, 5])
def test_high_frequency_noise_has_no_low_frequencies(level):
    image = flat_image(128, 192, 256)
    noise = residual(image, 'high_frequency_noise', level)
    power = np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2
    down, across = np.fft.fftfreq(192)[:, None], np.fft.fftfreq(256)[None, :]
    low = np.hypot(down, across) <= 0.25
    share = power[low].sum() / power.sum()
    assert share < (0.02 if level < 5 else 0.05)  # rounding and clipping are white
    assert 0.1 < low.mean() < 0.3
    assert power[np.hypot(down, across) > 0.5].sum() > 0.1 * power.sum()


def test_masked_noise_is_where_the_texture_is():
    image = flat_image(128, 128, 128)
    image[:, 64:] += noise_image(128, 64)[..., :1] // 4
    noise = residual(image, 'masked_noise', 3)
    assert noise[:, 64:].std() > 5 * noise[:, :64].std()
    assert noise[:, :64].std() > 0.1


def test_masked_noise_keeps_the_mean_of_each_block(photo):
    muted = photo // 2 + 64  # far from black and white, so nothing is clipped
    spread = []
    for name in ('masked_noise', 'spatially_correlated_noise'):
        noise = residual(muted, name, 2)
        spread.append(noise.reshape(32, 8, 48, 8, 3).mean(axis=(1, 3)).std())
    assert spread[0] < 0.05 < 1 < spread[1]


def test_masked_noise_prefers_the_frequencies_that_jpeg_coarsens():
    image = flat_image(128, 256, 256)
    noise = residual(image, 'masked_noise', 4)
    blocks = noise.reshape(32, 8, 32, 8, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 8, 8)
    strength = np.mean([cv2.dct(block) ** 2 for block in blocks], axis=0) ** 0.5
    for (row, column), step in {
        (0, 1): 11,
        (1, 0): 12,
        (7, 7): 99,
        (4, 5): 109,
    }.items():
        relative = strength[row, column] / strength[0, 7] * 61
        assert relative == pytest.approx(step, rel=0.15)


@pytest.mark.parametrize('level', [2, 5])
def test_chromatic_aberration_moves_red_and_blue_at_right_angles(level):
    image = np.zeros((192, 256, 3), dtype=np.uint8)
    image[80:112, 112:144] = 255
    for seed in range(4):
        moved = distort(image, 'chromatic_aberration', level, seed)
        np.testing.assert_array_equal(moved[..., 1], image[..., 1])
        red, green, blue = (centre(moved[..., channel]) for channel in range(3))
        lengths = np.hypot(*(red - green)), np.hypot(*(blue - green))
        assert lengths[0] == pytest.approx(lengths[1], abs=0.1)
        assert lengths[0] > 0.3
        cosine = (red - green) @ (blue - green) / np.prod(lengths)
        assert abs(cosine) < 0.1


def centre(channel):
    rows, columns = np.indices(channel.shape)
    weight = channel / channel.sum(dtype=float)
    return np.array([(rows * weight).sum(), (columns * weight).sum()])


def test_chromatic_aberration_takes_the_least_shift_that_will_do():
    stripes = np.zeros((64, 256, 3), dtype=np.uint8)
    stripes[:, ::16] = 255
    moved = distort(stripes, 'chromatic_aberration', 2, 0)
    columns = np.flatnonzero(moved[32, :, 0].astype(int) > 40)
    assert np.min(np.abs(columns[:, None] - np.arange(0, 256, 16)), axis=1).max() <= 2


@pytest.mark.parametrize('level', [1, 3, 5])
def test_sparse_sampling_keeps_some_pixels_and_smooths_the_others(level, photo):
    sampled = distort(photo, 'sparse_sampling', level)
    kept = (sampled == photo).all(axis=2)
    assert 0 < kept.mean() < 1
    detail = cv2.Laplacian(sampled, cv2.CV_32F)[~kept].std()
    assert detail < cv2.Laplacian(photo, cv2.CV_32F)[~kept].std()


def test_a_lower_target_keeps_a_subset_of_the_samples(photo):
    noise = noise_image(96, 96)
    kept = [
        (distort(noise, 'sparse_sampling', level) == noise).all(axis=2)
        for level in (1, 3, 5)
    ]
    assert kept[0].sum() > kept[1].sum() > kept[2].sum()
    assert (kept[2] & ~kept[0]).mean() < 0.01


def test_noisy_compression_takes_the_noise_out_of_flat_areas():
    image = flat_image(128, 128, 128)
    image[:, 64:] = noise_image(128, 64)[..., :1]
    error = residual(image, 'noisy_compression', 4)
    assert error[:, :48].std() < 0.5 * error[:, 64:].std()


def test_noisy_compression_steps_at_the_borders_of_blocks(photo):
    def excess(image):
        steps = np.median(np.abs(np.diff(image.astype(float), axis=1)), axis=(0, 2))
        borders = np.arange(7, len(steps), 8)
        return steps[borders].mean() / np.delete(steps, borders).mean()

    assert excess(photo) < 1.1
    assert excess(distort(photo, 'noisy_compression', 5)) > 1.5
