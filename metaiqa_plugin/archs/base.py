"""Networks whose arguments and preprocessing travel in their checkpoints.

A network of ours is built from a frozen dataclass, its configuration. ``state_dict``
holds it beside the weights, so that whoever loads the file gets the network that was
trained, preprocessed as it was.
"""

from __future__ import annotations

import inspect
import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from metaiqa_plugin.archs.backbones import IMAGENET_MEAN, IMAGENET_STD, input_facts
from metaiqa_plugin.archs.checkpoint import (
    EXTRA_STATE,
    decode_config,
    encode_config,
    read_state_dict,
)
from metaiqa_plugin.errors import (
    CheckpointError,
    UserError,
    one_line,
    one_of,
    real_number,
)
from metaiqa_plugin.weights import shipped_path

__all__ = [
    'LARGEST_SIDE',
    'ConfiguredNetwork',
    'NetworkConfig',
    'load_exactly',
    'network_name',
]

NETWORK = 'network'
SMALLEST_STD = 1e-3
LARGEST_SIDE = 8192
"""Pixels that images are resized or cut to."""
DEFAULT_NETWORK = 'MetaIQA'
"""Of checkpoints that do not name their network: there was one then."""
METRICS = 'pyiqa.models.inference_model'
"""The module of pyiqa whose class builds the network of a metric."""


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
        if not isinstance(self.backbone, str):
            raise UserError(f'backbone={self.backbone!r}: expected a name')
        for name, smallest in (('mean', -math.inf), ('std', SMALLEST_STD)):
            value = tuple(getattr(self, name))
            if len(value) != 3:
                raise UserError(f'{name}={value!r}: expected three numbers, R, G, B')
            for number in value:
                real_number(name, number, smallest)
            object.__setattr__(self, name, value)
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal:
                one_of(name, getattr(self, name), get_args(kind))
            elif kind is bool:
                one_of(name, getattr(self, name), (True, False))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of ``dataclasses.asdict``; unknown keys raise CheckpointError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise CheckpointError(
                f'the checkpoint has network arguments {unknown} that this version '
                'does not know; it was written by a newer one'
            )
        try:
            return cls(**values)
        except (UserError, TypeError) as error:
            raise CheckpointError(
                f'the checkpoint has network arguments that no network has: {error}'
            ) from error


@dataclass(frozen=True)
class ForeignLayout:
    """Checkpoints of another program, whose weights are those of a network of ours.

    Attributes:
        config: of that network.
        prefixes: how keys begin there, and here; the first one marks such a file.
        ignored: keys that are not weights.
    """

    config: NetworkConfig
    prefixes: dict[str, str]
    ignored: tuple[str, ...] = ()

    def fits(self, state: dict[str, Tensor]) -> bool:
        """Whether the keys are of this layout."""
        mark = next(iter(self.prefixes))
        return any(key.startswith(mark) for key in state)

    def translated(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same weights in our layout, with the configuration."""
        renamed = {}
        for key, value in state.items():
            for theirs, ours in self.prefixes.items():
                if key.startswith(theirs):
                    key = ours + key.removeprefix(theirs)
                    break
            if key not in self.ignored:
                renamed[key] = value
        renamed[EXTRA_STATE] = encode_config(asdict(self.config))
        return renamed


class ConfiguredNetwork(nn.Module):
    """A network that scores (N, C, H, W) images, built from its configuration.

    A subclass names its configuration's class in ``CONFIG``, what it is registered as
    in ``NAME``, its weights by the value of ``pretrained`` in ``SHIPPED``, in ``SIZE``
    the argument that says how large the backbone's inputs are, and in ``FOREIGN`` the
    checkpoints of another program that load. It makes its layers in :meth:`_build`,
    timm's network as ``backbone`` among them.

    Args:
        arguments: fields of ``CONFIG``, the first is ``backbone``; None stands for what
            the weights say, and for the default where there are none to load. With
            weights to load, ``WEIGHT_FIELDS`` must agree with them, and the others
            replace what they carry.
        pretrained: a key of ``SHIPPED``: weights that ship; ``'imagenet'``: ImageNet
            weights and a fresh head; ``False``: random.
        pretrained_model_path: a checkpoint; comes before ``pretrained``.

    Attributes:
        scores_only: ``pyiqa.create_metric`` built it. Then it stays in evaluation mode,
            whatever its parents do, and its parameters need no gradient; gradients to
            images flow. Any other network trains, as does a :meth:`trainable` copy.

    Raises:
        UserError: an argument is out of its range or contradicts the weights.
        CheckpointError: the file is not there, damaged, of another network, or has a
            key too many or too few.
    """

    CONFIG: ClassVar[type[NetworkConfig]]
    NAME: ClassVar[str]
    SHIPPED: ClassVar[dict[bool | str, str]]
    SIZE: ClassVar[str]
    FOREIGN: ClassVar[ForeignLayout | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if 'CONFIG' in vars(cls):
            network = inspect.signature(cls.CONFIG).parameters.values()
            weights = inspect.signature(ConfiguredNetwork.__init__).parameters.values()
            only = [each for each in weights if each.kind is each.KEYWORD_ONLY]
            cls.__signature__ = inspect.Signature([*network, *only])

    def __init__(
        self,
        backbone: str | None = None,
        *,
        pretrained: bool | str = True,
        pretrained_model_path: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.scores_only = _builds_a_metric()
        self._given = given = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in {'backbone': backbone, **arguments}.items()
            if value is not None
        }
        one_of('pretrained', pretrained, (*self.SHIPPED, False, 'imagenet'))
        path = pretrained_model_path
        if path is None and pretrained in self.SHIPPED:
            path = shipped_path(self.SHIPPED[pretrained])
        imagenet = path is None and pretrained == 'imagenet'
        if path is None:
            self.config = self.CONFIG(**given)
            self._build(imagenet)
            self._adopt_input_facts(given)
        else:
            state, config = self.read_checkpoint(path)
            _check_agreement(given, config, path)
            self.config = replace(config, **given)
            self._check_shapes(state, path)
            self._build_unseen() if self.scores_only else self._build(imagenet)
            load_exactly(self, state, path)
        fixed, size = self.fixed_input_size, getattr(self.config, self.SIZE)
        if fixed is not None and size != fixed:
            raise UserError(
                f'{self.SIZE}={size}: {self.config.backbone} takes {fixed}x{fixed} only'
            )
        self.to(memory_format=torch.channels_last)
        if imagenet:
            self._fit_to_features()
        if self.scores_only:
            self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.scores_only)

    def trainable(self) -> Self:
        """A copy that trains, on the same device."""
        copied = type(self)(**asdict(self.config), pretrained=False)
        copied.load_state_dict(self.state_dict())
        return copied.to(next(self.parameters()).device)

    def _check_shapes(self, state: dict[str, Tensor], path: str) -> None:
        """Refuse weights that do not fit before a network takes memory."""
        try:
            with torch.device('meta'):
                self._build(imagenet=False)
        except (RuntimeError, TypeError) as error:  # sizes beyond what torch counts
            raise CheckpointError(
                f'{path!r}: a network of its arguments cannot be built '
                f'({one_line(error)[:200]})'
            ) from error
        load_exactly(self, state, path, assign=True)

    def _build_unseen(self) -> None:
        """Make layers whose random weights are replaced; torch's generator stays."""
        with torch.random.fork_rng(devices=[]):
            self._build(imagenet=False)

    def _become(self, config: NetworkConfig) -> None:
        """Be the network of a checkpoint in all that no argument has said."""
        _check_agreement(self._given, config, 'the state dict')
        config = replace(config, **self._given)
        if config == self.config:
            return
        place = next(self.parameters())
        for name in [*self._modules]:
            delattr(self, name)
        self.config = config
        self._build_unseen()
        self.to(place.device, place.dtype, memory_format=torch.channels_last)
        self.eval().requires_grad_(False)

    def _build(self, imagenet: bool) -> None:
        """Make the layers that ``self.config`` describes."""
        raise NotImplementedError

    def _fit_to_features(self) -> None:
        """Set what depends on the features that ImageNet's weights give."""

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
        return input_facts(self.backbone)['fixed_size']

    def _adopt_input_facts(self, given: dict[str, Any]) -> None:
        """What the backbone was made for, where it was not asked otherwise."""
        facts = input_facts(self.backbone)
        made_for = {'mean': facts['mean'], 'std': facts['std']}
        self.config = replace(self.config, **made_for | given)

    @classmethod
    def read_checkpoint(cls, path: str) -> tuple[dict[str, Tensor], NetworkConfig]:
        """State dict in our layout, and the configuration it carries.

        Raises:
            CheckpointError: no layout that this network knows.
        """
        state = read_state_dict(path)
        if EXTRA_STATE not in state:
            if cls.FOREIGN is None or not cls.FOREIGN.fits(state):
                examples = ', '.join(sorted(state)[:3])
                raise CheckpointError(
                    f'{path!r} is not a checkpoint of {cls.NAME}: it has neither '
                    f'network arguments ({EXTRA_STATE}) nor keys of a layout that '
                    f'{cls.NAME} knows; found {examples}, ...'
                )
            return cls.FOREIGN.translated(state), cls.FOREIGN.config
        values = decode_config(state[EXTRA_STATE])
        theirs = values.pop(NETWORK, DEFAULT_NETWORK)
        if theirs != cls.NAME:
            raise CheckpointError(
                f'{path!r} is a checkpoint of {theirs}, not of {cls.NAME}'
            )
        return state, cls.CONFIG.from_dict(values)

    def get_extra_state(self) -> Tensor:
        return encode_config(asdict(self.config) | {NETWORK: self.NAME})

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse weights of another network; preprocessing stays as configured.

        A metric becomes the network of the weights, as if it had been opened by them.
        """
        values = decode_config(state)
        values.pop(NETWORK, None)
        theirs = self.CONFIG.from_dict(values)
        if self.scores_only:
            self._become(theirs)
        for name in self.CONFIG.WEIGHT_FIELDS:
            ours = getattr(self.config, name)
            if ours != getattr(theirs, name):
                raise CheckpointError(
                    f'the checkpoint is of a network with {name}='
                    f'{getattr(theirs, name)!r}, this one has {ours!r}'
                )

    def as_rgb(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in the precision of the weights, of (N, 1 or 3, H, W) floating.

        Raises:
            ValueError: anything else.
        """
        if not images.is_floating_point():
            raise ValueError(
                f'images is {images.dtype}; expected floating numbers in [0, 1], which '
                'images.float() / 255 makes of 8 bits'
            )
        if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
            raise ValueError(
                f'images has shape {tuple(images.shape)}; expected (N, 3, H, W) or '
                '(N, 1, H, W)'
            )
        images = images.expand(-1, 3, -1, -1)
        precision = next(self.parameters()).dtype
        return images if images.dtype == precision else images.to(precision)

    def normalised(self, images: Tensor) -> Tensor:
        """What the backbone takes, of RGB in [0, 1]."""
        mean = images.new_tensor(self.config.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.config.std).view(1, 3, 1, 1)
        images = (images - mean) / std
        return images.contiguous(memory_format=torch.channels_last)


def network_name(path: str) -> str:
    """What the network of a checkpoint is registered as.

    Raises:
        CheckpointError: the file cannot be read.
    """
    state = read_state_dict(path)
    if EXTRA_STATE not in state:
        return DEFAULT_NETWORK
    return str(decode_config(state[EXTRA_STATE]).get(NETWORK, DEFAULT_NETWORK))


def load_exactly(
    network: nn.Module, state: dict[str, Tensor], source: str, assign: bool = False
) -> None:
    """Load ``state`` with every key matching; ``assign``: its tensors, no copies.

    Raises:
        CheckpointError: keys or shapes differ, with the first ones named.
    """
    try:
        network.load_state_dict(state, strict=True, assign=assign)
    except CheckpointError as error:
        raise CheckpointError(f'{source!r}: {error}') from error
    except RuntimeError as error:
        faults = [line.strip() for line in str(error).splitlines()[1:]]
        raise CheckpointError(
            f'{source!r} does not fit the network: {" ".join(faults)[:400]}'
        ) from error


def _builds_a_metric() -> bool:
    """Whether pyiqa is building a metric.

    It builds the networks of metrics and of trainers by the same call. The options of
    our metrics cannot tell, either: ``create_metric('metaiqa')`` reads pyiqa's own
    before it loads this package.
    """
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get('__name__') != METRICS:
        frame = frame.f_back
    return frame is not None


def _check_agreement(given: dict[str, Any], config: NetworkConfig, path: str) -> None:
    """Raises UserError where a given network argument is not that of the weights."""
    for name in config.WEIGHT_FIELDS:
        if name in given and given[name] != getattr(config, name):
            raise UserError(
                f'{name}={given[name]!r} contradicts the weights in {path!r}, which '
                f'have {name}={getattr(config, name)!r}; leave it out, or give '
                "pretrained='imagenet' or False to start a network of your own"
            )
