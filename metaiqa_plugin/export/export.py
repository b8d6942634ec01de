"""A metric to a file, which is checked before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.export.checking import largest_difference
from metaiqa_plugin.export.plan import Plan, make_plan
from metaiqa_plugin.files import replacing

__all__ = ['Exported', 'export_metric']

ONNX = '.onnx'
TORCHSCRIPT = '.pt'


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
) -> Exported:
    """Write a metric with its preprocessing to one file.

    The file gives (N, 1) float32 scores, on the scale and in the direction of the
    metric. MetaIQA takes images of any size; RankIQA, HyperIQA and other metrics of
    pyiqa, where PyTorch can trace them, of one size. ONNX of the last two takes one
    image at a time. The
    scores of real photos are compared with the original's; the file gets its name when
    none of them is more than 1e-4 apart (of scores beyond 1: that part of them).

    Args:
        name: a no-reference metric of pyiqa, or the path of a checkpoint of ours.
        out: ``.onnx``, or ``.pt`` for TorchScript; does not exist yet.
        size: the one height and width of all images; None: any.
        pixels: ``'float'``: it takes (N, 3, H, W) float32 RGB in [0, 1];
            ``'uint8'``: (N, H, W, 3) uint8 RGB.

    Raises:
        UserError: an argument is wrong, the metric needs a ``size`` or can not be
            exported, or a package is missing.
        CheckpointError: no checkpoint of ours.
    """
    out = Path(out)
    write, read = _format(out)
    plan = make_plan(name, size, pixels, loops=out.suffix == TORCHSCRIPT)
    with replacing(out) as temporary:
        _written(write, temporary, plan)
        difference = largest_difference(plan, read(temporary))
    return Exported(plan.facts, difference)


def _format(out: Path) -> tuple[Callable[..., None], Callable[..., Callable]]:
    """What writes and what opens files of this suffix."""
    if out.suffix not in (ONNX, TORCHSCRIPT):
        raise UserError(
            f'out={str(out)!r}: suffix {out.suffix!r} is unknown; use {ONNX}, or '
            f'{TORCHSCRIPT} for TorchScript'
        )
    if out.exists():
        raise UserError(f'out={str(out)!r} exists; choose another name')
    if out.suffix == ONNX:
        with needing('export'):
            from metaiqa_plugin.export.onnx_file import open_onnx, write_onnx
        return write_onnx, open_onnx
    from metaiqa_plugin.export.torchscript_file import (
        open_torchscript,
        write_torchscript,
    )

    return write_torchscript, open_torchscript


def _written(write: Callable[[Path, Plan], None], path: Path, plan: Plan) -> None:
    """PyTorch reports what it can not follow with exceptions of many kinds."""
    try:
        write(path, plan)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f'{plan.name!r} can not be exported: PyTorch can not follow it '
            f'({lines[0][:200]}); nothing was written'
        ) from error
