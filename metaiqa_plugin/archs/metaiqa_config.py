"""What a MetaIQA checkpoint carries beside its weights, and the authors' layouts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from torch import Tensor

from metaiqa_plugin.archs.base import NetworkConfig
from metaiqa_plugin.archs.checkpoint import EXTRA_STATE, encode_config
from metaiqa_plugin.archs.stages import check_stages
from metaiqa_plugin.errors import UserError, one_of, real_number, whole_number

__all__ = ['AUTHORS_CONFIG', 'MetaIQAConfig', 'from_authors_layout', 'is_of_authors']


@dataclass(frozen=True)
class MetaIQAConfig(NetworkConfig):
    """All that rebuilds a network and its preprocessing, as a checkpoint carries it.

    Attributes:
        backbone, mean, std: see :class:`NetworkConfig`.
        levels: stages of the backbone, from 1, whose maps are pooled to their means and
            standard deviations, see ``PooledStages``; none: what the backbone itself
            pools at its end, as in the paper.
        frozen: stages that training leaves as they are, 0: none.
        head: ``'paper'`` (features-hidden-1) or ``'authors'`` (1000-1024-512-1).
        hidden: width of the first fully connected layer of the paper's head.
        standardised: whether the paper's head takes features less their mean and
            divided by their deviation over the photos that the package carries, from
            ImageNet weights; both stay as they are in training.
        dropout: probability in the head, training only.
        input_size: pixels: the shorter side (``'shorter'``) or both (``'squash'``).
        resize: ``'shorter'`` keeps the aspect ratio, ``'squash'`` does not.
        interpolation: of that resize, ``'bicubic'`` or ``'bilinear'``.
        antialias: filter before shrinking.
    """

    levels: tuple[int, ...] = ()
    frozen: int = 0
    head: Literal['paper', 'authors'] = 'paper'
    hidden: int = 512
    standardised: bool = False
    dropout: float = 0.5
    input_size: int = 256
    resize: Literal['shorter', 'squash'] = 'shorter'
    interpolation: Literal['bicubic', 'bilinear'] = 'bilinear'
    antialias: bool = True

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (
        'backbone',
        'levels',
        'head',
        'hidden',
        'standardised',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'levels', tuple(self.levels))
        check_stages(self.levels, self.frozen)
        one_of('head', self.head, ('paper', 'authors'))
        if self.levels and self.head == 'authors':
            raise UserError(
                f"levels={list(self.levels)}: the authors' head takes a classifier's "
                "1000 outputs; use head='paper'"
            )
        one_of('resize', self.resize, ('shorter', 'squash'))
        one_of('interpolation', self.interpolation, ('bicubic', 'bilinear'))
        whole_number('hidden', self.hidden)
        one_of('standardised', self.standardised, (True, False))
        whole_number('input_size', self.input_size)
        real_number('dropout', self.dropout, 0, 1)


AUTHORS_CONFIG = MetaIQAConfig(
    backbone='resnet18',
    head='authors',
    input_size=224,
    resize='squash',
    antialias=False,
)


def is_of_authors(state: dict[str, Tensor]) -> bool:
    """Whether the keys are the authors' (or pyiqa's, which are nearly the same)."""
    return any(key.startswith('resnet_layer.') for key in state)


def from_authors_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in our layout, with the configuration that belongs to them."""
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
