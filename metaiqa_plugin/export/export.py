"""A metric to a file, which is checked before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.export.draft import Draft, make_draft
from metaiqa_plugin.export.torchscript_file import open_torchscript, write_torchscript
from metaiqa_plugin.files import check_output, replacing
from metaiqa_plugin.photos import KODAK

__all__ = ['Exported', 'export_metric', 'largest_difference']

ONNX = '.onnx'
TORCHSCRIPT = '.pt'
Model = Callable[[Tensor], Tensor]
"""Images, as ``Draft.facts['input']`` says, to scores."""

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
"""Photos in the package, and boxes in them: left, upper, right, lower."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        facts: what the file says of itself: metric, input, output, score_range, better
            ('higher' or 'lower'), weights_sha256, versions.
        difference: of its scores from the original's on test photos, at most.
    """

    facts: dict[str, str]
    difference: float


def export_metric(
    name: str,
    out: str | os.PathLike,
    size: tuple[int, int] | None = None,
    pixels: str = 'float',
    overwrite: bool = False,
) -> Exported:
    """Write a metric with its preprocessing to one file.

    The file gives (N, 1) float32 scores, on the scale and in the direction of the
    metric. MetaIQA takes images of any size; RankIQA, HyperIQA and other metrics of
    pyiqa, where PyTorch can trace them, of one size. ONNX of the last two takes one
    image at a time. The scores of real photos are compared with the original's; the
    file gets its name when none of them is more than 1e-4 apart (of scores beyond 1:
    that part of them).

    Args:
        name: a no-reference metric of pyiqa, or the path of a checkpoint of ours.
        out: ``.onnx``, or ``.pt`` for TorchScript.
        size: the one height and width of all images; None: any.
        pixels: ``'float'``: it takes (N, 3, H, W) float32 RGB in [0, 1];
            ``'uint8'``: (N, H, W, 3) uint8 RGB.
        overwrite: ``out`` may exist.

    Raises:
        UserError: an argument is wrong, the metric needs a ``size`` or cannot be
            exported, or a package is missing.
        CheckpointError: not a checkpoint of ours.
    """
    out = Path(out)
    write, read = _format(out)
    check_output(out, overwrite, inputs=[name])
    draft = make_draft(name, size, pixels, loops=out.suffix == TORCHSCRIPT)
    with replacing(out) as temporary:
        try:
            write(temporary, draft)
        except OSError:
            raise
        except Exception as error:  # PyTorch reports by exceptions of many kinds
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise _refusal(
                draft, f'PyTorch cannot follow it ({lines[0][:200]})'
            ) from error
        difference = largest_difference(draft, read(temporary))
    return Exported(draft.facts, difference)


def _format(out: Path) -> tuple[Callable[[Path, Draft], None], Callable[[Path], Model]]:
    """What writes and what opens files of this suffix."""
    if out.suffix == TORCHSCRIPT:
        return write_torchscript, open_torchscript
    if out.suffix != ONNX:
        raise UserError(
            f'out={str(out)!r}: suffix {out.suffix!r} is unknown; use {ONNX}, or '
            f'{TORCHSCRIPT} for TorchScript'
        )
    with needing('export'):
        from metaiqa_plugin.export.onnx_file import open_onnx, write_onnx
    return write_onnx, open_onnx


def _refusal(draft: Draft, reason: str) -> UserError:
    return UserError(
        f'{draft.name!r} cannot be exported: {reason}; nothing was written'
    )


def largest_difference(draft: Draft, model: Model) -> float:
    """How far the scores of a file are from the original's, at most.

    Raises:
        UserError: they differ by more than ``TOLERANCE``, or the file cannot score an
            image that the original can.
    """
    largest = 0.0
    for name, pixels in _test_images(draft):
        with torch.inference_mode():
            images = (pixels.float() / 255).split(1)
            scores = [draft.network(image).reshape(1) for image in images]
            expected = torch.cat(scores).double()
            found = _found(draft, model, name, pixels).reshape(-1).double()
        if found.shape != expected.shape:
            raise _refusal(
                draft, f'the file gives {len(found)} scores of {len(expected)} images'
            )
        apart = (found - expected).abs()
        if not (apart <= TOLERANCE * expected.abs().clamp(min=1)).all():
            worst = int(apart.nan_to_num(torch.inf).argmax())
            raise _refusal(
                draft,
                f'the file scores a test photo ({name}) {found[worst]:.6g}, the metric '
                f'{expected[worst]:.6g}',
            )
        largest = max(largest, apart.max().item())
    return largest


def _test_images(draft: Draft) -> Iterator[tuple[str, Tensor]]:
    """Names and (N, 3, H, W) uint8 of real photos: views of many shapes, gray, batches.

    All have the one size that the draft takes, if any.
    """

    def pixels(photo: str, box: tuple[int, int, int, int], mode: str = 'RGB') -> Tensor:
        image = read_rgb(KODAK / photo).crop(box).convert(mode).convert('RGB')
        if draft.size is not None:
            image = image.resize(draft.size[::-1], Image.Resampling.BICUBIC)
        return pil_to_tensor(image).unsqueeze(0)

    for name, (photo, box) in VIEWS.items():
        yield name, pixels(photo, box)
    yield 'gray', pixels('15.webp', (0, 0, 768, 512), 'L')
    if draft.batches:
        image = pixels('22.webp', (0, 0, 768, 512))
        yield 'batch', torch.cat([image, image.flip(-1), image.flip(-2)])


def _found(draft: Draft, model: Model, name: str, pixels: Tensor) -> Tensor:
    image = pixels.float() / 255
    if draft.of_bytes:
        image = pixels.permute(0, 2, 3, 1).contiguous()
    try:
        return model(image)
    except Exception as error:  # runtimes report by exceptions of many kinds
        height, width = pixels.shape[-2:]
        reason = ' '.join(str(error).split())
        raise _refusal(
            draft,
            f'the file fails on a test photo ({name}, {height}x{width}): '
            f'{reason[:200]}',
        ) from error
