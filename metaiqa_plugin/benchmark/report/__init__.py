"""Experiments as tables and pictures."""

from metaiqa_plugin.benchmark.report.report import Report, write_report

__all__ = ['Report', 'write_report']
