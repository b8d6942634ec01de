"""The ``train: meta:`` block of an option file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from metaiqa_plugin.errors import UserError, one_of, real_number, whole_number
from metaiqa_plugin.train.block_settings import BlockSettings
from metaiqa_plugin.train.update import AdamSettings

__all__ = ['MetaSettings']

UPDATES = ('bilevel', 'maml', 'joint', 'single')


@dataclass(frozen=True)
class MetaSettings(BlockSettings):
    """How a mini-batch of k tasks changes the network, in the paper's symbols.

    Attributes:
        update: ``'bilevel'``: Eq. 3-8. ``'joint'``: the baseline of the paper's
            ablation, one Adam over the images of the k tasks in mixed batches.
            ``'single'``: the control, one Adam over the same episodes in the same
            order, a batch holding one distortion, without Eq. 8. ``'maml'``:
            second-order MAML (Finn et al., ICML 2017) through learn2learn, S plain
            gradient steps on the support set, the outer step on the query loss.
            All take the same images from the same data, so that image-steps are equal.
        alpha: inner learning rate of the backbone; that of Adam in ``'joint'`` and
            ``'single'``.
        alpha_head: of the head; None: alpha.
        head: the names of the head's parameters start with one of these.
        inner: ``'all'``: the support steps move every parameter; ``'head'``: the head
            alone, as in ANIL (Raghu et al., ICLR 2020); the query steps move all.
        steps: S, Adam steps on the support set and again on the query set.
        steps_see: ``'whole'``: each step takes the whole set, as the paper writes it;
            ``'part'``: the set is cut into S batches, one a step.
        mu1, mu2, eps, weight_decay, bias_correction, moments: see ``AdamSettings``.
            In ``'joint'`` and ``'single'`` the moments are always carried.
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

    update: Literal['bilevel', 'maml', 'joint', 'single'] = 'bilevel'
    alpha: float = 1e-4
    alpha_head: float | None = None
    head: tuple[str, ...] = ('head.',)
    inner: Literal['all', 'head'] = 'all'
    steps: int = 6
    steps_see: Literal['part', 'whole'] = 'part'
    mu1: float = 0.9
    mu2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    bias_correction: bool = False
    moments: Literal['set', 'task', 'carried'] = 'set'
    batchnorm: Literal['averaged', 'running', 'frozen'] = 'averaged'
    ema: float = 0.0
    precision: Literal['auto', 'fp32', 'bf16'] = 'auto'
    channels_last: bool = True

    def __post_init__(self) -> None:
        def check(name: str, allowed: tuple) -> None:
            one_of(f'train.meta.{name}', getattr(self, name), allowed)

        real_number('train.meta.alpha', self.alpha, 0)
        if self.alpha_head is not None:
            real_number('train.meta.alpha_head', self.alpha_head, 0)
        real_number('train.meta.ema', self.ema, 0, 1)
        whole_number('train.meta.steps', self.steps)
        check('update', UPDATES)
        check('inner', ('all', 'head'))
        check('steps_see', ('part', 'whole'))
        check('batchnorm', ('averaged', 'running', 'frozen'))
        check('precision', ('auto', 'fp32', 'bf16'))
        check('channels_last', (True, False))
        heads = (self.head,) if isinstance(self.head, str) else tuple(self.head)
        if not heads or not all(isinstance(name, str) and name for name in heads):
            raise UserError(
                f'train.meta.head={self.head!r}: expected the beginning of parameter '
                'names, or a list of such'
            )
        object.__setattr__(self, 'head', heads)
        self._check_together()
        self.adam  # noqa: B018  (checks the rest)

    def _check_together(self) -> None:
        if self.inner == 'head' and self.update != 'bilevel':
            raise UserError(
                f'train.meta.inner=head has no meaning with update={self.update}; it '
                'is for update: bilevel'
            )
        if self.update == 'maml' and self.alpha_head is not None:
            raise UserError(
                'train.meta.alpha_head can not be given with update: maml; '
                "learn2learn's MAML has one inner rate, alpha"
            )

    @property
    def adam(self) -> AdamSettings:
        names = [field.name for field in fields(AdamSettings)]
        return AdamSettings(**{name: getattr(self, name) for name in names})

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
