"""Experiments as tables and pictures."""
