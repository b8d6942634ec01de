"""Whether an exported file computes what the original does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.export.plan import Plan
from metaiqa_plugin.photos import KODAK

__all__ = ['TOLERANCE', 'largest_difference', 'test_images']

TOLERANCE = 1e-4
"""Of scores up to 1; of larger ones this part of them."""

VIEWS = {
    'lying': ('01.webp', (0, 0, 768, 512)),
    'upright': ('04.webp', (0, 0, 512, 768)),
    'odd': ('05.webp', (1, 3, 732, 490)),
    'half a pixel': ('09.webp', (0, 0, 512, 765)),
    'wide': ('13.webp', (0, 200, 768, 310)),
    'high': ('17.webp', (100, 0, 231, 768)),
    'small': ('20.webp', (300, 200, 401, 277)),
    'tiny': ('23.webp', (200, 100, 233, 141)),
}
"""Photos that the package carries, and boxes in them: left, upper, right, lower."""


def largest_difference(plan: Plan, model: Callable[[Tensor], Tensor]) -> float:
    """How far scores of a file are from the original's, at most.

    Args:
        plan: what was exported.
        model: what the file computes, as ``plan.facts['input']`` says.

    Raises:
        UserError: the scores differ by more than ``TOLERANCE``, or the file can not
            score an image that the original can.
    """
    largest = 0.0
    for name, pixels in test_images(plan.size, plan.batches):
        with torch.inference_mode():
            real = (pixels.float() / 255).split(1)
            scores = [plan.network(image).reshape(1) for image in real]
            expected = torch.cat(scores).double()
            found = _found(plan, model, name, pixels).reshape(-1).double()
        if found.shape != expected.shape:
            raise UserError(
                f'{plan.name!r} can not be exported: the file gives {len(found)} '
                f'scores of {len(expected)} images; nothing was written'
            )
        apart = (found - expected).abs()
        if not (apart <= TOLERANCE * expected.abs().clamp(min=1)).all():
            worst = int(apart.nan_to_num(torch.inf).argmax())
            raise UserError(
                f'{plan.name!r} can not be exported: the file scores a test photo '
                f'({name}) {found[worst]:.6g}, the metric {expected[worst]:.6g}; '
                f'nothing was written'
            )
        largest = max(largest, apart.max().item())
    return largest


def test_images(
    size: tuple[int, int] | None, batches: bool
) -> Iterator[tuple[str, Tensor]]:
    """Names and (N, 3, H, W) uint8 of real photos: views of many shapes, gray, batches.

    Args:
        size: height and width that all are brought to; None: as they are.
        batches: one of several, too.
    """
    for name, (photo, box) in VIEWS.items():
        yield name, _pixels(photo, box, size)
    yield 'gray', _pixels('15.webp', (0, 0, 768, 512), size, gray=True)
    if batches:
        image = _pixels('22.webp', (0, 0, 768, 512), size)
        yield 'batch', torch.cat([image, image.flip(-1), image.flip(-2)])


def _pixels(
    photo: str,
    box: tuple[int, int, int, int],
    size: tuple[int, int] | None,
    gray: bool = False,
) -> Tensor:
    image = read_rgb(KODAK / photo).crop(box)
    if gray:
        image = image.convert('L').convert('RGB')
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
    return pil_to_tensor(image).unsqueeze(0)


def _found(
    plan: Plan, model: Callable[[Tensor], Tensor], name: str, pixels: Tensor
) -> Tensor:
    """Runtimes report what they can not do with exceptions of many kinds."""
    if plan.of_bytes:
        image = pixels.permute(0, 2, 3, 1).contiguous()
    else:
        image = pixels.float() / 255
    try:
        return model(image)
    except Exception as error:
        height, width = pixels.shape[-2:]
        reason = ' '.join(str(error).split())
        raise UserError(
            f'{plan.name!r} can not be exported: the file fails on a test photo '
            f'({name}, {height}x{width}): {reason[:200]}; '
            'nothing was written'
        ) from error
