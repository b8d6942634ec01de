"""Crops: where they are cut, how often mirrored, and of which size."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare

from metaiqa_plugin.data.crops import RandomCrop
from metaiqa_plugin.errors import UserError


def coordinates(height, width):
    """Each pixel says where it is."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def draws(crop, image, count):
    generator = np.random.default_rng(0)
    return [crop(image, generator) for _ in range(count)]


def test_a_crop_is_a_window_and_perhaps_mirrored():
    places, mirrored = Counter(), 0
    for cut in draws(RandomCrop(10, 8), coordinates(10, 12), 3000):
        assert cut.shape == (3, 8, 8) and cut.dtype == torch.uint8
        top, left, right = cut[0, 0, 0], cut[1, 0, 0], cut[1, 0, 7]
        flip = bool(left > right)
        mirrored += flip
        corner = int(min(left, right))
        expected = coordinates(10, 12)[int(top) :, corner:][:8, :8]
        expected = expected[:, ::-1] if flip else expected
        assert np.array_equal(cut.permute(1, 2, 0).numpy(), expected)
        places[int(top), corner] += 1
    assert len(places) == 3 * 5
    assert chisquare(list(places.values())).pvalue > 1e-3
    assert binomtest(mirrored, 3000).pvalue > 1e-3


def test_mirroring_can_be_left_out():
    for cut in draws(RandomCrop(10, 8, hflip=False), coordinates(10, 12), 50):
        assert cut[1, 0, 0] < cut[1, 0, 7]


def test_a_crop_does_not_share_the_memory_of_its_image():
    image = coordinates(9, 9)
    cut = draws(RandomCrop(9, 9, hflip=False), image, 1)[0]
    cut.zero_()
    assert np.array_equal(image, coordinates(9, 9))


def test_impossible_sizes_are_named():
    with pytest.raises(UserError, match='crop_size=33 is larger than resize=32'):
        RandomCrop(32, 33)
    with pytest.raises(UserError, match='resize=-1'):
        RandomCrop(-1, 32)
    with pytest.raises(UserError, match='crop_size=0'):
        RandomCrop(0, 0)


def test_an_image_below_the_crop_is_enlarged_to_it():
    pixels = np.full((20, 50, 3), 7, np.uint8)
    crop = RandomCrop(0, 32)(pixels, np.random.default_rng(0))
    assert crop.shape == (3, 32, 32)
    assert (crop == 7).all()
