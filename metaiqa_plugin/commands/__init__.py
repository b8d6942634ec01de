"""Verbs of the metaiqa command that have a file of their own."""
