"""Pictures of where a metric looks, and of the quality of each part of a photo."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.data.images import decoded, read_rgb, turn_of
from metaiqa_plugin.errors import one_of
from metaiqa_plugin.score.contact_sheet import jpeg
from metaiqa_plugin.study.explain.maps import MapSettings, compute_map
from metaiqa_plugin.ui.scoring import COMPUTING

if TYPE_CHECKING:
    from torch import nn

__all__ = ['LONGEST', 'MAPS', 'draw_map']

MAPS = ('quality', 'gradient')
LONGEST = 768
COLOURS = matplotlib.colormaps['viridis']
"""From low to high, told apart by colour-blind eyes; the page's scale is alike."""
COVER = 0.65
BRIGHTEST = 99.5
"""Percentile of the gradient map that is drawn in the last colour."""


def draw_map(path: Path, metric: nn.Module, name: str) -> dict[str, Any]:
    """A map of a photo, which is brought to a longer side of ``LONGEST`` before.

    Args:
        path: of the photo.
        metric: as ``open_metric`` gives it.
        name: ``'quality'``: scores of its parts; ``'gradient'``: where the score
            changes most with the pixels.

    Returns:
        ``picture``, a ``data:`` address of a JPEG; ``low`` and ``high``, the range of
        the map; ``shrunk``, the longer side of the copy, or 0 where it is the photo.

    Raises:
        UserError: another name, or the photo cannot be read, is too small, or the
            metric has no gradients.
    """
    one_of('map', name, MAPS)
    image = read_rgb(path)
    shrunk = LONGEST if max(image.size) > LONGEST else 0
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    pixels = to_tensor(image).unsqueeze(0).to(metric.device)
    with COMPUTING, torch.inference_mode(False):
        values = compute_map(name, metric.net, pixels, MapSettings()).numpy()
    low, high = float(values.min()), float(values.max())
    if name == 'gradient':
        top = max(float(np.percentile(values, BRIGHTEST)), np.finfo(np.float32).tiny)
        blur = ImageFilter.GaussianBlur(max(image.size) / 256)
        picture = _coloured(values / top).filter(blur)
    else:
        parts = _coloured((values - low) / (high - low if high > low else 1))
        picture = Image.blend(image.convert('L').convert('RGB'), parts, COVER)
    turn = decoded(path, turn_of)
    picture = picture if turn is None else picture.transpose(turn)
    packed = base64.b64encode(jpeg(picture)).decode()
    address = f'data:image/jpeg;base64,{packed}'
    return {'picture': address, 'low': low, 'high': high, 'shrunk': shrunk}


def _coloured(values: np.ndarray) -> Image.Image:
    """RGB of an (H, W) map: 0 and below the first colour, from 1 the last."""
    return Image.fromarray(COLOURS(values, bytes=True)[..., :3])
