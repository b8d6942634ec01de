"""Tests of the 25 distortions: contract, effect and severity of each."""

from __future__ import annotations

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
from metaiqa_plugin.data.distortions import DISTORTIONS, LEVELS, Distortion, distort
from metaiqa_plugin.data.distortions.blur import disk_kernel, line_kernel
from metaiqa_plugin.data.distortions.spatial import multi_otsu

NAMES = (
    'gaussian_blur',
    'lens_blur',
    'motion_blur',
    'color_diffusion',
    'color_shift',
    'color_quantization',
    'color_saturation_1',
    'color_saturation_2',
    'jpeg2000',
    'jpeg',
    'white_noise',
    'white_noise_color_component',
    'impulse_noise',
    'multiplicative_noise',
    'denoise',
    'brighten',
    'darken',
    'mean_shift',
    'jitter',
    'non_eccentricity_patch',
    'pixelate',
    'quantization',
    'color_block',
    'high_sharpen',
    'contrast_change',
)

# Types whose severity grows from level to level, each with a metric that sees it.
GROWING = {
    'gaussian_blur': 'ssim',
    'lens_blur': 'vif',
    'motion_blur': 'vsi',
    'color_diffusion': 'psnr',
    'color_shift': 'psnr',
    'color_quantization': 'psnr',
    'color_saturation_1': 'psnr',
    'color_saturation_2': 'psnr',
    'jpeg2000': 'gmsd',
    'jpeg': 'fsim',
    'white_noise': 'vif',
    'white_noise_color_component': 'psnr',
    'impulse_noise': 'psnr',
    'multiplicative_noise': 'nlpd',
    'denoise': 'gmsd',
    'brighten': 'nlpd',
    'darken': 'psnr',
    'jitter': 'gmsd',
    'non_eccentricity_patch': 'psnr',
    'pixelate': 'gmsd',
    'quantization': 'nlpd',
    'color_block': 'psnr',
    'high_sharpen': 'gmsd',
}
LOWER_IS_BETTER = {'gmsd', 'nlpd'}

PHOTOS = ('05', '15', '23')
SIZES = ((1, 1), (1, 2), (3, 5), (16, 16), (1, 40), (40, 1), (33, 31))

# Types that leave an image of one colour as it is, at every level.
KEEPS_FLAT = (
    'gaussian_blur',
    'lens_blur',
    'motion_blur',
    'color_shift',
    'jitter',
    'non_eccentricity_patch',
    'pixelate',
    'quantization',
    'high_sharpen',
)
RANDOM = (
    'motion_blur',
    'color_shift',
    'white_noise',
    'white_noise_color_component',
    'impulse_noise',
    'multiplicative_noise',
    'denoise',
    'jitter',
    'non_eccentricity_patch',
    'color_block',
)


@pytest.fixture(scope='module')
def photos() -> list[np.ndarray]:
    folder = resources.files('metaiqa_plugin') / 'photos' / 'kodak24'
    loaded = []
    for name in PHOTOS:
        with (folder / f'{name}.webp').open('rb') as file, Image.open(file) as photo:
            pixels = np.asarray(photo.convert('RGB'))
        loaded.append(cv2.resize(pixels, (384, 256), interpolation=cv2.INTER_AREA))
    return loaded


@pytest.fixture(scope='module')
def photo(photos: list[np.ndarray]) -> np.ndarray:
    return photos[0]


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat_image(value: int | tuple[int, int, int]) -> np.ndarray:
    return np.full((64, 96, 3), value, dtype=np.uint8)


def max_difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# --- Table ---------------------------------------------------------------------


def test_the_table_holds_the_types_of_kadid10k_in_order() -> None:
    assert tuple(DISTORTIONS) == NAMES
    assert [kind.number for kind in DISTORTIONS.values()] == list(range(1, 26))
    assert all(name == kind.name for name, kind in DISTORTIONS.items())
    assert all(len(kind.levels) == 5 for kind in DISTORTIONS.values())
    assert len({kind.abbreviation for kind in DISTORTIONS.values()}) == 25


def test_the_families_hold_the_expected_numbers_of_types() -> None:
    families = [kind.family for kind in DISTORTIONS.values()]
    counts = {family: families.count(family) for family in families}
    assert counts == {
        'blur': 3,
        'color': 5,
        'compression': 2,
        'noise': 5,
        'brightness': 3,
        'spatial': 5,
        'sharpness': 2,
    }


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
    ],
)
def test_the_parameters_are_the_published_ones(name: str, levels: tuple) -> None:
    assert DISTORTIONS[name].levels == levels


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        DISTORTIONS['jpeg'] = DISTORTIONS['jitter']
    with pytest.raises(dataclasses.FrozenInstanceError):
        DISTORTIONS['jpeg'].number = 1


def test_the_documented_example_runs() -> None:
    result = doctest.testmod(distortions)
    assert result.attempted > 5
    assert result.failed == 0


def test_a_distortion_needs_five_levels() -> None:
    with pytest.raises(ValueError, match=r"levels of distortion 'jpeg'.*5.*\(1, 2\)"):
        dataclasses.replace(DISTORTIONS['jpeg'], levels=(1, 2))


def test_a_function_that_breaks_its_contract_is_reported() -> None:
    broken = dataclasses.replace(
        DISTORTIONS['jpeg'], name='broken', function=lambda image, *_: image / 255
    )
    with pytest.raises(RuntimeError, match="'broken' must return uint8"):
        distort(flat_image(0), broken, 1)


# --- Contract of distort -------------------------------------------------------


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_every_size_keeps_its_shape(name: str, size: tuple[int, int]) -> None:
    image = noise_image(*size)
    for level in LEVELS:
        distorted = distort(image, name, level)
        assert distorted.shape == image.shape
        assert distorted.dtype == np.uint8
        assert distorted.flags.writeable


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    level=st.sampled_from(LEVELS),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    content=st.integers(0, 9),
    seed=st.integers(0, 2**32),
)
def test_any_small_image_is_distorted_deterministically_and_left_alone(
    name: str, level: int, height: int, width: int, content: int, seed: int
) -> None:
    image = noise_image(height, width, content)
    before = image.copy()
    first = distort(image, name, level, seed)
    again = distort(image, name, level, np.random.default_rng(seed))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(first, image)


@pytest.mark.parametrize('name', NAMES)
def test_pil_images_give_what_arrays_give(name: str, photo: np.ndarray) -> None:
    picture = Image.fromarray(photo)
    distorted = distort(picture, name, 4, 3)
    assert isinstance(distorted, Image.Image)
    assert distorted.mode == 'RGB'
    assert distorted.size == picture.size
    np.testing.assert_array_equal(distorted, distort(photo, name, 4, 3))
    np.testing.assert_array_equal(picture, photo)


@pytest.mark.parametrize('name', NAMES)
def test_read_only_and_strided_images_are_accepted(
    name: str, photo: np.ndarray
) -> None:
    mirrored = photo[::2, ::-2]
    mirrored.flags.writeable = False
    expected = distort(np.ascontiguousarray(mirrored), name, 3)
    np.testing.assert_array_equal(distort(mirrored, name, 3), expected)


@pytest.mark.parametrize('name', NAMES)
def test_the_seed_matters_only_to_random_types(name: str, photo: np.ndarray) -> None:
    same = np.array_equal(distort(photo, name, 5, 1), distort(photo, name, 5, 2))
    assert same == (name not in RANDOM)


def test_global_random_states_are_left_alone(photo: np.ndarray) -> None:
    numpy_before = np.random.get_state()[1].copy()
    python_before = random.getstate()
    torch_before = torch.get_rng_state()
    for name in NAMES:
        np.random.seed(3)
        first = distort(photo, name, 5)
        np.random.seed(4)
        np.testing.assert_array_equal(first, distort(photo, name, 5))
    np.random.seed(5)
    expected = np.random.get_state()[1].copy()
    for name in NAMES:
        distort(photo, name, 5)
    np.testing.assert_array_equal(np.random.get_state()[1], expected)
    assert random.getstate() == python_before
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.random.set_state(('MT19937', numpy_before, 624, 0, 0.0))


def test_numpy_integers_are_levels_and_seeds(photo: np.ndarray) -> None:
    expected = distort(photo, 'white_noise', 2, 7)
    given_as_numpy = distort(photo, 'white_noise', np.int64(2), np.uint32(7))
    np.testing.assert_array_equal(given_as_numpy, expected)


def test_a_generator_is_advanced(photo: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    first = distort(photo, 'white_noise', 1, generator)
    second = distort(photo, 'white_noise', 1, generator)
    assert not np.array_equal(first, second)


# --- Errors --------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'distortion': 'jpg'}, ValueError, r"distortion .*'jpg'.*'jpeg'"),
        ({'distortion': 'Gausian Blur'}, ValueError, r"distortion .*'gaussian_blur'"),
        ({'distortion': 'xyz'}, ValueError, r"distortion .*'xyz'.*known.*'jitter'"),
        ({'distortion': 10}, TypeError, r'distortion .*10 of type int'),
        ({'level': 0}, ValueError, r'level .*1 to 5, got 0'),
        ({'level': 6}, ValueError, r'level .*1 to 5, got 6'),
        ({'level': True}, TypeError, r'level .*bool True'),
        ({'level': np.True_}, TypeError, r'level .*bool'),
        ({'level': 2.0}, TypeError, r'level .*2\.0 of type float'),
        ({'level': '3'}, TypeError, r"level .*'3' of type str"),
        ({'rng': -1}, ValueError, r'rng .*-1'),
        ({'rng': None}, TypeError, r'rng .*None'),
        ({'rng': True}, TypeError, r'rng .*True'),
        ({'rng': 1.5}, TypeError, r'rng .*1\.5'),
        ({'image': [[0]]}, TypeError, r'image .*list'),
        ({'image': 'photo.png'}, TypeError, r'image .*str'),
        ({'image': np.zeros((4, 4, 3))}, TypeError, r'image .*float64.*uint8'),
        ({'image': np.zeros((4, 4), np.uint8)}, ValueError, r'image .*\(4, 4\)'),
        ({'image': np.zeros((3, 4, 4), np.uint8)}, ValueError, r'image .*\(3, 4, 4\)'),
        ({'image': np.zeros((4, 4, 4), np.uint8)}, ValueError, r'image .*\(4, 4, 4\)'),
        ({'image': np.zeros((0, 4, 3), np.uint8)}, ValueError, r'image .*empty'),
        ({'image': Image.new('L', (4, 4))}, ValueError, r"'L'.*convert\('RGB'\)"),
        ({'image': Image.new('RGBA', (4, 4))}, ValueError, r"'RGBA'.*convert"),
        ({'image': Image.new('P', (4, 4))}, ValueError, r"'P'.*convert"),
        ({'image': Image.new('RGB', (0, 4))}, ValueError, r'image .*empty'),
    ],
)
def test_a_wrong_argument_is_named(
    arguments: dict, error: type[Exception], message: str
) -> None:
    right = {'image': flat_image(9), 'distortion': 'jpeg', 'level': 1, 'rng': 0}
    with pytest.raises(error, match=message):
        distort(**(right | arguments))


# --- Severity ------------------------------------------------------------------


_METRICS: dict[str, torch.nn.Module] = {}


def severities(
    distortion: str | Distortion, photos: list[np.ndarray], metric_name: str
) -> list[float]:
    """Mean severity of levels 1 to 5 by a metric, signed so that worse is more."""
    if metric_name not in _METRICS:
        _METRICS[metric_name] = pyiqa.create_metric(metric_name, device='cpu')
    metric = _METRICS[metric_name]
    reference = as_batch(photos)
    sign = 1 if metric_name in LOWER_IS_BETTER else -1
    values = []
    for level in LEVELS:
        distorted = [
            distort(photo, distortion, level, seed) for seed, photo in enumerate(photos)
        ]
        with torch.no_grad():
            scores = metric(as_batch(distorted), reference)
        values.append(sign * float(scores.mean()))
    return values


def as_batch(images: list[np.ndarray]) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).float() / 255


def grows(values: list[float]) -> bool:
    return all(milder < worse for milder, worse in itertools.pairwise(values))


def test_every_type_but_two_is_tested_to_grow() -> None:
    assert set(NAMES) - set(GROWING) == {'mean_shift', 'contrast_change'}


@pytest.mark.parametrize('name', GROWING)
def test_severity_grows_with_the_level(name: str, photos: list[np.ndarray]) -> None:
    values = severities(name, photos, GROWING[name])
    assert grows(values), values


@pytest.mark.parametrize('name', GROWING)
def test_swapped_levels_are_noticed(name: str, photos: list[np.ndarray]) -> None:
    first, second, third, fourth, fifth = DISTORTIONS[name].levels
    swapped = dataclasses.replace(
        DISTORTIONS[name], levels=(first, third, second, fourth, fifth)
    )
    assert not grows(severities(swapped, photos[:1], GROWING[name]))


def test_a_function_without_effect_is_noticed(photos: list[np.ndarray]) -> None:
    idle = dataclasses.replace(
        DISTORTIONS['jpeg'], function=lambda image, quality, rng: image
    )
    assert not grows(severities(idle, photos[:1], 'psnr'))


@pytest.mark.parametrize('metric', ['psnr', 'nlpd'])
def test_mean_shift_grows_away_from_its_third_level(
    metric: str, photos: list[np.ndarray]
) -> None:
    values = severities('mean_shift', photos, metric)
    assert values[0] > values[1] > values[2] < values[3] < values[4]


def test_contrast_change_grows_away_from_its_third_level(
    photos: list[np.ndarray],
) -> None:
    values = severities('contrast_change', photos, 'gmsd')
    assert values[0] > values[1] > values[2] < values[3] < values[4]


def test_contrast_change_raises_then_lowers_contrast(photo: np.ndarray) -> None:
    spreads = [distort(photo, 'contrast_change', level).std() for level in LEVELS]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[2] > photo.std() > spreads[3]


# --- Single types --------------------------------------------------------------


@pytest.mark.parametrize('name', KEEPS_FLAT)
def test_flat_images_stay_flat_to_the_border(name: str) -> None:
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
def test_levels_that_keep_the_image(
    name: str, level: int, tolerance: int, photo: np.ndarray
) -> None:
    assert max_difference(distort(photo, name, level), photo) <= tolerance


@pytest.mark.parametrize('radius', [1, 2, 4, 6, 8])
def test_the_disk_has_its_radius(radius: int) -> None:
    kernel = disk_kernel(radius)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    variance = (kernel.sum(axis=0) * offsets**2).sum()
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1])
    assert variance == pytest.approx(radius**2 / 4 + 1 / 12, abs=0.1)


@pytest.mark.parametrize('length', [2, 4, 6, 10])
@pytest.mark.parametrize('degrees', [0, 30, 45, 90, 135, 179])
def test_the_line_has_its_length_and_angle(length: int, degrees: int) -> None:
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


@pytest.mark.parametrize('level', LEVELS)
def test_jpeg_is_pillows_round_trip(level: int, photo: np.ndarray) -> None:
    buffer = io.BytesIO()
    quality = DISTORTIONS['jpeg'].levels[level - 1]
    Image.fromarray(photo).save(buffer, format='JPEG', quality=quality)
    np.testing.assert_array_equal(distort(photo, 'jpeg', level), Image.open(buffer))


@pytest.mark.parametrize('level', LEVELS)
def test_jpeg2000_is_pillows_round_trip_at_its_ratio(
    level: int, photo: np.ndarray
) -> None:
    buffer = io.BytesIO()
    ratio = DISTORTIONS['jpeg2000'].levels[level - 1]
    Image.fromarray(photo).save(
        buffer,
        format='JPEG2000',
        quality_mode='rates',
        quality_layers=[ratio],
        irreversible=True,
    )
    assert photo.nbytes / len(buffer.getvalue()) == pytest.approx(ratio, rel=0.05)
    np.testing.assert_array_equal(distort(photo, 'jpeg2000', level), Image.open(buffer))


@pytest.mark.parametrize('level', LEVELS)
def test_white_noise_has_its_variance(level: int) -> None:
    image = np.full((200, 200, 3), 128, dtype=np.uint8)
    residual = (distort(image, 'white_noise', level).astype(float) - 128) / 255
    expected = DISTORTIONS['white_noise'].levels[level - 1]
    assert residual.var() == pytest.approx(expected, rel=0.05)
    assert abs(residual.mean()) < 0.002
    assert (
        abs(np.corrcoef(residual[..., 0].ravel(), residual[..., 1].ravel())[0, 1])
        < 0.03
    )


@pytest.mark.parametrize('level', LEVELS)
def test_noise_in_color_components_has_its_variance(level: int) -> None:
    image = np.full((200, 200, 3), 128, dtype=np.uint8)
    noisy = distort(image, 'white_noise_color_component', level)
    luma = noisy.astype(float) @ (0.299, 0.587, 0.114) / 255
    expected = DISTORTIONS['white_noise_color_component'].levels[level - 1]
    assert luma.var() == pytest.approx(expected * (255 / 219) ** 2, rel=0.1)


@pytest.mark.parametrize('level', LEVELS)
def test_impulse_noise_has_its_density(level: int) -> None:
    image = np.full((300, 300, 3), 128, dtype=np.uint8)
    noisy = distort(image, 'impulse_noise', level)
    density = DISTORTIONS['impulse_noise'].levels[level - 1]
    assert set(np.unique(noisy)) <= {0, 128, 255}
    assert (noisy != 128).mean() == pytest.approx(density, rel=0.15)
    assert (noisy == 255).mean() == pytest.approx(density / 2, rel=0.25)


@pytest.mark.parametrize('level', LEVELS)
def test_multiplicative_noise_is_proportional(level: int) -> None:
    variance = DISTORTIONS['multiplicative_noise'].levels[level - 1]
    for value in (40, 80):
        image = np.full((200, 200, 3), value, dtype=np.uint8)
        noisy = distort(image, 'multiplicative_noise', level).astype(float)
        assert (noisy / value).std() == pytest.approx(variance**0.5, rel=0.06)
    assert not distort(flat_image(0), 'multiplicative_noise', level).any()


def test_denoise_removes_the_noise_it_adds() -> None:
    image = np.full((128, 128, 3), 128, dtype=np.uint8)
    for level in LEVELS:
        noisy = distort(image, 'white_noise', level).astype(float)
        denoised = distort(image, 'denoise', level).astype(float)
        assert denoised.std() < 0.5 * noisy.std()


def test_denoise_takes_texture_away(photo: np.ndarray) -> None:
    def detail(image: np.ndarray) -> float:
        return float(cv2.Laplacian(image, cv2.CV_32F).std())

    assert detail(distort(photo, 'denoise', 5)) < 0.5 * detail(photo)


@pytest.mark.parametrize('name', ['brighten', 'darken', 'contrast_change'])
def test_curves_keep_black_and_white(name: str) -> None:
    for level in LEVELS:
        for value in (0, 255):
            image = flat_image(value)
            assert max_difference(distort(image, name, level), image) <= 1


@pytest.mark.parametrize(('name', 'sign'), [('brighten', 1), ('darken', -1)])
def test_curves_move_middle_gray_as_stated(name: str, sign: int) -> None:
    for level, strength in zip(LEVELS, DISTORTIONS[name].levels, strict=True):
        moved = distort(flat_image(128), name, level).mean() / 255
        expected = np.clip(0.5 + sign * strength / 2, 0, 1)
        assert moved == pytest.approx(expected, abs=0.03)


def test_mean_shift_adds_its_offset() -> None:
    means = [distort(flat_image(128), 'mean_shift', level).mean() for level in LEVELS]
    assert means == pytest.approx([166, 148, 128, 108, 90], abs=1)


def test_color_saturation_1_matches_hsv_and_keeps_value(photo: np.ndarray) -> None:
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


def test_a_negative_saturation_turns_hues_into_their_opposites() -> None:
    red = flat_image((200, 100, 100))
    red, green, blue = distort(red, 'color_saturation_1', 5)[0, 0].astype(int)
    assert red < green == blue


def test_color_saturation_2_strengthens_color_and_keeps_gray() -> None:
    gray = flat_image(90)
    muted = flat_image((120, 110, 100))
    spreads = []
    for level in LEVELS:
        assert max_difference(distort(gray, 'color_saturation_2', level), gray) <= 1
        spreads.append(np.ptp(distort(muted, 'color_saturation_2', level)[0, 0]))
    assert spreads == sorted(set(spreads))


def test_color_diffusion_keeps_lightness_at_its_first_level(photo: np.ndarray) -> None:
    def lightness(image: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0]

    diffused = distort(photo, 'color_diffusion', 1)
    assert np.abs(lightness(diffused) - lightness(photo)).mean() < 1
    assert max_difference(diffused, photo) > 20


def test_color_shift_moves_green_alone(photo: np.ndarray) -> None:
    shifted = distort(photo, 'color_shift', 5)
    np.testing.assert_array_equal(shifted[..., [0, 2]], photo[..., [0, 2]])
    assert max_difference(shifted[..., 1], photo[..., 1]) > 100


def test_color_shift_leaves_flat_areas_alone() -> None:
    image = np.zeros((128, 256, 3), dtype=np.uint8)
    image[:, 64:] = 200
    for level in LEVELS:
        shifted = distort(image, 'color_shift', level)
        np.testing.assert_array_equal(shifted[:, 128:], image[:, 128:])


@pytest.mark.parametrize('level', LEVELS)
def test_color_quantization_keeps_its_number_of_colors(
    level: int, photo: np.ndarray
) -> None:
    colors = np.unique(
        distort(photo, 'color_quantization', level).reshape(-1, 3), axis=0
    )
    expected = DISTORTIONS['color_quantization'].levels[level - 1]
    assert 0.9 * expected <= len(colors) <= expected


@pytest.mark.parametrize('level', LEVELS)
def test_quantization_keeps_its_number_of_levels(level: int, photo: np.ndarray) -> None:
    quantized = distort(photo, 'quantization', level)
    assert len(np.unique(quantized)) == DISTORTIONS['quantization'].levels[level - 1]
    assert quantized.mean() == pytest.approx(photo.mean(), abs=0.5)


@pytest.mark.parametrize('classes', [2, 3, 4])
def test_multi_otsu_agrees_with_scikit_image(
    classes: int, photos: list[np.ndarray]
) -> None:
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
def test_multi_otsu_is_optimal(counts: list[int], classes: int) -> None:
    histogram = np.array(counts)

    def within(thresholds: tuple[int, ...]) -> float:
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


@pytest.mark.parametrize('level', LEVELS)
def test_color_blocks_are_solid_squares(level: int, photo: np.ndarray) -> None:
    changed = (distort(photo, 'color_block', level) != photo).any(axis=2)
    blocks = DISTORTIONS['color_block'].levels[level - 1]
    assert 1024 * blocks / 2 < changed.sum() <= 1024 * blocks
    assert (
        len(np.unique(distort(photo, 'color_block', level)[changed], axis=0)) <= blocks
    )


@pytest.mark.parametrize('level', LEVELS)
def test_patches_come_from_nearby(level: int) -> None:
    rows, columns = np.indices((256, 192), dtype=np.uint8)
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=2)
    patched = distort(image, 'non_eccentricity_patch', level)
    moved = np.abs(patched.astype(int) - image)
    patches = DISTORTIONS['non_eccentricity_patch'].levels[level - 1]
    assert moved.max() == 8
    assert 0 < moved.any(axis=2).sum() <= 256 * patches


@pytest.mark.parametrize('level', LEVELS)
def test_pixelate_has_its_relative_size(level: int) -> None:
    columns = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (16, 256, 3))
    pixelated = distort(columns.copy(), 'pixelate', level)
    strength = DISTORTIONS['pixelate'].levels[level - 1]
    remaining = len(np.unique(pixelated))
    assert remaining == int((0.95 - strength**0.6) * 256)


def test_jitter_displaces_by_its_amount() -> None:
    ramp = np.arange(0, 256, 2, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (64, 1))] * 3, axis=2)
    for level, amount in zip(LEVELS, DISTORTIONS['jitter'].levels, strict=True):
        moved = (distort(image, 'jitter', level).astype(float) - image) / 2
        inner = moved[16:-16, 16:-16, 0]
        assert abs(inner.mean()) < 0.1
        if level > 1:
            assert amount < inner.std() < 5**0.5 * amount + 0.2


def test_high_sharpen_overshoots_at_edges() -> None:
    image = flat_image(100)
    image[:, 48:] = 150
    overshoots = []
    for level in LEVELS:
        sharpened = distort(image, 'high_sharpen', level)
        overshoots.append(int(sharpened.max()) - int(sharpened.min()))
        assert max_difference(sharpened[:, :32], image[:, :32]) <= 1
    assert overshoots == sorted(overshoots)
    assert overshoots[0] > 60
