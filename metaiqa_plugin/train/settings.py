"""The blocks of an option file below ``train:``, which check themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from metaiqa_plugin.errors import UserError, one_of, real_number, whole_number
from metaiqa_plugin.train.ridge import PENALTY
from metaiqa_plugin.train.update import AdamSettings

__all__ = [
    'BatchNorm',
    'BlockSettings',
    'HeadFirst',
    'MetaSettings',
    'RankingSettings',
    'WarmupCosine',
    'check_choices',
]

BatchNorm = Literal['frozen', 'running']
"""What a network normalises by in training: the statistics that it came with, or those
of the batch, which are averaged over batches."""


def check_choices(settings: Any, prefix: str = '') -> None:
    """Every field of a dataclass whose type is bool or a ``Literal`` has such a value.

    Raises:
        UserError: names the field, with ``prefix``, and what is allowed.
    """
    for name, kind in get_type_hints(type(settings)).items():
        if kind is bool:
            one_of(prefix + name, getattr(settings, name), (False, True))
        elif get_origin(kind) is Literal:
            one_of(prefix + name, getattr(settings, name), get_args(kind))


class BlockSettings:
    """Base of dataclasses whose fields are the keys of the block ``train: BLOCK:``."""

    BLOCK: ClassVar[str]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Raises UserError for a key that is not a setting, or a value out of range."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise UserError(
                f'train.{cls.BLOCK}: unknown option {unknown}; known are {known}'
            )
        return cls(**options)


@dataclass(frozen=True)
class MetaSettings(BlockSettings, AdamSettings):
    """How a mini-batch of k tasks changes the network, in the paper's symbols.

    The inner optimizer has the settings of ``AdamSettings``; with ``update: joint`` and
    ``single`` its moments are always carried.

    Attributes:
        update: ``'bilevel'``: Eq. 3-8. ``'joint'``: the baseline of the paper's
            ablation, one Adam over the images of the k tasks in mixed batches.
            ``'single'``: the control, one Adam over the same episodes in the same
            order, a batch holding one distortion, without Eq. 8. ``'maml'``:
            second-order MAML (Finn et al., ICML 2017) through learn2learn, S plain
            gradient steps on the support set, the outer step on the query loss.
            ``'exact'``: the same through the step of the last layer in closed form that
            adaptation takes, see :mod:`metaiqa_plugin.train.ridge`; of a ``MetaIQA``.
            All take the same images from the same data, so that image-steps are equal.
        alpha: inner learning rate of the backbone; that of Adam in ``'joint'`` and
            ``'single'``.
        alpha_head: of the head; None: alpha.
        penalty: of ``'exact'``: L2 penalty on the change of the last layer's weight;
            the default is that of adaptation.
        head: the names of the head's parameters start with one of these.
        inner: ``'all'``: the support steps move every parameter; ``'head'``: the head
            alone, as in ANIL (Raghu et al., ICLR 2020); the query steps move all.
        steps: S, Adam steps on the support set and again on the query set.
        steps_see: ``'whole'``: each step takes the whole set, as the paper writes it;
            ``'part'``: the set is cut into S batches, one per step.
        batchnorm: what becomes of BatchNorm's running statistics, of which the paper
            says nothing. ``'averaged'``: each task starts from those of theta, and
            Eq. 8 is applied to them as to parameters; ``'running'``: they run on from
            task to task, so the last task weighs most; ``'frozen'``: the network
            normalises by the statistics it came with. Without tasks that start from
            theta, ``'averaged'`` is ``'running'``.
        ema: decay of an average of the meta-weights over updates, which is then what
            is validated and saved; 0: none.
        precision: ``'bf16'`` runs the backbone under autocast, ``'fp32'`` does not;
            ``'auto'`` times both at the start and takes bf16 where it pays.
        channels_last: keep images and filters in that layout.
    """

    BLOCK: ClassVar = 'meta'

    update: Literal['bilevel', 'exact', 'maml', 'joint', 'single'] = 'bilevel'
    alpha: float = 1e-4
    alpha_head: float | None = None
    penalty: float = PENALTY
    head: tuple[str, ...] = ('head.',)
    inner: Literal['all', 'head'] = 'all'
    steps: int = 6
    steps_see: Literal['part', 'whole'] = 'part'
    batchnorm: Literal['averaged', 'running', 'frozen'] = 'averaged'
    ema: float = 0.0
    precision: Literal['auto', 'fp32', 'bf16'] = 'auto'
    channels_last: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, 'train.meta.')
        real_number('train.meta.alpha', self.alpha, 0)
        if self.alpha_head is not None:
            real_number('train.meta.alpha_head', self.alpha_head, 0)
        real_number('train.meta.penalty', self.penalty, 1e-6)
        real_number('train.meta.ema', self.ema, 0, 1)
        whole_number('train.meta.steps', self.steps)
        heads = (self.head,) if isinstance(self.head, str) else tuple(self.head)
        if not heads or not all(isinstance(name, str) and name for name in heads):
            raise UserError(
                f'train.meta.head={self.head!r}: expected the beginning of parameter '
                'names, or a list of them'
            )
        object.__setattr__(self, 'head', heads)
        if self.inner == 'head' and self.update != 'bilevel':
            raise UserError(
                f'train.meta.inner=head has no meaning with update={self.update}; it '
                'is for update: bilevel'
            )
        if self.update == 'maml' and self.alpha_head is not None:
            raise UserError(
                'train.meta.alpha_head cannot be given with update: maml; '
                "learn2learn's MAML has one inner rate, alpha"
            )

    @property
    def in_order(self) -> str | None:
        """The setting, if any, that makes a task depend on the one before it."""
        if self.update in ('joint', 'single'):
            return f'update: {self.update}'
        if self.batchnorm == 'running':
            return 'batchnorm: running'
        if self.update == 'bilevel' and self.moments == 'carried':
            return 'moments: carried'
        return None


@dataclass(frozen=True)
class RankingSettings(BlockSettings):
    """How a mini-batch of ranked images changes the network.

    Attributes:
        form: ``'efficient'``: one forward pass, gradients of all pairs in it.
            ``'pairs'``: pair by pair through two branches. ``'hardest'``: the same from
            the pairs of the highest loss. See ``rankiqa_model``.
        margin: in units of the score, which has no scale of its own. It bounds gaps
            from below: with the default one network gave its five levels scores from -5
            to 0, which fine-tuning has to bring to the [0, 1] of MOS.
        pairs: of a mini-batch, drawn at random, to learn from; 0: all.
        hardest: part of the pairs that ``form: hardest`` keeps.
        batchnorm: the statistics of a ``'running'`` one differ between the forms. The
            paper's networks have no BatchNorm.
    """

    BLOCK: ClassVar = 'ranking'

    form: Literal['efficient', 'pairs', 'hardest'] = 'efficient'
    margin: float = 0.2
    pairs: int = 0
    hardest: float = 0.25
    batchnorm: BatchNorm = 'frozen'

    def __post_init__(self) -> None:
        check_choices(self, 'train.ranking.')
        real_number('train.ranking.margin', self.margin, 1e-12)
        real_number('train.ranking.hardest', self.hardest, 1e-12, 1.0001)
        whole_number('train.ranking.pairs', self.pairs, minimum=0)


@dataclass(frozen=True)
class HeadFirst(BlockSettings):
    """How the head is trained alone, before all else is trained with it.

    Attributes:
        steps: of AdamW, the rate falling as a half cosine.
        batch_size: features per step, drawn with replacement.
        lr: rate of the first step.
        weight_decay: of AdamW.
    """

    BLOCK: ClassVar = 'head_first'

    steps: int = 300
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        whole_number('train.head_first.steps', self.steps)
        whole_number('train.head_first.batch_size', self.batch_size)
        real_number('train.head_first.lr', self.lr, 0)
        real_number('train.head_first.weight_decay', self.weight_decay, 0)


@dataclass(frozen=True)
class WarmupCosine:
    """Rates that rise in a line over the first steps and fall as a half cosine.

    As in a scheduler of torch stepped at every iteration; pyiqa 0.1.16 steps those
    once an epoch. The cosine (Loshchilov and Hutter, ICLR 2017, Eq. 5) runs from the
    first step on and the line multiplies it.

    Attributes:
        warmup: share of the steps that the rates rise over, in [0, 1).
    """

    warmup: float = 0.1

    def __post_init__(self) -> None:
        real_number('train.scheduler.warmup', self.warmup, 0, 1)

    def factor(self, step: int, steps: int) -> float:
        """What the rates of one step are multiplied by, in (0, 1].

        Args:
            step: from 1 to ``steps``.
            steps: of the whole training.
        """
        rise = min(1.0, step / (self.warmup * steps + 1))
        return rise * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
