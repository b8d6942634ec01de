"""Writing and running ONNX.

PyTorch's exporters follow the networks; MetaIQA's resize stands in front of its network
as a graph of its own, because its target size depends on the image. Opset 18 is the
first whose Resize filters before it shrinks; ``exclude_outside`` makes that filter end
at the border as PyTorch's does.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable

import onnx
import onnxruntime
import torch
from onnx import compose, parser
from torch import Tensor, nn

from metaiqa_plugin.archs.metaiqa_arch import MetaIQAConfig, longest_side
from metaiqa_plugin.export.draft import Draft, real_planes

__all__ = ['open_onnx', 'write_onnx']

OPSET = 18
IR_VERSION = 8
EXAMPLE = (96, 128)

FRONT = """
<ir_version: {ir}, opset_import: ["": {opset}]>
front ({taken}) => (float[batch, 3, rows, columns] resized) {{
    {pixels}
    batch_size = Shape <start = 0, end = 1> (image)
    channels = Constant <value_ints = [3]> ()
    {size}
    sizes = Concat <axis = 0> (batch_size, channels, size)
    resized = Resize <{resize}> (pixels, , , sizes)
}}
"""
FLOATS = 'pixels = Identity (image)'
BYTES = """
    real = Cast <to = 1> (image)
    planes = Transpose <perm = [0, 3, 1, 2]> (real)
    most = Constant <value_float = 255.0> ()
    pixels = Div (planes, most)
"""
SQUASHED = 'size = Constant <value_ints = [{side}, {side}]> ()'
SHORTER = """
    shape = Shape <start = 2, end = 4> (pixels)
    shorter = ReduceMin (shape)
    side = Constant <value_ints = [{side}]> ()
    longest = Constant <value_ints = [{longest}]> ()
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    times = Mul (shape, side)
    whole = Div (times, shorter)
    rest = Mod (times, shorter)
    twice = Mul (rest, two)
    above = Greater (twice, shorter)
    tie = Equal (twice, shorter)
    last = Mod (whole, two)
    odd = Equal (last, one)
    uneven = And (tie, odd)
    up = Or (above, uneven)
    added = Cast <to = 7> (up)
    rounded = Add (whole, added)
    least = Max (rounded, one)
    size = Min (least, longest)
"""


class OfBytes(nn.Module):
    """Takes (N, H, W, 3) uint8 for what takes (N, 3, H, W) in [0, 1]."""

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(real_planes(images))


def write_onnx(path: str | os.PathLike, draft: Draft) -> None:
    """The model with input ``image`` and output ``score``, and its facts inside."""
    model = _behind_resize(draft) if draft.resizes else _of_one_size(draft)
    onnx.helper.set_model_props(model, draft.facts)
    model.producer_name = 'metaiqa_plugin'
    model.producer_version = draft.facts['metaiqa_plugin']
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def open_onnx(path: str | os.PathLike) -> Callable[[Tensor], Tensor]:
    """What a file computes, by ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(
        os.fspath(path), providers=['CPUExecutionProvider']
    )
    return lambda image: torch.from_numpy(
        session.run(['score'], {'image': image.numpy()})[0]
    )


def _behind_resize(draft: Draft) -> onnx.ModelProto:
    """Traced, which keeps what a network computes from the size of its input."""
    free = {0: 'batch', 2: 'rows', 3: 'columns'}
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            draft.scores,
            (torch.rand(2, 3, *EXAMPLE),),
            packed,
            input_names=['resized'],
            output_names=['score'],
            dynamic_axes={'resized': free, 'score': {0: 'batch'}},
            opset_version=OPSET,
            dynamo=False,
        )
    network = onnx.load_from_string(packed.getvalue())
    network.ir_version = IR_VERSION
    front = parser.parse_model(_front(draft))
    return compose.merge_models(front, network, [('resized', 'resized')])


def _of_one_size(draft: Draft) -> onnx.ModelProto:
    """By PyTorch's newer exporter, which knows every shape of a fixed size."""
    batch, (height, width) = 2 if draft.batches else 1, draft.size
    example = torch.rand(batch, 3, height, width)
    module = draft.scores
    if draft.of_bytes:
        example = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)
        module = OfBytes(module)
    free = {0: torch.export.Dim('batch')} if draft.batches else {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            module,
            (example,),
            input_names=['image'],
            output_names=['score'],
            dynamic_shapes=(free,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]  # source lines, with the paths of this machine
    return model


def _front(draft: Draft) -> str:
    """MetaIQA's resize as text, see ``metaiqa_arch.target_size``."""
    config: MetaIQAConfig = draft.network.config
    height, width = draft.size or ('height', 'width')
    taken = f'float[batch, 3, {height}, {width}] image'
    if draft.of_bytes:
        taken = f'uint8[batch, {height}, {width}, 3] image'
    size = SQUASHED if config.resize == 'squash' else SHORTER
    return FRONT.format(
        ir=IR_VERSION,
        opset=OPSET,
        taken=taken,
        pixels=BYTES if draft.of_bytes else FLOATS,
        size=size.format(side=config.input_size, longest=longest_side(config)),
        resize=_resize_attributes(config),
    )


def _resize_attributes(config: MetaIQAConfig) -> str:
    """PyTorch's bicubic kernel has a = -0.5 with the filter, -0.75 without."""
    attributes = [
        'coordinate_transformation_mode = "half_pixel"',
        f'antialias = {int(config.antialias)}',
        f'exclude_outside = {int(config.antialias)}',
    ]
    if config.interpolation == 'bicubic':
        sharpness = -0.5 if config.antialias else -0.75
        attributes += ['mode = "cubic"', f'cubic_coeff_a = {sharpness}']
    else:
        attributes += ['mode = "linear"']
    return ', '.join(attributes)
