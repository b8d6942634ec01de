"""Adaptation of a quality prior to a target from labelled images (Eq. 9 and 10).

Paper: MetaIQA, CVPR 2020, Section 3.2. Where we depart from it: the learning rate of
P Adam steps follows half a cosine down to zero, head and backbone have rates of their
own, and torch's Adam corrects the bias of its moments, which Eq. 10 does not.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from metaiqa_plugin.data.crops import MapCrop, RandomCrop, as_input, maps_of
from metaiqa_plugin.data.images import read_resized, walk_images
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.errors import UserError, real_number, whole_number
from metaiqa_plugin.train.network import training_mode
from metaiqa_plugin.train.settings import HeadFirst, check_choices

__all__ = [
    'AdaptSettings',
    'LabelledImages',
    'adapt',
    'features_of',
    'read_labels',
    'train_head',
]


FEATURES_AT_ONCE = 16


@dataclass(frozen=True)
class AdaptSettings:
    """How to adapt.

    Attributes:
        head_steps: steps of the head alone before, see :func:`train_head`; for
            networks with frozen stages. None: 300 for these, 0 for others.
        steps: P, Adam steps; None: eight passes over the images, at least 30 steps;
            0, the head alone, where ``head_steps`` is given.
        batch_size: images per step.
        lr: learning rate of the backbone, at the start.
        lr_head: of the head.
        weight_decay: L2 penalty.
        batchnorm: ``'frozen'`` keeps the statistics of the prior, ``'running'``
            normalises by the batch and keeps averaging. None: frozen in networks
            with frozen stages, running in others.
        resize: pixels: the shorter side of the images that crops are cut from; None:
            what the network resizes to at test time.
        crop_size: side of the training crops; None: 7/8 of ``resize``, and all of it
            where stages of the network are frozen.
        precision: ``'bf16'`` runs the backbone under autocast.
        seed: of batches, crops and dropout.
    """

    head_steps: int | None = None
    steps: int | None = None
    batch_size: int = 16
    lr: float = 1e-4
    lr_head: float = 1e-3
    weight_decay: float = 0.0
    batchnorm: Literal['frozen', 'running', None] = None
    resize: int | None = None
    crop_size: int | None = None
    precision: Literal['fp32', 'bf16'] = 'fp32'
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('resize', 'crop_size'):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name))
        if self.head_steps is not None:
            whole_number('head_steps', self.head_steps, minimum=0)
        if self.steps is not None:
            whole_number('steps', self.steps, minimum=0 if self.head_steps else 1)
        whole_number('batch_size', self.batch_size, minimum=2)
        whole_number('seed', self.seed, minimum=0)
        real_number('lr', self.lr, 0)
        real_number('lr_head', self.lr_head, 0)
        real_number('weight_decay', self.weight_decay, 0)
        check_choices(self)

    def for_network(self, network: nn.Module) -> AdaptSettings:
        """With what None of ``head_steps`` and ``batchnorm`` stands for."""
        frozen = bool(network.config.frozen)
        steps = HeadFirst.steps * frozen if self.head_steps is None else self.head_steps
        batchnorm = self.batchnorm or ('frozen' if frozen else 'running')
        return replace(self, head_steps=steps, batchnorm=batchnorm)

    def total_steps(self, images: int) -> int:
        """P for this many images."""
        if self.steps is not None:
            return self.steps
        return max(30, 8 * math.ceil(images / self.batch_size))


@dataclass(frozen=True)
class LabelledImages:
    """Image files and their MOS.

    Attributes:
        paths: the files.
        mos: in [0, 1], higher better, one per file.
    """

    paths: Sequence[str | os.PathLike]
    mos: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.mos):
            raise UserError(f'{len(self.paths)} paths but {len(self.mos)} mos')
        if len(self.paths) < 2:
            raise UserError(f'{len(self.paths)} labelled images; at least 2 are needed')
        values = np.asarray(self.mos, dtype=float)
        if not ((values >= 0) & (values <= 1)).all():
            raise UserError(
                f'mos reaches from {values.min():g} to {values.max():g}; expected '
                'values in [0, 1], higher better'
            )


def read_labels(
    images: str | os.PathLike,
    scores: str | os.PathLike,
    score_range: Sequence[float] | None = None,
    lower_better: bool = False,
    image_column: str | None = None,
    score_column: str | None = None,
    allow_unlabelled: bool = False,
) -> LabelledImages:
    """Join a folder of images with a csv of scores.

    Args:
        images: the folder, with its sub-folders.
        scores: csv with a column of image names below it and one of scores.
        score_range: (low, high) of the study; None: scores must lie in [0, 1].
        lower_better: low scores are good ones.
        image_column, score_column: None: found by name, see ``image_and_mos``.
        allow_unlabelled: leave out images of the folder that have no row.

    Raises:
        UserError: missing folder, file, column, image or label; score out of range;
            an image with two rows.
    """
    folder = Path(images)
    found = walk_images(folder, 'images')
    rows = read_rows(
        DatabaseOptions(
            os.fspath(scores),
            os.fspath(folder),
            (0, 1) if score_range is None else score_range,
            lower_better,
            image_column=image_column,
            mos_column=score_column,
        ),
        described=False,
    )
    rows.require_files(os.fspath(scores))
    labelled = set(rows.images)
    unlabelled = [name for name in found if name not in labelled]
    if unlabelled and not allow_unlabelled:
        raise UserError(
            f'{scores}: {len(unlabelled)} images of {str(folder)!r} have no row, the '
            f'first is {unlabelled[0]!r}; label them, or leave them out with '
            '--allow-unlabelled'
        )
    return LabelledImages([folder / image for image in rows.images], rows.mos.tolist())


def adapt(
    network: nn.Module,
    labelled: LabelledImages,
    settings: AdaptSettings | None = None,
    progress: bool = True,
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[float]:
    """Fine-tune ``network`` in place by the squared error (Eq. 9) and Adam (Eq. 10).

    Resized images are held in memory, about 0.3 MB each at 256 pixels; of a network
    with frozen stages the maps instead, 0.5 MB each at 500 pixels and five stages.

    Args:
        network: a ``MetaIQA``; in evaluation mode afterwards.
        labelled: the M images of the target.
        settings: how to adapt.
        progress: show bars on stderr.
        on_step: called after each step with its number from 1, the number of all and
            its loss. What it raises ends the adaptation and is passed on.

    Returns:
        the loss of each step.

    Raises:
        UserError: an image cannot be read; or the loss is NaN or infinite.

    Where anything is raised after the first step, the network must not be used.
    """
    settings = (settings or AdaptSettings()).for_network(network)
    crop, images = _training_views(network, labelled.paths, settings, progress)
    if settings.head_steps:
        _head_first(network, images, labelled.mos, settings)
    mos = torch.tensor(labelled.mos, dtype=torch.float32).view(-1, 1)
    device = next(network.parameters()).device
    generator = np.random.default_rng(settings.seed)
    optimizer = torch.optim.Adam(
        [
            {'params': _trained(network.backbone), 'lr': settings.lr},
            {'params': _trained(network.head), 'lr': settings.lr_head},
        ],
        weight_decay=settings.weight_decay,
    )
    total = settings.total_steps(len(images))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, total))
    training_mode(network, settings.batchnorm)
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        batches = _batches(len(images), settings.batch_size, total, generator)
        for chosen in tqdm(batches, 'adapt', total, disable=not progress, unit='step'):
            crops = torch.stack([crop(images[i], generator) for i in chosen])
            with torch.autocast(
                device.type, torch.bfloat16, settings.precision == 'bf16'
            ):
                predicted = network(as_input(crops.to(device))).float()
            loss = functional.mse_loss(predicted, mos[chosen].to(device))
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise UserError(
                    f'adaptation diverged: the loss of step {len(losses)} is '
                    f'{losses[-1]}; lower lr or lr_head'
                )
            _descend(loss, optimizer, schedule)
            if on_step is not None:
                on_step(len(losses), total, losses[-1])
    network.eval()
    return losses


def _descend(loss: Tensor, optimizer, schedule) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


def _head_first(
    network: nn.Module, views: Iterable, mos: Sequence[float], settings: AdaptSettings
) -> None:
    if not network.config.frozen:
        raise UserError(
            f'head_steps={settings.head_steps}: the network has no frozen stages, so '
            'the features of an image change with every crop; use head_steps=0'
        )
    chosen = HeadFirst(
        settings.head_steps, lr=settings.lr_head, weight_decay=settings.weight_decay
    )
    train_head(network, features_of(network, views), mos, chosen, settings.seed)


def features_of(network: nn.Module, views: Iterable[Sequence[np.ndarray]]) -> Tensor:
    """(images x views, features) float32: those of an image one after the other.

    Args:
        network: with frozen stages; is in evaluation mode afterwards.
        views: of each image the maps (h, w, C) of the image and of it mirrored.
    """
    network.eval()
    device = next(network.parameters()).device
    each = (maps for both in views for maps in both)
    rows = []
    with torch.no_grad():
        for _, alike in itertools.groupby(each, key=np.shape):
            while batch := list(itertools.islice(alike, FEATURES_AT_ONCE)):
                maps = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
                rows.append(network.backbone(maps.float().to(device)))
    return torch.cat(rows)


def train_head(
    network: nn.Module,
    features: Tensor,
    mos: Sequence[float],
    settings: HeadFirst,
    seed: int,
) -> None:
    """Train the head alone, in place, by the squared error (Eq. 9).

    A head that knows nothing sends large gradients into the backbone, which forgets
    what ImageNet taught it (Kumar et al., "Fine-Tuning can Distort Pretrained Features
    and Underperform Out-of-Distribution", ICLR 2022). A head that standardises does so
    by these features from then on; what it predicts does not change by that.

    Args:
        network: a ``MetaIQA``, whose head it is.
        features: (M x views, C), as :func:`features_of` gives them; at least two rows.
        mos: of the M images, in [0, 1].
        settings: how to train it.
        seed: of batches and dropout.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    labels = torch.as_tensor(mos, dtype=torch.float32, device=features.device)
    labels = labels.repeat_interleave(len(features) // len(labels)).view(-1, 1)
    head = network.head
    if network.config.standardised:
        head.restandardise(features)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    head.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(1, settings.steps + 1):
            chosen = torch.randint(len(features), (settings.batch_size,))
            chosen = chosen.to(features.device)
            loss = functional.mse_loss(head(features[chosen]), labels[chosen])
            if not math.isfinite(loss.item()):
                raise UserError(
                    f'head_first diverged: the loss of step {step} is {loss.item()}; '
                    'lower lr of train.head_first, or lr_head'
                )
            _descend(loss, optimizer, schedule)
    optimizer.zero_grad()


def _training_views(
    network: nn.Module,
    paths: Sequence[str | os.PathLike],
    settings: AdaptSettings,
    progress: bool,
) -> tuple[Callable[[Any, np.random.Generator], Tensor], list]:
    """How a crop is taken, and what of: images, or maps of them and mirrored."""
    resize = settings.resize or network.config.input_size
    if network.config.frozen:
        crop = RandomCrop(resize, settings.crop_size or resize)
        cells = math.ceil(crop.size / network.backbone.maps_reduction)
        return MapCrop(cells), _read_maps(network, paths, resize, progress)
    size = resize * 7 // 8 if network.fixed_input_size is None else resize
    crop = RandomCrop(resize, settings.crop_size or size)
    with ThreadPoolExecutor() as pool:
        images = pool.map(read_resized, paths, itertools.repeat(resize))
        bar = tqdm(images, 'read', len(paths), disable=not progress, unit='image')
        return crop, list(bar)


def _read_maps(
    network: nn.Module, paths: Sequence, size: int, progress: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    network.eval()
    read = []
    for path in tqdm(paths, 'maps', disable=not progress, unit='image'):
        pixels = read_resized(path, size)
        read.append((maps_of(network, pixels), maps_of(network, pixels[:, ::-1])))
    return read


def _trained(part: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in part.parameters() if parameter.requires_grad]


def _batches(
    images: int, size: int, total: int, generator: np.random.Generator
) -> Iterator[list[int]]:
    """``total`` batches: passes over shuffled images, a short rest joins the next."""
    size = min(size, images)
    queue: list[int] = []
    for _ in range(total):
        while len(queue) < size:
            fresh = generator.permutation(images).tolist()
            queue += [index for index in fresh if index not in queue]
        yield queue[:size]
        queue = queue[size:]
