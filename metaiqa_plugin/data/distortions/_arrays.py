"""Array conversions that the distortion families share."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

BORDER = cv2.BORDER_REFLECT


def to_unit(image: np.ndarray) -> np.ndarray:
    """Return uint8 pixels as a new float32 array on [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Return float pixels on [0, 1] as uint8, clipped and rounded to nearest."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def to_lab(image: np.ndarray) -> np.ndarray:
    """Return uint8 sRGB pixels as float32 CIELAB: L on [0, 100], a and b signed."""
    return cv2.cvtColor(to_unit(image), cv2.COLOR_RGB2Lab)


def from_lab(lab: np.ndarray) -> np.ndarray:
    """Return float32 CIELAB as uint8 sRGB; colours outside sRGB are clipped."""
    return to_uint8(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))


def apply_tone_curve(
    image: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Map every uint8 sample through `curve`, a function of values on [0, 1]."""
    table = to_uint8(curve(np.linspace(0, 1, 256)))
    return table[image]
