"""MetaIQA for pyiqa: learned no-reference image quality, by meta-learning.

Importing this package registers its networks, trainers, datasets and metric names
with pyiqa and does nothing else.
"""

from metaiqa_plugin.errors import CheckpointError, UserError
from metaiqa_plugin.registration import register

__all__ = ['CheckpointError', 'UserError', '__version__', 'register']
__version__ = '0.1.0'

register()
