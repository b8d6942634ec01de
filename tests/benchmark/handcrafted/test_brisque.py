"""Tests of the BRISQUE features: they are those of pyiqa's metric."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyiqa.archs import brisque_arch

from metaiqa_plugin.benchmark.handcrafted.brisque import Brisque
from metaiqa_plugin.data.distortions import distort
from metaiqa_plugin.data.images import read_rgb


@pytest.mark.parametrize('distortion', ['jpeg', 'white_noise', 'gaussian_blur'])
def test_they_are_what_pyiqas_metric_hands_to_its_regression(
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


def test_fitting_needs_nothing_and_does_nothing(photos) -> None:
    pixels = np.array(read_rgb(photos[2]).resize((64, 48)))
    extract = Brisque()
    before = extract(pixels)
    extract.fit([], 0)
    assert np.array_equal(extract(pixels), before)
