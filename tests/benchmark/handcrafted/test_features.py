"""Tests of what all hand-crafted features share: the contract, on real photos."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyiqa.archs import brisque_arch

from metaiqa_plugin.benchmark.handcrafted import FEATURES
from metaiqa_plugin.benchmark.handcrafted.features import Brisque, luminance
from metaiqa_plugin.benchmark.handcrafted.regression import Regression
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError

SMALL = {
    'brisque': {},
    'bliinds2': {},
    'cornia': {'codewords': 60, 'patches': 2000, 'codebook_patches': 2000},
    'hosa': {'codewords': 20, 'codebook_patches': 2000},
}
LENGTH = {'brisque': 36, 'bliinds2': 24, 'cornia': 120, 'hosa': 20 * 49 * 3}
LEARNED = {'brisque': False, 'bliinds2': False, 'cornia': True, 'hosa': True}


@pytest.fixture(scope='module')
def fitted(photos):
    """Each extractor, with a codebook of three photos."""
    extractors = {name: FEATURES[name](**SMALL[name]) for name in FEATURES}
    for extractor in extractors.values():
        if extractor.learned:
            extractor.fit(photos[:3], 0)
    return extractors


@pytest.fixture(scope='module')
def photo(photos):
    return read_rgb(photos[5]).resize((160, 120))


def test_luma_weights_and_range() -> None:
    pixels = np.eye(3, dtype=np.uint8)[None] * 200
    assert luminance(pixels)[0] == pytest.approx([59.8, 117.4, 22.8])
    assert luminance(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(255)


def test_every_method_has_a_regression() -> None:
    assert list(FEATURES) == list(SMALL)
    for name in FEATURES:
        Regression(name)


@pytest.mark.parametrize('name', FEATURES)
def test_features_are_finite_repeatable_and_of_one_length(
    fitted, photo, name: str
) -> None:
    extract = fitted[name]
    assert extract.learned is LEARNED[name]
    pixels = np.asarray(photo)
    before = pixels.copy()
    found = extract(pixels)
    assert found.shape == (LENGTH[name],) and found.dtype == np.float64
    assert np.isfinite(found).all()
    assert np.array_equal(pixels, before)
    extract(np.asarray(distort(photo, 'jpeg', level=3, rng=0)))
    assert np.array_equal(extract(pixels), found)


@pytest.mark.parametrize('name', FEATURES)
@pytest.mark.parametrize('distortion', ['gaussian_blur', 'white_noise', 'jpeg'])
def test_features_go_further_from_those_of_the_photo_at_worse_levels(
    fitted, photo, name: str, distortion: str
) -> None:
    extract = fitted[name]
    pristine = extract(np.asarray(photo))
    mild, severe = (
        np.linalg.norm(
            extract(np.asarray(distort(photo, distortion, level, rng=0))) - pristine
        )
        for level in (3, 5)
    )
    assert 0 < mild < severe


@pytest.mark.parametrize('name', ['cornia', 'hosa'])
def test_the_seed_decides_the_codebook(photos, fitted, photo, name: str) -> None:
    pixels = np.asarray(photo)
    same, other = FEATURES[name](**SMALL[name]), FEATURES[name](**SMALL[name])
    same.fit(photos[:3], 0)
    other.fit(photos[:3], 1)
    assert np.array_equal(same(pixels), fitted[name](pixels))
    assert not np.allclose(other(pixels), fitted[name](pixels))


@pytest.mark.parametrize('name', FEATURES)
def test_small_images_have_features_or_are_refused(fitted, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    least = {'brisque': 16, 'bliinds2': 20, 'cornia': 14, 'hosa': 14}[name]
    assert np.isfinite(fitted[name](noise[:least, :least])).all()
    with pytest.raises(UserError, match=rf'{name}: an image of 40x{least - 1} pixels'):
        fitted[name](noise[: least - 1, :40])


@pytest.mark.parametrize('name', FEATURES)
@pytest.mark.parametrize(
    'pixels',
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3)),
        None,
    ],
)
def test_what_is_no_rgb_of_uint8_is_refused(fitted, name: str, pixels) -> None:
    with pytest.raises(UserError, match=rf'{name}: pixels of shape'):
        fitted[name](pixels)


@pytest.mark.parametrize('name', FEATURES)
def test_a_flat_image_has_finite_features_or_is_refused(fitted, name: str) -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    if name == 'brisque':
        with pytest.raises(UserError, match='it is flat; leave it out'):
            fitted[name](flat)
    else:
        assert np.isfinite(fitted[name](flat)).all()


@pytest.mark.parametrize('name', ['cornia', 'hosa'])
def test_what_a_codebook_can_not_be_learned_from(
    photos, tmp_path, fitted, photo, name: str
) -> None:
    fresh = FEATURES[name](**SMALL[name])
    with pytest.raises(UserError, match=f'{name}: there is no codebook; call fit'):
        fresh(np.asarray(photo))
    with pytest.raises(UserError, match=f'{name}: no training image'):
        fresh.fit([], 0)
    with pytest.raises(UserError, match='seed=-1'):
        fresh.fit(photos[:1], -1)
    with pytest.raises(UserError, match=r'absent\.png.*does not exist'):
        fresh.fit([tmp_path / 'absent.png'], 0)
    tiny = tmp_path / 'tiny.png'
    photo.resize((14, 13)).save(tiny)
    with pytest.raises(UserError, match=f'tiny.png.*{name}: an image of 14x13'):
        fresh.fit([photos[0], tiny], 0)
    photo.resize((16, 14)).save(tiny)
    large = FEATURES[name](codewords=500)
    with pytest.raises(UserError, match=r'codewords=500.* only 80 patches; give'):
        large.fit([tiny], 0)


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('cornia', {'codewords': 1}, 'codewords=1'),
        ('cornia', {'codewords': 2.5}, 'codewords=2.5'),
        ('cornia', {'patches': 0}, 'patches=0'),
        ('cornia', {'codebook_patches': 9999}, 'codebook_patches=9999.*10000'),
        ('cornia', {'codebook_images': True}, 'codebook_images=True'),
        ('hosa', {'codewords': '100'}, "codewords='100'"),
        ('hosa', {'nearest': 0}, 'nearest=0'),
        ('hosa', {'nearest': 101}, 'nearest=101: expected at most codewords=100'),
        ('hosa', {'beta': -0.1}, 'beta=-0.1'),
        ('hosa', {'power': 0.0}, 'power=0.0: expected 0 < power <= 1'),
        ('hosa', {'power': 1.5}, 'power=1.5: expected 0 < power <= 1'),
        ('hosa', {'stride': 0}, 'stride=0'),
        ('hosa', {'codebook_patches': 99}, 'codebook_patches=99'),
    ],
)
def test_options_out_of_range_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FEATURES[name](**options)


def test_the_papers_sizes_are_the_defaults() -> None:
    cornia, hosa = FEATURES['cornia'](), FEATURES['hosa']()
    assert (cornia.codewords, cornia.patches) == (10_000, 10_000)
    assert (hosa.codewords, hosa.nearest, hosa.power) == (100, 5, 0.2)
    assert 3 * 49 * hosa.codewords == 14_700


@pytest.mark.parametrize('distortion', ['jpeg', 'white_noise', 'gaussian_blur'])
def test_those_of_brisque_are_what_pyiqas_metric_hands_to_its_regression(
    photos, monkeypatch, distortion: str
) -> None:
    image = distort(read_rgb(photos[2]).resize((150, 101)), distortion, level=3, rng=0)
    pixels = np.array(image)
    handed = []

    def kernel(features, sv, gamma):
        handed.append(features)
        return torch.zeros(1, 1)

    monkeypatch.setattr(brisque_arch, 'rbf_kernel', kernel)
    brisque_arch.brisque(
        torch.tensor(pixels).permute(2, 0, 1)[None] / 255,
        sv_coef=torch.zeros(1, 1),
        sv=torch.zeros(1, 36),
    )
    found = torch.tensor(Brisque()(pixels)[None], dtype=torch.float32)
    scaled = brisque_arch.scale_features(found)
    torch.testing.assert_close(scaled, handed[0], rtol=1e-5, atol=1e-5)
