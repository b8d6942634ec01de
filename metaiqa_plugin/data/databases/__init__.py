"""Published image-quality databases: what a download holds and how to read it."""

from metaiqa_plugin.data.databases.names import NameParts, describe_names
from metaiqa_plugin.data.databases.table import DATABASES, Database

__all__ = ['DATABASES', 'Database', 'NameParts', 'describe_names']
