"""MetaIQA: a convolutional backbone, global average pooling, a regression head.

Paper: Zhu, Li, Wu, Dong, Shi, "MetaIQA: Deep Meta-learning for No-Reference Image
Quality Assessment", CVPR 2020, Section 3.1 and Eq. 1.
Authors' code: github.com/zhuhancheng/MetaIQA (weights in its layout load here).

Where we depart from the paper:

- The backbone is any timm network; the paper's is ResNet-18. The default,
  EfficientNet-Lite0, has ImageNet weights that install without a model hub.
- Between the two fully connected layers stand PReLU and dropout, and a sigmoid
  bounds the score, as in the authors' code; the paper names neither.
- At test time the whole image is used, resized with antialiasing to a shorter side
  of ``input_size`` with its aspect ratio kept (the longer side ends at
  ``MAX_ASPECT`` times that). The authors squash every image to 224x224 without
  antialiasing; networks with the authors' head do that here, too.
- The maps of several stages may be pooled instead of the last one's (``levels``), to
  their standard deviations as well as their means. At 500 pixels that predicts the
  opinions of LIVE Challenge's raters better, see docs/results/recipe-search.md.

Where the authors depart from the paper: their network keeps ResNet-18's 1000-way
classifier and puts 1000-1024-512-1 with BatchNorm behind it (``head='authors'``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal
from urllib.error import URLError

import torch
from pyiqa.archs.metaiqa_arch import MetaIQA as PyiqaMetaIQA
from pyiqa.utils.img_util import imread2tensor
from torch import Tensor, nn
from torch.nn import functional

from metaiqa_plugin.archs.backbones import (
    PooledStages,
    build_backbone,
    pooled_width,
)
from metaiqa_plugin.archs.base import (
    LARGEST_SIDE,
    ConfiguredNetwork,
    ForeignLayout,
    NetworkConfig,
)
from metaiqa_plugin.errors import Unavailable, UserError, real_number, whole_number
from metaiqa_plugin.photos import carried_photos

__all__ = [
    'MetaIQA',
    'MetaIQAConfig',
    'MetaIQAOfficial',
    'longest_side',
    'scaled_side',
    'target_size',
]

MAX_ASPECT = 3.0
SMALLEST_DEVIATION = 1e-3
LARGEST_HIDDEN = 65_536


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
            divided by their deviation over the photos in the package, from
            ImageNet weights; both stay as they are in training.
        dropout: probability in the head, training only.
        input_size: pixels: the shorter side (``'shorter'``) or both (``'squash'``).
        resize: ``'shorter'`` keeps the aspect ratio, ``'squash'`` does not.
        interpolation: of that resize.
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

    WEIGHT_FIELDS = ('backbone', 'levels', 'head', 'hidden', 'standardised')

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'levels', tuple(self.levels))
        self._check_stages()
        if self.levels and self.head == 'authors':
            raise UserError(
                f"levels={list(self.levels)}: the authors' head takes a classifier's "
                "1000 outputs; use head='paper'"
            )
        whole_number('hidden', self.hidden, maximum=LARGEST_HIDDEN)
        whole_number('input_size', self.input_size, maximum=LARGEST_SIDE)
        real_number('dropout', self.dropout, 0, 1)

    def _check_stages(self) -> None:
        levels, frozen = list(self.levels), self.frozen
        for level in levels:
            whole_number('levels', level)
        if levels != sorted(set(levels)):
            raise UserError(
                f'levels={levels}: expected different stages, the finest first'
            )
        whole_number('frozen', frozen, minimum=0)
        if frozen and not levels:
            raise UserError(
                f'frozen={frozen} needs levels: only a backbone that is pooled at its '
                'stages can be cut at one'
            )
        if levels and frozen > levels[0]:
            raise UserError(
                f'frozen={frozen}: maps of stage {levels[0]} are pooled (levels='
                f'{levels}), so the cut cannot lie above it'
            )


class Standardise(nn.Module):
    """Features (N, C) less a mean, divided by a deviation that training leaves alone.

    Until :meth:`fit` or a checkpoint sets them, the mean is 0 and the deviation 1.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(features))
        self.register_buffer('deviation', torch.ones(features))

    def fit(self, features: Tensor) -> None:
        """Take mean and deviation of features (N, C), at least two rows."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0).clamp_min(SMALLEST_DEVIATION))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


class RegressionHead(nn.Sequential):
    """Two fully connected layers: (N, features) to (N, 1) in [0, 1]."""

    def __init__(
        self, features: int, hidden: int, dropout: float, standardised: bool = False
    ) -> None:
        super().__init__(
            *([Standardise(features)] if standardised else []),
            nn.Linear(features, hidden),
            nn.PReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )

    @property
    def last(self) -> nn.Linear:
        """Gives the logit of the score."""
        return self[-2]

    def hidden(self, features: Tensor) -> Tensor:
        """(N, hidden): what the last layer takes."""
        for layer in list(self)[:-2]:
            features = layer(features)
        return features

    def restandardise(self, features: Tensor) -> None:
        """Standardise by features (N, C) and predict the same as before.

        The first layer takes up the difference: with the old mean m and deviation d,
        the new M and D, W' = W D / d and b' = b + W (M - m) / d. Only of a head that
        standardises.
        """
        standardise, linear = self[0], self[1]
        mean, deviation = standardise.mean.clone(), standardise.deviation.clone()
        standardise.fit(features)
        with torch.no_grad():
            linear.bias += linear.weight @ ((standardise.mean - mean) / deviation)
            linear.weight *= standardise.deviation / deviation


class AuthorsHead(nn.Module):
    """The authors' head, 1000-1024-512-1: (N, 1000) to (N, 1) in [0, 1].

    Layer names are those of the authors' checkpoints.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1000, 1024)
        self.bn1 = nn.BatchNorm1d(1024)
        self.relu1 = nn.PReLU()
        self.fc2 = nn.Linear(1024, 512)
        self.bn2 = nn.BatchNorm1d(512)
        self.relu2 = nn.PReLU()
        self.fc3 = nn.Linear(512, 1)
        self.dropout = nn.Dropout(dropout)

    @property
    def last(self) -> nn.Linear:
        """Gives the logit of the score."""
        return self.fc3

    def hidden(self, logits: Tensor) -> Tensor:
        """(N, 512): what the last layer takes."""
        hidden = self.dropout(self.relu1(self.bn1(self.fc1(logits))))
        return self.dropout(self.relu2(self.bn2(self.fc2(hidden))))

    def forward(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(self.last(self.hidden(logits)))


class MetaIQA(ConfiguredNetwork):
    """Quality score of an image, Eq. 1: y^ = f_theta(x).

    Args:
        backbone: and the other fields of :class:`MetaIQAConfig`.
        pretrained: ``True``: the metric that ships (BIQ2021 and LIVE Challenge);
            ``'prior'``: the prior that it comes from (BIQ2021 alone); ``'livec'``: the
            metric of before (distorted Kodak photos and LIVE Challenge);
            ``'imagenet'``: ImageNet weights and a fresh head; ``False``: random.
        pretrained_model_path: a checkpoint of ours, or of the authors' network in
            their key layout (``resnet_layer.*``, ``net.*``) or pyiqa's
            (``resnet_layer.*``, ``head.*``); see ``ConfiguredNetwork`` for how these go
            together, and for exceptions.
    """

    CONFIG = MetaIQAConfig
    NAME = 'MetaIQA'
    SHIPPED: ClassVar = {
        True: 'metaiqa',
        'prior': 'metaiqa-prior',
        'livec': 'metaiqa-livec',
    }
    SIZE = 'input_size'
    FOREIGN = ForeignLayout(
        MetaIQAConfig(
            backbone='resnet18',
            head='authors',
            input_size=224,
            resize='squash',
            antialias=False,
        ),
        {'resnet_layer.': 'backbone.', 'net.': 'head.'},
        ignored=('mean', 'std'),
    )

    def _build(self, imagenet: bool) -> None:
        config = self.config
        classes = 1000 if config.head == 'authors' else 0
        if config.levels:
            self.backbone = PooledStages(
                config.backbone, config.levels, config.frozen, imagenet
            )
        else:
            self.backbone = build_backbone(config.backbone, imagenet, classes)
        if config.head == 'authors':
            self.head = AuthorsHead(config.dropout)
        else:
            self.head = RegressionHead(
                pooled_width(self.backbone),
                config.hidden,
                config.dropout,
                config.standardised,
            )

    @torch.no_grad()
    def _fit_to_features(self) -> None:
        """Standardise by the features of the photos in the package."""
        if not self.config.standardised:
            return
        self.eval()
        features = []
        for path in carried_photos():
            image = imread2tensor(str(path), rgb=True)[None]
            features.append(self.backbone(self.normalised(self._resized(image))))
        self.head[0].fit(torch.cat(features))
        self.train()

    def _adopt_input_facts(self, given: dict[str, Any]) -> None:
        super()._adopt_input_facts(given)
        fixed = self.fixed_input_size
        if fixed is not None:
            size = given.get('input_size', fixed)
            self.config = replace(self.config, input_size=size, resize='squash')

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch.

        Args:
            images: (N, C, H, W) floating, C = 1 (gray) or 3 (RGB), in [0, 1], any
                size. In training mode they are taken at the size they have (crops),
                in evaluation mode they are resized as the configuration says. With
                ``frozen`` stages they may be :meth:`maps` of images.

        Returns:
            (N, 1) in [0, 1], higher is better. Differentiable.
        """
        if self.config.frozen and self.backbone.takes_as_maps(images):
            return self._of_head(self.head, self.backbone(images))
        return self.view_scores(self.views(images))

    def hidden(self, images: Tensor) -> Tensor:
        """(N, hidden): what the head's last layer takes, of images as ``forward``."""
        if not (self.config.frozen and self.backbone.takes_as_maps(images)):
            images = self.normalised(self.views(images))
        return self._of_head(self.head.hidden, self.backbone(images))

    def maps(self, images: Tensor) -> Tensor:
        """Maps of images by the frozen stages, at the size they have.

        Training on maps instead of images saves running these stages again and again.

        Args:
            images: as :meth:`forward` takes them.

        Returns:
            (N, C, h, w), see ``PooledStages.maps``.

        Raises:
            UserError: no stage is frozen.
        """
        if not self.config.frozen:
            raise UserError('frozen=0: the network has no frozen stages to give maps')
        return self.backbone.maps(self.normalised(self.as_rgb(images)))

    @property
    def shorter_side(self) -> int | None:
        return self.config.input_size

    def views(self, images: Tensor) -> Tensor:
        """The image itself; several of one size may be given.

        In RGB, resized in evaluation mode or for a backbone of fixed input size.
        """
        images = self.as_rgb(images)
        if not self.training or self.fixed_input_size is not None:
            return self._resized(images)
        return images

    def view_scores(self, views: Tensor) -> Tensor:
        return self._of_head(self.head, self.backbone(self.normalised(views)))

    def _of_head(self, part: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
        """The head runs in the precision of its weights, outside autocast."""
        dtype = next(self.head.parameters()).dtype
        with torch.autocast(features.device.type, enabled=False):
            return part(features.to(dtype))

    def _resized(self, images: Tensor) -> Tensor:
        size = target_size(images.shape[-2:], self.config)
        if size == tuple(images.shape[-2:]):
            return images
        return functional.interpolate(
            images,
            size=size,
            mode=self.config.interpolation,
            antialias=self.config.antialias,
            align_corners=False,
        )


def target_size(size: tuple[int, int], config: MetaIQAConfig) -> tuple[int, int]:
    """Height and width in pixels that an image of ``size`` is resized to."""
    if config.resize == 'squash':
        return config.input_size, config.input_size
    shorter, longest = min(size), longest_side(config)
    height, width = (
        scaled_side(side, shorter, config.input_size, longest) for side in size
    )
    return height, width


def longest_side(config: MetaIQAConfig) -> int:
    """Pixels that no side of a resized image is longer than."""
    return round(config.input_size * MAX_ASPECT)


def scaled_side(length: int, shorter: int, target: int, longest: int) -> int:
    """Pixels of a side of ``length`` where ``shorter`` becomes ``target``.

    Halves are rounded to even. TorchScript compiles it, whose ``round`` gives a float.
    """
    return min(max(1, int(round(length * target / shorter))), longest)  # noqa: RUF046


class MetaIQAOfficial(PyiqaMetaIQA):
    """pyiqa's own inference wrapper, under the metric name ``metaiqa-official``.

    It fetches the authors' checkpoint from pyiqa's model hub. Without a network pyiqa
    0.1.16 ends in a bare ``URLError``; this class says what to do.

    Raises:
        Unavailable: the hub cannot be reached and no local file was given.
    """

    def __init__(self, *args, **kwargs) -> None:
        try:
            super().__init__(*args, **kwargs)
        except (URLError, ConnectionError, TimeoutError) as error:
            raise Unavailable(
                "metric 'metaiqa-official' needs the authors' weights from pyiqa's "
                f'model hub, which cannot be reached ({error}); give a local file '
                'with pretrained_model_path=FILE'
            ) from error
