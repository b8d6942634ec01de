"""Images in, a table of scores out."""

from metaiqa_plugin.files import write_table
from metaiqa_plugin.score.agreement import Correlation, correlate
from metaiqa_plugin.score.metrics import (
    build_metric,
    open_checkpoint,
    open_metric,
)
from metaiqa_plugin.score.pipeline import score_network

__all__ = [
    'Correlation',
    'build_metric',
    'correlate',
    'open_checkpoint',
    'open_metric',
    'score_network',
    'write_table',
]
