"""Adaptation of a quality prior to a target from labelled images (Eq. 9 and 10).

Paper: MetaIQA, CVPR 2020, Section 3.2. Where we depart from it: what is fitted grows
with the number of labels. The last layer is fitted in closed form, and no further than
the errors for labels left out allow, see :func:`fit_layer`. Only from ``MANY`` labels
on are the stages trained, too, and kept if a fifth of the labels, left out, speaks for
it. The learning rate of P Adam steps follows half a cosine down to zero, head and
backbone have rates of their own, and torch's Adam corrects the bias of its moments,
which Eq. 10 does not.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from metaiqa_plugin.data.crops import MapCrop, RandomCrop, as_input, maps_of
from metaiqa_plugin.data.images import read_resized, walk_images
from metaiqa_plugin.data.labels import DatabaseOptions, read_rows
from metaiqa_plugin.errors import UserError, real_number, whole_number
from metaiqa_plugin.train.network import training_mode
from metaiqa_plugin.train.ridge import fit_layer
from metaiqa_plugin.train.settings import HeadFirst, check_choices

__all__ = [
    'AdaptSettings',
    'Adaptation',
    'Gain',
    'LabelledImages',
    'adapt',
    'features_of',
    'gain_of',
    'read_labels',
    'train_head',
]


FEATURES_AT_ONCE = 16
FEWEST = 5
MANY = 200
"""Labels from which the stages may be trained."""
PASSES = 8
FOLD = 5
RESAMPLES = 1000


@dataclass(frozen=True)
class AdaptSettings:
    """How to adapt.

    Attributes:
        steps: P, Adam steps of stages and head after the fit of the last layer; 0:
            none; None: eight passes over the images where there are ``MANY`` of them
            and a trial on four fifths is better for the last fifth, else none.
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
        if self.steps is not None:
            whole_number('steps', self.steps, minimum=0)
        whole_number('batch_size', self.batch_size, minimum=2)
        whole_number('seed', self.seed, minimum=0)
        real_number('lr', self.lr, 0)
        real_number('lr_head', self.lr_head, 0)
        real_number('weight_decay', self.weight_decay, 0)
        check_choices(self)

    def for_network(self, network: nn.Module) -> AdaptSettings:
        """With what None of ``batchnorm`` stands for."""
        default = 'frozen' if network.config.frozen else 'running'
        return replace(self, batchnorm=self.batchnorm or default)

    def total_steps(self, images: int) -> int:
        """The most Adam steps that an adaptation to so many images takes."""
        if self.steps is not None:
            return self.steps
        if images < MANY:
            return 0
        return self.passes(images) + self.passes(images - len(_held(images, 0)))

    def passes(self, images: int) -> int:
        """Steps of ``PASSES`` passes over so many images."""
        return PASSES * math.ceil(images / self.batch_size)


class Gain(NamedTuple):
    """What adaptation brings to images like the labelled ones.

    Attributes:
        error: root mean squared error in units of MOS, before and after.
        less_error: how much smaller it is; 95% of resamples lie between the two.
        srocc: before and after.
        more_srocc: how much larger it is, likewise.
    """

    error: tuple[float, float]
    less_error: tuple[float, float]
    srocc: tuple[float, float]
    more_srocc: tuple[float, float]

    @property
    def seen(self) -> bool:
        """Whether either is larger than chance explains."""
        return self.less_error[0] > 0 or self.more_srocc[0] > 0


class Adaptation(NamedTuple):
    """What was fitted, and what labels that were left out say of it.

    Attributes:
        fitted: ``'none'``, ``'offset'``, ``'line'`` or ``'layer'``, see ``Fit``; or
            ``'stages'``.
        losses: of each Adam step.
        gain: None where the number of steps was given: nothing was left out.
    """

    fitted: str
    losses: list[float]
    gain: Gain | None


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
        if len(self.paths) < FEWEST:
            raise UserError(
                f'{len(self.paths)} labelled images; at least {FEWEST} are needed'
            )
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
    rows.require_spread()
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
) -> Adaptation:
    """Fit ``network`` in place to labels by the squared error (Eq. 9).

    Resized images are held in memory, about 0.3 MB each at 256 pixels; of a network
    with frozen stages the maps instead, 0.5 MB each at 500 pixels and five stages.

    Args:
        network: a ``MetaIQA``; in evaluation mode afterwards.
        labelled: the M images of the target.
        settings: how to adapt.
        progress: show bars on stderr.
        on_step: called after each Adam step with its number from 1, the number of all
            and its loss; a trial's steps count. What it raises ends the adaptation
            and is passed on.

    Raises:
        UserError: an image cannot be read; or the loss is NaN or infinite.

    Where anything is raised after the first step, the network must not be used.
    """
    settings = (settings or AdaptSettings()).for_network(network)
    target = _Target(network, labelled, settings, progress, on_step)
    everyone = np.arange(len(labelled.mos))
    if settings.steps is None and len(everyone) >= MANY:
        return target.fit_after_trial(everyone, _held(len(everyone), settings.seed))
    return target.fit(everyone, settings.steps or 0)


def gain_of(mos: np.ndarray, before: np.ndarray, after: np.ndarray) -> Gain:
    """Of scores ``after`` over those ``before``, (n,) each, by a paired bootstrap.

    Resampled images, percentile intervals (Efron and Tibshirani, "An Introduction to
    the Bootstrap", 1993, chapter 13); they do not know what was chosen by these labels.
    """
    places = np.random.default_rng(0).integers(len(mos), size=(RESAMPLES, len(mos)))
    drawn = [np.arange(len(mos)), *places]
    found = np.array(
        [
            [_error_and_srocc(mos[part], scores[part]) for scores in (before, after)]
            for part in drawn
        ]
    )  # (draws, before and after, error and SROCC)
    changes = found[1:, 1] - found[1:, 0]
    less, more = _most_of(-changes[:, 0]), _most_of(changes[:, 1])
    return Gain(tuple(found[0, :, 0]), less, tuple(found[0, :, 1]), more)


def _most_of(values: np.ndarray) -> tuple[float, float]:
    """What 95% of those that are numbers lie between."""
    values = values[~np.isnan(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else [math.nan] * 2
    return float(low), float(high)


def _error_and_srocc(mos: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    error = math.sqrt(np.square(scores - mos).mean())
    ranks = [rankdata(values) for values in (mos, scores)]
    flat = any(np.ptp(each) == 0 for each in ranks)
    return error, math.nan if flat else float(np.corrcoef(*ranks)[0, 1])


def _held(images: int, seed: int) -> np.ndarray:
    """Places of a fifth of the images, at random."""
    return np.sort(np.random.default_rng(seed).permutation(images)[::FOLD])


class _Target:
    """The labelled images, read once, and the network that is fitted to some."""

    def __init__(
        self,
        network: nn.Module,
        labelled: LabelledImages,
        settings: AdaptSettings,
        progress: bool,
        on_step: Callable[[int, int, float], None] | None,
    ) -> None:
        self._network, self._settings = network, settings
        self._progress, self._on_step = progress, on_step
        self._device = next(network.parameters()).device
        self._crop, self._images = _training_views(
            network, labelled.paths, settings, progress
        )
        self._mos = torch.tensor(labelled.mos, dtype=torch.float32).view(-1, 1)
        self._steps = 0

    def fit_after_trial(self, everyone: np.ndarray, held: np.ndarray) -> Adaptation:
        """Train the stages, too, if that is better for those held than without."""
        kept = np.setdiff1d(everyone, held)
        start = copy.deepcopy(self._network.state_dict())
        before, mos = self._scores(held), self._mos[held, 0].numpy()
        found = []
        for steps in (0, self._settings.passes(len(kept))):
            self.fit(kept, steps)
            found.append(self._scores(held))
            self._network.load_state_dict(start)
        errors = [np.square(scores - mos).mean() for scores in found]
        if errors[1] >= errors[0]:
            return self.fit(everyone, 0)
        steps = self._settings.passes(len(everyone))
        return self.fit(everyone, steps)._replace(gain=gain_of(mos, before, found[1]))

    def fit(self, places: np.ndarray, steps: int) -> Adaptation:
        """The last layer in closed form, then so many Adam steps."""
        self._network.eval()
        hidden = self._of_each(self._network.hidden, places)
        mos = self._mos[places].to(self._device)
        fit = fit_layer(self._network.head.last, hidden, mos)
        if steps:
            return Adaptation('stages', self._train(places, steps), None)
        scores = (mos[:, 0], fit.before, fit.left_out)
        gain = gain_of(*(each.cpu().numpy() for each in scores))
        return Adaptation(fit.kind, [], gain)

    def _scores(self, places: np.ndarray) -> np.ndarray:
        return self._of_each(self._network, places)[:, 0].cpu().numpy()

    def _of_each(
        self, function: Callable[[Tensor], Tensor], places: np.ndarray
    ) -> Tensor:
        """Of the images as they are at test time: not cropped, not mirrored."""
        views = (self._images[place] for place in places)
        if self._network.config.frozen:
            views = (maps for maps, _ in views)
        views = (torch.from_numpy(np.array(view)).permute(2, 0, 1) for view in views)
        with torch.no_grad():
            found = [function(as_input(v[None].to(self._device))) for v in views]
        return torch.cat(found)

    def _train(self, places: np.ndarray, steps: int) -> list[float]:
        """Adam steps on stages and head (Eq. 10)."""
        network, settings = self._network, self._settings
        generator = np.random.default_rng(settings.seed)
        optimizer = torch.optim.Adam(
            [
                {'params': _trained(network.backbone), 'lr': settings.lr},
                {'params': _trained(network.head), 'lr': settings.lr_head},
            ],
            weight_decay=settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        training_mode(network, settings.batchnorm)
        batches = _batches(len(places), settings.batch_size, steps, generator)
        shown = tqdm(batches, 'adapt', steps, disable=not self._progress, unit='step')
        losses = []
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            for chosen in shown:
                loss = self._loss(places[chosen], generator)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    raise UserError(
                        f'adaptation diverged: the loss of step {len(losses)} is '
                        f'{losses[-1]}; lower lr or lr_head'
                    )
                _descend(loss, optimizer, schedule)
                self._tell(losses[-1])
        network.eval()
        return losses

    def _loss(self, places: np.ndarray, generator: np.random.Generator) -> Tensor:
        crops = [self._crop(self._images[place], generator) for place in places]
        images = as_input(torch.stack(crops).to(self._device))
        half = self._settings.precision == 'bf16'
        with torch.autocast(self._device.type, torch.bfloat16, half):
            predicted = self._network(images).float()
        return functional.mse_loss(predicted, self._mos[places].to(self._device))

    def _tell(self, loss: float) -> None:
        self._steps += 1
        if self._on_step is not None:
            total = self._settings.total_steps(len(self._mos))
            self._on_step(self._steps, total, loss)


def _descend(loss: Tensor, optimizer, schedule) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


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
