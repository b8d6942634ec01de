"""What every hand-crafted feature starts from: checked pixels and luminance."""

from __future__ import annotations

import numpy as np

from metaiqa_plugin.errors import UserError

__all__ = ['check_pixels', 'luminance']

LUMA = (0.299, 0.587, 0.114)


def check_pixels(pixels: np.ndarray, method: str, least_side: int) -> None:
    """``pixels`` is (H, W, 3) uint8 with H and W of at least ``least_side``.

    Raises:
        UserError: it is not; names ``method``, what was given and what is expected.
    """
    shape, dtype = getattr(pixels, 'shape', None), getattr(pixels, 'dtype', None)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise UserError(
            f'{method}: pixels of shape {shape} and type {dtype}; expected '
            '(height, width, 3) of uint8 in RGB'
        )
    if min(shape[:2]) < least_side:
        raise UserError(
            f'{method}: an image of {shape[1]}x{shape[0]} pixels is too small; sides '
            f'must have at least {least_side}'
        )


def luminance(pixels: np.ndarray) -> np.ndarray:
    """The luma of ITU-R BT.601: (H, W, 3) uint8 RGB to (H, W) float64 in [0, 255].

    MATLAB's ``rgb2gray``, which the authors of the codebook methods call, has the same
    weights but rounds to whole numbers; this does not.
    """
    return pixels.astype(np.float64) @ np.array(LUMA)
