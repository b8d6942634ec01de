"""Images in, a table of scores out."""

from metaiqa_plugin.scoring.agreement import Correlation, correlate
from metaiqa_plugin.scoring.metrics import (
    build_metric,
    open_checkpoint,
    open_metric,
    score_network,
)
from metaiqa_plugin.scoring.tables import write_table

__all__ = [
    'Correlation',
    'build_metric',
    'correlate',
    'open_checkpoint',
    'open_metric',
    'score_network',
    'write_table',
]
