"""Checkpoints of MetaIQA: the configuration in them, and the layouts they come in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from torch import Tensor, nn

from metaiqa_plugin.checkpoint import (
    EXTRA_STATE,
    decode_config,
    encode_config,
    read_state_dict,
)
from metaiqa_plugin.checks import one_of, real_number, whole_number
from metaiqa_plugin.errors import CheckpointError, UserError

__all__ = [
    'AUTHORS_CONFIG',
    'NetworkConfig',
    'check_agreement',
    'load_checkpoint',
    'load_exactly',
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkConfig:
    """All that rebuilds a network and its preprocessing, as a checkpoint carries it.

    Attributes:
        backbone: timm model name.
        head: ``'paper'`` (features-hidden-1) or ``'authors'`` (1000-1024-512-1).
        hidden: width of the first fully connected layer of the paper's head.
        dropout: probability in the head, training only.
        input_size: pixels: the shorter side (``'shorter'``) or both (``'squash'``).
        resize: ``'shorter'`` keeps the aspect ratio, ``'squash'`` does not.
        interpolation: of that resize, ``'bicubic'`` or ``'bilinear'``.
        antialias: filter before shrinking.
        mean, std: per channel, of inputs in [0, 1].
    """

    backbone: str = 'tf_efficientnet_lite0'
    head: Literal['paper', 'authors'] = 'paper'
    hidden: int = 512
    dropout: float = 0.5
    input_size: int = 256
    resize: Literal['shorter', 'squash'] = 'shorter'
    interpolation: Literal['bicubic', 'bilinear'] = 'bilinear'
    antialias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    WEIGHT_FIELDS = ('backbone', 'head', 'hidden')

    def __post_init__(self) -> None:
        one_of('head', self.head, ('paper', 'authors'))
        one_of('resize', self.resize, ('shorter', 'squash'))
        one_of('interpolation', self.interpolation, ('bicubic', 'bilinear'))
        whole_number('hidden', self.hidden)
        whole_number('input_size', self.input_size)
        real_number('dropout', self.dropout, 0, 1)
        for name in ('mean', 'std'):
            value = tuple(getattr(self, name))
            if len(value) != 3:
                raise UserError(f'{name}={value!r}: expected three numbers, R, G, B')
            object.__setattr__(self, name, value)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        """Inverse of ``dataclasses.asdict``; unknown keys raise CheckpointError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise CheckpointError(
                f'the checkpoint has network arguments {unknown} that this version '
                'does not know; it was written by a newer one'
            )
        return cls(**values)


AUTHORS_CONFIG = NetworkConfig(
    backbone='resnet18',
    head='authors',
    input_size=224,
    resize='squash',
    antialias=False,
)


def load_checkpoint(path: str) -> tuple[dict[str, Tensor], NetworkConfig]:
    """State dict in our layout, and the configuration it implies.

    Raises:
        CheckpointError: no layout that we know.
    """
    state = read_state_dict(path)
    if EXTRA_STATE in state:
        return state, NetworkConfig.from_dict(decode_config(state[EXTRA_STATE]))
    if any(key.startswith('resnet_layer.') for key in state):
        return _from_authors_layout(state), AUTHORS_CONFIG
    examples = ', '.join(sorted(state)[:3])
    raise CheckpointError(
        f'{path!r} is no MetaIQA checkpoint: it has neither network arguments '
        f'({EXTRA_STATE}) nor the keys of the authors (resnet_layer.*); found '
        f'{examples}, ...'
    )


def _from_authors_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        if key in ('mean', 'std'):
            continue
        for theirs, ours in (('resnet_layer.', 'backbone.'), ('net.', 'head.')):
            if key.startswith(theirs):
                key = ours + key.removeprefix(theirs)
        renamed[key] = value
    renamed[EXTRA_STATE] = encode_config(asdict(AUTHORS_CONFIG))
    return renamed


def load_exactly(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load ``state`` with every key matching.

    Raises:
        CheckpointError: keys or shapes differ, with the first ones named.
    """
    try:
        network.load_state_dict(state, strict=True)
    except CheckpointError as error:
        raise CheckpointError(f'{source!r}: {error}') from error
    except RuntimeError as error:
        faults = [line.strip() for line in str(error).splitlines()[1:]]
        raise CheckpointError(
            f'{source!r} does not fit the network: {" ".join(faults)[:400]}'
        ) from error


def check_agreement(given: dict[str, Any], config: NetworkConfig, path: str) -> None:
    """Raises UserError where a given network argument is not that of the weights."""
    for name in NetworkConfig.WEIGHT_FIELDS:
        if name in given and given[name] != getattr(config, name):
            raise UserError(
                f'{name}={given[name]!r} contradicts the weights in {path!r}, which '
                f'have {name}={getattr(config, name)!r}; leave it out, or give '
                "pretrained='imagenet' or False to start a network of your own"
            )
