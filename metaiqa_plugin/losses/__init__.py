"""Losses that pyiqa lacks."""
