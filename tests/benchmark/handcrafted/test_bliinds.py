"""Tests of BLIINDS-II against plain loops and known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.fft import dctn
from scipy.ndimage import correlate
from scipy.optimize import brentq
from scipy.stats import gennorm

from metaiqa_plugin.benchmark.handcrafted.features import (
    Bliinds2,
    block_features,
    generalised_gaussian_shape,
    luminance,
)
from metaiqa_plugin.data.images import read_rgb

LOW = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 1)]
HIGH = [(2, 4), (3, 3), (4, 2), (3, 4), (4, 3), (4, 4)]
NEAR_HORIZONTAL = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 4)]
NEAR_DIAGONAL = [(1, 1), (2, 2), (2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (4, 4)]


def variation(values) -> float:
    sizes = [abs(value) for value in values]
    mean = sum(sizes) / len(sizes)
    variance = sum((size - mean) ** 2 for size in sizes) / (len(sizes) - 1)
    return math.sqrt(variance) / mean


def reference_features(block: np.ndarray) -> list[float]:
    found = dctn(block, norm='ortho')
    everywhere = [(row, column) for row in range(5) for column in range(5)][1:]
    coefficients = [found[place] for place in everywhere]
    middle = [place for place in everywhere if place not in LOW + HIGH]
    low, mid, high = (
        np.var([found[place] for place in band], ddof=1) for band in (LOW, middle, HIGH)
    )
    below = (low + mid) / 2
    ratio = (abs(mid - low) / (mid + low) + abs(high - below) / (high + below)) / 2
    orientations = [
        variation([found[place] for place in NEAR_HORIZONTAL]),
        variation([found[place] for place in NEAR_DIAGONAL]),
        variation([found[column, row] for row, column in NEAR_HORIZONTAL]),
    ]
    mean = np.mean(coefficients)
    target = np.var(coefficients, ddof=1) / np.mean(np.abs(coefficients - mean)) ** 2

    def excess(shape: float) -> float:
        gamma = math.gamma
        return gamma(1 / shape) * gamma(3 / shape) / gamma(2 / shape) ** 2 - target

    shape = brentq(excess, 0.03, 10) if excess(10) < 0 else 10
    return [variation(coefficients), shape, ratio, np.var(orientations, ddof=1)]


@pytest.mark.parametrize('shape', [0.4, 0.7, 1, 1.5, 2, 4])
def test_the_shape_of_sampled_generalised_gaussians(shape: float) -> None:
    samples = gennorm(shape, loc=3, scale=7).rvs(400_000, random_state=0)
    found = generalised_gaussian_shape(np.stack([samples, -samples * 5]))
    assert found == pytest.approx([shape] * 2, rel=0.02)


def test_shapes_outside_the_table_are_its_ends() -> None:
    signs = np.tile([-1.0, 1.0], 12)
    spike = np.zeros(10**5)
    spike[0] = 1e9
    assert generalised_gaussian_shape(np.stack([signs, signs * 0])) == pytest.approx(10)
    assert 0.03 <= generalised_gaussian_shape(spike[None])[0] < 0.2


def test_block_features_against_a_loop_over_frequencies() -> None:
    generator = np.random.default_rng(0)
    blocks = generator.laplace(100, 20, (40, 5, 5))
    blocks[20:] = np.cumsum(np.cumsum(blocks[20:] - 100, axis=1), axis=2)
    expected = [reference_features(block) for block in blocks]
    found = block_features(blocks.reshape(40, 25))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_transposed_block_has_the_same_features() -> None:
    blocks = np.random.default_rng(1).normal(0, 30, (10, 5, 5))
    turned = blocks.transpose(0, 2, 1)
    np.testing.assert_allclose(
        block_features(blocks.reshape(10, 25)), block_features(turned.reshape(10, 25))
    )


def test_an_image_against_loops_over_scales_and_blocks(photos) -> None:
    pixels = np.asarray(read_rgb(photos[7]).resize((66, 52)))
    side = math.exp(-2)
    taps = np.outer([side, 1, side], [side, 1, side])
    image = luminance(pixels)
    expected = []
    for _ in range(3):
        height, width = image.shape
        features = np.array(
            [
                reference_features(image[top : top + 5, left : left + 5])
                for top in range(0, height - 4, 3)
                for left in range(0, width - 4, 3)
            ]
        )
        tenth = math.ceil(len(features) / 10)
        for column, lowest in enumerate([False, True, False, False]):
            values = sorted(features[:, column], reverse=not lowest)
            expected += [np.mean(values), np.mean(values[:tenth])]
        image = correlate(image, taps / taps.sum(), mode='nearest')[1::2, 1::2]
    np.testing.assert_allclose(Bliinds2()(pixels), expected, rtol=2e-4)
