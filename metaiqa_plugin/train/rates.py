"""Learning rates that change with every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metaiqa_plugin.errors import real_number

__all__ = ['WarmupCosine']


@dataclass(frozen=True)
class WarmupCosine:
    """Rates that rise in a line over the first steps and fall as a half cosine.

    As in a scheduler of torch stepped at every iteration; pyiqa 0.1.16 steps those
    once an epoch. The cosine (Loshchilov and Hutter, ICLR 2017, Eq. 5) runs from the
    first step on and the line multiplies it.

    Attributes:
        warmup: share of the steps that the rates rise over, at least 0 and below 1.
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
