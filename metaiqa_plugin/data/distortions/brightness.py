"""Brightness changes: brighten, darken and mean shift."""

from __future__ import annotations

import numpy as np

from ._arrays import apply_tone_curve, from_lab, to_lab, to_uint8, to_unit


def brighten(
    image: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Raise the middle tones by a parabola that keeps black and white.

    The parabola lifts 0.5 to 0.5 + `strength` / 2 on the [0, 1] scale and is
    clipped at white. Two thirds of the result have the curve on R, G and B, one
    third on L of CIELAB, which saves some of the colour. Takes nothing from `rng`.
    """
    in_rgb = apply_tone_curve(image, lambda tone: parabola(tone, strength))
    lab = to_lab(image)
    lab[..., 0] = 100 * np.clip(parabola(lab[..., 0] / 100, strength), 0, 1)
    return to_uint8((2 * to_unit(in_rgb) + to_unit(from_lab(lab))) / 3)


def darken(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Lower the middle tones by a parabola that keeps black and white.

    The parabola lowers 0.5 to 0.5 - `strength` / 2 on the [0, 1] scale of R, G and
    B and is clipped at black. Takes nothing from `rng`.
    """
    return apply_tone_curve(image, lambda tone: parabola(tone, -strength))


def mean_shift(
    image: np.ndarray, offset: float, rng: np.random.Generator
) -> np.ndarray:
    """Add `offset`, on the [0, 1] scale and of either sign, to R, G and B.

    0 keeps the image. Takes nothing from `rng`.
    """
    return apply_tone_curve(image, lambda tone: tone + offset)


def parabola(tone: np.ndarray, strength: float) -> np.ndarray:
    """Return the parabola through (0, 0), (0.5, 0.5 + strength / 2) and (1, 1)."""
    return tone + 2 * strength * tone * (1 - tone)
