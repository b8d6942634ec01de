"""Images in, a table of scores out.

The package itself can be called: ``metaiqa_plugin.score(images)`` is
:func:`metaiqa_plugin.score.function.score`.
"""

import inspect
import sys
from types import ModuleType

from metaiqa_plugin.score.agreement import Correlation, correlate
from metaiqa_plugin.score.function import score
from metaiqa_plugin.score.pipeline import score_network
from metaiqa_plugin.score.scorers import open_metric

__all__ = ['Correlation', 'correlate', 'open_metric', 'score', 'score_network']


class _Callable(ModuleType):
    __signature__ = inspect.signature(score)

    def __call__(self, *arguments, **named):
        return score(*arguments, **named)

    __call__.__doc__ = score.__doc__


sys.modules[__name__].__class__ = _Callable
