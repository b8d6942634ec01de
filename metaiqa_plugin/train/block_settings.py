"""Settings that are a block of an option file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

from metaiqa_plugin.errors import UserError

__all__ = ['BlockSettings']


class BlockSettings:
    """Base of dataclasses whose fields are the keys of the block ``train: BLOCK:``."""

    BLOCK: ClassVar[str]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Raises UserError for a key that is no setting, or a value out of range."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise UserError(
                f'train.{cls.BLOCK}: unknown option {unknown}; known are {known}'
            )
        return cls(**options)
