"""Hand-crafted baselines: features of an image, and support vector regression."""

from __future__ import annotations

from collections.abc import Callable

from metaiqa_plugin.benchmark.handcrafted.codebooks import Cornia, Hosa
from metaiqa_plugin.benchmark.handcrafted.features import (
    Bliinds2,
    Brisque,
    FeatureExtractor,
)

__all__ = ['FEATURES']

FEATURES: dict[str, Callable[..., FeatureExtractor]] = {
    'brisque': Brisque,
    'bliinds2': Bliinds2,
    'cornia': Cornia,
    'hosa': Hosa,
}
