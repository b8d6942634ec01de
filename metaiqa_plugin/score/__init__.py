"""Images in, a table of scores out."""

from metaiqa_plugin.files import write_table
from metaiqa_plugin.score.agreement import Correlation, correlate
from metaiqa_plugin.score.metrics import open_metric
from metaiqa_plugin.score.pipeline import score_network

__all__ = ['Correlation', 'correlate', 'open_metric', 'score_network', 'write_table']
