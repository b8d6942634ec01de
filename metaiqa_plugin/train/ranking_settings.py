"""The ``train: ranking:`` block of an option file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from metaiqa_plugin.errors import one_of, real_number, whole_number
from metaiqa_plugin.train.batchnorm import check_batchnorm
from metaiqa_plugin.train.block_settings import BlockSettings

__all__ = ['RankingSettings']

FORMS = ('efficient', 'pairs', 'hardest')


@dataclass(frozen=True)
class RankingSettings(BlockSettings):
    """How a mini-batch of ranked images changes the network.

    Attributes:
        form: ``'efficient'``: one forward pass, gradients of all pairs in it.
            ``'pairs'``: pair by pair through two branches. ``'hardest'``: the same from
            the pairs of the highest loss. See ``losses.ranking``.
        margin: in units of the score, which has no scale of its own. It bounds gaps
            from below: with the default one network gave its five levels scores from -5
            to 0, which fine-tuning has to bring to the [0, 1] of MOS.
        pairs: of a mini-batch, drawn at random, to learn from; 0: all.
        hardest: part of the pairs that ``form: hardest`` keeps.
        batchnorm: ``'frozen'``: the network normalises by the statistics it came with;
            ``'running'``: by those of the images it is given, which differ between the
            forms. The paper's networks have no BatchNorm.
    """

    BLOCK: ClassVar = 'ranking'

    form: Literal['efficient', 'pairs', 'hardest'] = 'efficient'
    margin: float = 0.2
    pairs: int = 0
    hardest: float = 0.25
    batchnorm: Literal['frozen', 'running'] = 'frozen'

    def __post_init__(self) -> None:
        one_of('train.ranking.form', self.form, FORMS)
        check_batchnorm('train.ranking.batchnorm', self.batchnorm)
        real_number('train.ranking.margin', self.margin, 1e-12)
        real_number('train.ranking.hardest', self.hardest, 1e-12, 1.0001)
        whole_number('train.ranking.pairs', self.pairs, least=0)
