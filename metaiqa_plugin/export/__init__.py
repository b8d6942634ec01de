"""A metric as one file for other programs: ONNX or TorchScript, with preprocessing."""

from metaiqa_plugin.export.export import Exported, export_metric

__all__ = ['Exported', 'export_metric']
