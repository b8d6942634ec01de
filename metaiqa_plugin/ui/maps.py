"""Pictures of where a metric looks, and of the quality of each part of a photo."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.study.explain.maps import MapSettings, compute_map
from metaiqa_plugin.ui.scoring import COMPUTING, jpeg, upright

if TYPE_CHECKING:
    from torch import nn

__all__ = ['COLOURS', 'LONGEST', 'PhotoMaps', 'draw_maps']

LONGEST = 768
COLOURS = matplotlib.colormaps['viridis']
"""From low to high, told apart by colour-blind eyes."""
COVER = 0.65
BRIGHTEST = 99.5
"""Percentile of the gradient map that is drawn in the last colour."""


@dataclass(frozen=True)
class PhotoMaps:
    """Maps of a photo, as ``data:`` addresses of JPEG pictures.

    Attributes:
        gradient: where the score changes most with the pixels.
        quality: scores of its parts, from ``low`` to ``high`` in the metric's scale.
        shrunk: whether they are of a smaller copy of the photo.
    """

    gradient: str
    quality: str
    low: float
    high: float
    shrunk: bool


def draw_maps(path: Path, metric: nn.Module) -> PhotoMaps:
    """Maps of a photo, which is brought to a longer side of ``LONGEST`` before.

    Raises:
        UserError: it cannot be read, is too small, or the metric has no gradients.
    """
    image = read_rgb(path)
    shrunk = max(image.size) > LONGEST
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    pixels = to_tensor(image).unsqueeze(0).to(metric.device)
    settings = MapSettings()
    with COMPUTING, torch.inference_mode(False):
        gradient = compute_map('gradient', metric.net, pixels, settings).numpy()
        quality = compute_map('quality', metric.net, pixels, settings).numpy()
    low, high = float(quality.min()), float(quality.max())
    top = max(float(np.percentile(gradient, BRIGHTEST)), np.finfo(np.float32).tiny)
    looked = _coloured(gradient / top)
    looked = looked.filter(ImageFilter.GaussianBlur(max(image.size) / 256))
    parts = _coloured((quality - low) / (high - low if high > low else 1))
    gray = image.convert('L').convert('RGB')
    pictures = [looked, Image.blend(gray, parts, COVER)]
    gradient_url, quality_url = (_url(upright(one, path)) for one in pictures)
    return PhotoMaps(gradient_url, quality_url, low, high, shrunk)


def _coloured(values: np.ndarray) -> Image.Image:
    """RGB of an (H, W) map: 0 and below the first colour, from 1 the last."""
    return Image.fromarray(COLOURS(values, bytes=True)[..., :3])


def _url(image: Image.Image) -> str:
    return f'data:image/jpeg;base64,{base64.b64encode(jpeg(image)).decode()}'
