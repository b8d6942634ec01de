"""Networks whose arguments and preprocessing travel in their checkpoints.

A network of ours is built from a frozen dataclass, its configuration. ``state_dict``
holds it beside the weights, so that whoever loads the file gets the network that was
trained, preprocessed as it was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.backbones import input_facts
from metaiqa_plugin.archs.checkpoint import (
    EXTRA_STATE,
    decode_config,
    encode_config,
    read_state_dict,
)
from metaiqa_plugin.errors import CheckpointError, UserError, one_of
from metaiqa_plugin.weights import shipped_path

__all__ = ['ConfiguredNetwork', 'NetworkConfig', 'load_exactly', 'network_name']

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NETWORK = 'network'
DEFAULT_NETWORK = 'MetaIQA'
"""Of checkpoints that do not name their network: there was one then."""


@dataclass(frozen=True)
class NetworkConfig:
    """What all networks share.

    Attributes:
        backbone: timm model name.
        mean, std: per channel, of inputs in [0, 1].

    ``WEIGHT_FIELDS`` are those that the weights belong to; the others may be replaced
    after training.
    """

    backbone: str = 'tf_efficientnet_lite0'
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = ('backbone',)

    def __post_init__(self) -> None:
        for name in ('mean', 'std'):
            value = tuple(getattr(self, name))
            if len(value) != 3:
                raise UserError(f'{name}={value!r}: expected three numbers, R, G, B')
            object.__setattr__(self, name, value)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of ``dataclasses.asdict``; unknown keys raise CheckpointError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise CheckpointError(
                f'the checkpoint has network arguments {unknown} that this version '
                'does not know; it was written by a newer one'
            )
        return cls(**values)


class ConfiguredNetwork(nn.Module):
    """A network that scores (N, C, H, W) images, built from its configuration.

    A subclass names its configuration's class in ``CONFIG``, what it is registered as
    in ``NAME``, its weights by the value of ``pretrained`` in ``SHIPPED``, and in
    ``SIZE`` the argument that says how large the backbone's inputs are; it builds
    itself in :meth:`_build`.

    Args:
        given: arguments of the configuration; None stands for the default, or with
            weights for what they carry.
        pretrained: a key of ``SHIPPED``: weights that ship; ``'imagenet'``: ImageNet
            weights and a fresh head; ``False``: random.
        pretrained_model_path: a checkpoint; comes before ``pretrained``.

    Raises:
        UserError: an argument is out of its range or contradicts the weights.
        CheckpointError: the file is not there, damaged, of another network, or has a
            key too many or too few.
    """

    CONFIG: ClassVar[type[NetworkConfig]]
    NAME: ClassVar[str]
    SHIPPED: ClassVar[dict[bool | str, str]]
    SIZE: ClassVar[str]

    def __init__(
        self,
        given: dict[str, Any],
        pretrained: bool | str,
        pretrained_model_path: str | None,
    ) -> None:
        super().__init__()
        given = {name: value for name, value in given.items() if value is not None}
        one_of('pretrained', pretrained, (*self.SHIPPED, False, 'imagenet'))
        path = pretrained_model_path
        if path is None and pretrained in self.SHIPPED:
            path = shipped_path(self.SHIPPED[pretrained])
        if path is None:
            self.config = self.CONFIG(**given)
            self._build(imagenet=pretrained == 'imagenet')
            self._adopt_input_facts(given)
        else:
            state, config = self.read_checkpoint(path)
            _check_agreement(given, config, path)
            self.config = replace(config, **given)
            self._build(imagenet=False)
            load_exactly(self, state, path)
        fixed, size = self.fixed_input_size, getattr(self.config, self.SIZE)
        if fixed is not None and size != fixed:
            raise UserError(
                f'{self.SIZE}={size}: {self.config.backbone} takes {fixed}x{fixed} only'
            )
        self.to(memory_format=torch.channels_last)

    def _build(self, imagenet: bool) -> None:
        """Make the layers that ``self.config`` describes."""
        raise NotImplementedError

    def _backbone(self) -> nn.Module:
        """The network of timm, which knows what input it was made for."""
        raise NotImplementedError

    @property
    def shorter_side(self) -> int | None:
        """Pixels that larger images are shrunk to in evaluation; None: they are not."""
        raise NotImplementedError

    def views(self, images: Tensor) -> Tensor:
        """What goes through the network in the place of an image.

        In evaluation mode the score of an image is the mean over its views, so that
        views of many images may be scored together.

        Args:
            images: (1, 1 or 3, H, W) floating in [0, 1].

        Returns:
            (k, 3, h, w).
        """
        raise NotImplementedError

    def view_scores(self, views: Tensor) -> Tensor:
        """Scores (N, 1) of views (N, 3, h, w), floating in [0, 1]."""
        raise NotImplementedError

    @property
    def fixed_input_size(self) -> int | None:
        """Side in pixels where the backbone takes no other size, else None."""
        return input_facts(self._backbone())['fixed_size']

    def _adopt_input_facts(self, given: dict[str, Any]) -> None:
        """What the backbone was made for, where it was not asked otherwise."""
        facts = input_facts(self._backbone())
        self.config = replace(self.config, mean=facts['mean'], std=facts['std'])

    @classmethod
    def read_checkpoint(cls, path: str) -> tuple[dict[str, Tensor], NetworkConfig]:
        """State dict in our layout, and the configuration it carries.

        Raises:
            CheckpointError: no layout that this network knows.
        """
        state = read_state_dict(path)
        if EXTRA_STATE not in state:
            return cls._read_foreign(state, path)
        values = decode_config(state[EXTRA_STATE])
        theirs = values.pop(NETWORK, DEFAULT_NETWORK)
        if theirs != cls.NAME:
            raise CheckpointError(
                f'{path!r} is a checkpoint of {theirs}, not of {cls.NAME}'
            )
        return state, cls.CONFIG.from_dict(values)

    @classmethod
    def _read_foreign(
        cls, state: dict[str, Tensor], path: str
    ) -> tuple[dict[str, Tensor], NetworkConfig]:
        """A checkpoint of others, in our layout."""
        raise not_ours(cls.NAME, state, path)

    def get_extra_state(self) -> Tensor:
        return encode_config(asdict(self.config) | {NETWORK: self.NAME})

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse weights of another network; preprocessing stays as configured."""
        values = decode_config(state)
        values.pop(NETWORK, None)
        theirs = self.CONFIG.from_dict(values)
        for name in self.CONFIG.WEIGHT_FIELDS:
            ours = getattr(self.config, name)
            if ours != getattr(theirs, name):
                raise CheckpointError(
                    f'the checkpoint is of a network with {name}='
                    f'{getattr(theirs, name)!r}, this one has {ours!r}'
                )

    @staticmethod
    def as_rgb(images: Tensor) -> Tensor:
        """(N, 3, H, W) of (N, 1 or 3, H, W); raises ValueError for anything else."""
        if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
            raise ValueError(
                f'images has shape {tuple(images.shape)}; expected (N, 3, H, W) or '
                '(N, 1, H, W)'
            )
        return images.expand(-1, 3, -1, -1)

    def normalised(self, images: Tensor) -> Tensor:
        """What the backbone takes, of RGB in [0, 1]."""
        mean = images.new_tensor(self.config.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.config.std).view(1, 3, 1, 1)
        images = (images - mean) / std
        return images.contiguous(memory_format=torch.channels_last)


def network_name(path: str) -> str:
    """What the network of a checkpoint is registered as.

    Raises:
        CheckpointError: the file can not be read.
    """
    state = read_state_dict(path)
    if EXTRA_STATE not in state:
        return DEFAULT_NETWORK
    return decode_config(state[EXTRA_STATE]).get(NETWORK, DEFAULT_NETWORK)


def not_ours(name: str, state: dict[str, Tensor], path: str) -> CheckpointError:
    """The error of a file in no layout that the network ``name`` knows."""
    examples = ', '.join(sorted(state)[:3])
    return CheckpointError(
        f'{path!r} is no checkpoint of {name}: it has neither network arguments '
        f'({EXTRA_STATE}) nor keys of a layout that {name} knows; found {examples}, ...'
    )


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


def _check_agreement(given: dict[str, Any], config: NetworkConfig, path: str) -> None:
    """Raises UserError where a given network argument is not that of the weights."""
    for name in config.WEIGHT_FIELDS:
        if name in given and given[name] != getattr(config, name):
            raise UserError(
                f'{name}={given[name]!r} contradicts the weights in {path!r}, which '
                f'have {name}={getattr(config, name)!r}; leave it out, or give '
                "pretrained='imagenet' or False to start a network of your own"
            )
