"""Tests of patches, whitening and the encodings of CORNIA and HOSA."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import skew

from metaiqa_plugin.benchmark.handcrafted.codebooks import (
    Cornia,
    Hosa,
    Whitening,
    aggregated,
    cluster_statistics,
    contrast_normalised,
    encoded,
    image_patches,
)
from metaiqa_plugin.benchmark.handcrafted.features import luminance
from metaiqa_plugin.data.images import read_rgb


@pytest.fixture(scope='module')
def pixels(photos):
    return np.asarray(read_rgb(photos[9]).resize((40, 30)))


def test_patches_are_of_the_grid_and_in_its_order(pixels) -> None:
    luma = luminance(pixels)
    places = [(top, left) for top in range(0, 24, 4) for left in range(0, 34, 4)]
    expected = []
    for top, left in places:
        patch = luma[top : top + 7, left : left + 7].ravel()
        expected.append((patch - patch.mean()) / math.sqrt(np.var(patch, ddof=1) + 10))
    found = image_patches(pixels, 'x', stride=4)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    for count in (10, len(places), 1000):
        generator = np.random.default_rng(0)
        some = image_patches(pixels, 'x', 4, drawn=count, generator=generator)
        rows = [np.abs(found - patch).sum(axis=1).argmin() for patch in some]
        assert len(rows) == min(count, len(places))
        assert rows == sorted(set(rows)), 'in the order of the grid, none twice'
        np.testing.assert_array_equal(some, found[rows])


def test_a_flat_patch_is_normalised_to_zeros() -> None:
    assert not contrast_normalised(np.full((2, 49), 255.0)).any()


def test_whitened_patches_are_almost_uncorrelated() -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(49, 49))
    patches = generator.normal(3, 1, (20_000, 49)) @ mixing
    whitening = Whitening(patches)
    found = whitening(patches)
    values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
    expected = vectors @ np.diag(values / (values + 0.1)) @ vectors.T
    np.testing.assert_allclose(np.cov(found, rowvar=False), expected, atol=1e-9)
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(whitening.matrix, whitening.matrix.T)


def test_training_patches_are_shared_among_the_images(photos) -> None:
    codebook = Cornia(codewords=2, codebook_patches=100)
    found, _ = codebook.training_patches(photos[:3], 0)
    assert found.shape == (102, 49)
    again, _ = codebook.training_patches(photos[:3], 0)
    assert np.array_equal(found, again)


def test_no_more_images_are_read_than_asked_for(photos, tmp_path) -> None:
    unreadable = [tmp_path / f'{number}.png' for number in range(3)]
    images = [*unreadable, *photos[:3]]
    codebook = Cornia(codewords=2, codebook_patches=100, codebook_images=1)
    readable = 0
    for seed in range(40):
        try:
            found, _ = codebook.training_patches(images, seed)
        except ValueError:
            continue
        readable += 1
        assert found.shape == (100, 49)
    assert 0 < readable < 40


def test_cornia_encoding_against_loops() -> None:
    generator = np.random.default_rng(0)
    patches = generator.normal(size=(2300, 49))
    codebook = generator.normal(size=(6, 49))
    codebook[0] = np.abs(codebook[0])
    patches[:, :] = np.where(generator.random(49) < 0.5, np.abs(patches), patches)
    expected = []
    for sign in (1, -1):
        for word in codebook:
            products = [sign * float(word @ patch) for patch in patches]
            expected.append(max(0.0, *products))
    found = encoded(patches, codebook)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_cornia_never_has_less_than_nothing_for_a_codeword() -> None:
    assert encoded(np.full((3, 49), -1.0), np.ones((1, 49))).tolist() == [0, 49]
    assert encoded(np.full((3, 49), 1.0), np.ones((1, 49))).tolist() == [49, 0]


def test_cornia_takes_as_many_patches_as_asked_from_the_whole_image(photos) -> None:
    pixels = np.asarray(read_rgb(photos[9]).resize((80, 60)))
    extract = Cornia(codewords=10, codebook_patches=500)
    extract.fit(photos[:1], 0)
    assert np.linalg.norm(extract.codebook, axis=1) == pytest.approx(1, abs=1e-5)
    everything = extract(pixels)
    expected = encoded(extract.whitening(image_patches(pixels, 'x')), extract.codebook)
    np.testing.assert_allclose(everything, expected, rtol=1e-6)
    extract.patches = 50
    assert (extract(pixels) <= everything + 1e-6).all()
    assert (extract(pixels) < everything - 1e-3).any()


def test_cluster_statistics_against_scipy() -> None:
    generator = np.random.default_rng(0)
    patches = generator.gamma(2, size=(600, 5))
    labels = generator.integers(0, 3, 600)
    found = cluster_statistics(patches, labels, 4)
    for codeword in range(3):
        members = patches[labels == codeword]
        np.testing.assert_allclose(found[0, codeword], members.mean(axis=0))
        np.testing.assert_allclose(found[1, codeword], members.var(axis=0))
        np.testing.assert_allclose(found[2, codeword], skew(members), rtol=1e-4)
    assert not found[:, 3].any()


def test_hosa_aggregation_against_loops() -> None:
    generator = np.random.default_rng(0)
    patches = generator.gamma(2, size=(60, 3))
    statistics = generator.normal(2, 1, (3, 7, 3))
    statistics[0, 6] = 1e3  # too far from all
    beta, nearest = 0.3, 2
    expected = np.zeros((3, 7, 3))
    assigned = []
    for patch in patches:
        squares = [float(((patch - word) ** 2).sum()) for word in statistics[0]]
        order = sorted(range(7), key=squares.__getitem__)
        assigned.append({word: math.exp(-beta * squares[word]) for word in order[:2]})
    for word in range(6):
        total = sum(weights.get(word, 0) for weights in assigned)
        for dimension in range(3):
            pairs = [
                (weights[word] / total, patch[dimension])
                for weights, patch in zip(assigned, patches, strict=True)
                if word in weights
            ]
            mean = sum(weight * value for weight, value in pairs)
            variance = sum(weight * (value - mean) ** 2 for weight, value in pairs)
            third = sum(weight * (value - mean) ** 3 for weight, value in pairs)
            skewness = third / (variance + 1e-6) ** 1.5
            expected[:, word, dimension] = mean, variance, skewness
            expected[:, word, dimension] -= statistics[:, word, dimension]
    found = aggregated(patches, statistics, nearest, beta)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_hosa_patches_far_from_all_codewords_still_count() -> None:
    statistics = np.zeros((3, 2, 4))
    statistics[0, 1] = 1
    found = aggregated(np.full((5, 4), 1e3), statistics, 1, 1.0)
    assert found[0, 1] == pytest.approx(999)
    assert not found[:, 0].any()


def test_hosa_normalisation(photos, pixels) -> None:
    extract = Hosa(codewords=10, codebook_patches=500)
    extract.fit(photos[:1], 0)
    found = extract(pixels)
    patches = extract.whitening(image_patches(pixels, 'x', stride=7))
    differences = aggregated(patches, extract.statistics, 5, 0.05).ravel()
    powers = np.copysign(np.abs(differences) ** 0.2, differences)
    assert np.linalg.norm(found) == pytest.approx(1)
    np.testing.assert_allclose(found, powers / np.linalg.norm(powers))
