"""One image of ``metaiqa explain``: its score, its maps and its sheet."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import replacing
from metaiqa_plugin.study.explain.gradient_maps import baseline_image
from metaiqa_plugin.study.explain.maps import MapSettings, compute_map
from metaiqa_plugin.study.explain.sheet import Panel, draw_sheet

__all__ = ['Request', 'explained']


@dataclass(frozen=True)
class Request:
    """What to do with every image.

    Attributes:
        name: of the metric, as it was given.
        metric: of pyiqa.
        methods: of ``maps.METHODS``.
        settings: of the maps.
        longest: pixels of the longer side, larger images are shrunk; 0: never.
        out: folder.
        arrays: write the maps as they are, too.
    """

    name: str
    metric: nn.Module
    methods: Sequence[str]
    settings: MapSettings
    longest: int
    out: Path
    arrays: bool


def explained(request: Request, path: str, name: str) -> tuple[str, int, int, str, str]:
    """Write the sheet of an image, and its maps where they are asked for.

    Args:
        request: what to do.
        path: the image.
        name: of the sheet, below ``request.out``; ends with ``.png``.

    Returns:
        score; width, height and score of the image that the maps are of; ``name``.

    Raises:
        UserError: the image can not be read, it has no finite score, or a method
            refuses it.
    """
    photo = read_rgb(path)
    score = request.metric(photo).item()
    if not math.isfinite(score):
        raise UserError(f'score {score} of {path!r} is not finite')
    seen = _bounded(photo, request.longest)
    score_seen = score if seen.size == photo.size else request.metric(seen).item()
    pixels = to_tensor(seen).unsqueeze(0).to(request.metric.device)
    panels = []
    for method in request.methods:
        found = compute_map(method, request.metric.net, pixels, request.settings)
        values = found.float().numpy()
        panels.append(Panel(method, values, _note(request, method, pixels, found)))
        if request.arrays:
            target = request.out / f'{name.removesuffix(".png")}.{method}.npy'
            with replacing(target) as temporary:
                np.save(temporary, values)
    draw_sheet(
        request.out / name,
        np.asarray(seen),
        panels,
        f'{os.path.basename(path)}: {score:.4g} by {request.name}',
        _size_note(request, photo, seen, score_seen),
        request.metric.lower_better,
    )
    return f'{score:.6f}', *seen.size, f'{score_seen:.6f}', name


def _bounded(photo: Image.Image, longest: int) -> Image.Image:
    longer = max(photo.size)
    if not longest or longer <= longest:
        return photo
    size = [max(1, round(side * longest / longer)) for side in photo.size]
    return photo.resize(size, Image.Resampling.LANCZOS)


def _size_note(
    request: Request, photo: Image.Image, seen: Image.Image, score: float
) -> str:
    direction = 'lower' if request.metric.lower_better else 'higher'
    if seen.size == photo.size:
        return f'{direction} is better; {photo.width}x{photo.height} pixels'
    return (
        f'{direction} is better; maps of a copy of {seen.width}x{seen.height} pixels, '
        f'which scores {score:.4g}; the photo has {photo.width}x{photo.height}'
    )


def _note(request: Request, method: str, image: Tensor, found: Tensor) -> str:
    """Of integrated gradients, how near they come to what they should sum to."""
    if method != 'integrated':
        return ''
    name = request.settings.baseline
    with torch.inference_mode():
        scores = [
            request.metric(each).item()
            for each in (image, baseline_image(image, name).clamp(0, 1))
        ]
    return f'against {name}: sum {found.sum():+.3f} of {scores[0] - scores[1]:+.3f}'
