"""Images in, a table of scores out."""

from metaiqa_plugin.score.agreement import Correlation, correlate
from metaiqa_plugin.score.pipeline import score_network
from metaiqa_plugin.score.scorers import open_metric

__all__ = ['Correlation', 'correlate', 'open_metric', 'score_network']
