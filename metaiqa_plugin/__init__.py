"""MetaIQA for pyiqa: learned no-reference image quality, by meta-learning.

Importing this package registers its networks, trainers, datasets and metric names
with pyiqa and does nothing else; ``score`` is loaded when it is used.
"""

import importlib
from typing import TYPE_CHECKING

from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.registration import register

if TYPE_CHECKING:
    from metaiqa_plugin.score.function import score

__all__ = ['CheckpointError', 'UserError', '__version__', 'register', 'score']
__version__ = '0.2.0'

register()


def __getattr__(name: str):
    if name == 'score':
        return importlib.import_module('metaiqa_plugin.score')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
