"""Pseudo-MOS: what people said, on average, of a distortion type at a level.

The table is KADID-10k's mean MOS of each (type, level) over its 81 photos, on that
database's scale from 1 (bad) to 5 (excellent). It explains 89% of the variance of
that database's MOS; what the photo itself does to the judgement is not in it. It is
not an opinion about the image it labels, hence the name.

Source: Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially Distorted IQA
Database", QoMEX 2019.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib import resources

from metaiqa_plugin.errors import UserError

__all__ = ['PSEUDO_MOS_RANGE', 'pseudo_mos']

PSEUDO_MOS_RANGE = (1.0, 5.0)


def pseudo_mos(distortion: str, level: int) -> float:
    """KADID-10k's mean MOS of a distortion type at a level, 1 to 5, higher better.

    Raises:
        UserError: no such distortion type or level in the table.
    """
    try:
        return _table()[distortion, level]
    except KeyError:
        raise UserError(
            f'no pseudo-MOS for distortion={distortion!r}, level={level!r}; the table '
            'has the 25 types of KADID-10k at levels 1 to 5'
        ) from None


@lru_cache
def _table() -> dict[tuple[str, int], float]:
    source = (
        resources.files(__package__) / 'facts' / 'kadid10k_mos_by_type_and_level.csv'
    )
    with source.open(encoding='utf-8', newline='') as file:
        return {
            (row['distortion'], int(row['level'])): float(row['mean_mos'])
            for row in csv.DictReader(file)
        }
