"""Figures that others published, to stand beside our own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metaiqa_plugin.errors import UserError

__all__ = [
    'KADID10K_TYPES',
    'SOURCES',
    'published_methods',
    'published_types',
    'source_note',
]

FOLDER = Path(__file__).parent / 'published_tables'
PAPER = 'MetaIQA (Zhu et al., CVPR 2020)'
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        'authentic': f'the comparison in {PAPER}',
        'ablation': f'the ablation study in {PAPER}',
        'lodo_srocc': f'the leave-one-distortion-out comparison in {PAPER}',
        'pyiqa_nr_benchmark': "pyiqa's benchmark of no-reference metrics",
    }
)
MEASURES = {'PLCC': 'plcc', 'SROCC': 'srocc', 'SRCC': 'srocc'}

KADID10K_TYPES: Mapping[str, str] = MappingProxyType(
    {
        'GB': 'gaussian_blur',
        'LB': 'lens_blur',
        'MB': 'motion_blur',
        'CD': 'color_diffusion',
        'CS': 'color_shift',
        'CQ': 'color_quantization',
        'CSA1': 'color_saturation_1',
        'CSA2': 'color_saturation_2',
        'JP2K': 'jpeg2000',
        'JPEG': 'jpeg',
        'WN': 'white_noise',
        'WNCC': 'white_noise_color_component',
        'IN': 'impulse_noise',
        'MN': 'multiplicative_noise',
        'Denoise': 'denoise',
        'Brighten': 'brighten',
        'Darken': 'darken',
        'MS': 'mean_shift',
        'Jitter': 'jitter',
        'NEP': 'non_eccentricity_patch',
        'Pixelate': 'pixelate',
        'Quantization': 'quantization',
        'CB': 'color_block',
        'HS': 'high_sharpen',
        'CC': 'contrast_change',
    }
)
"""KADID-10k's abbreviations in the paper to its types here.

TID2013's types have the paper's abbreviations as their names.
"""


def published_methods(source: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Correlations by method of one database.

    Args:
        source: ``table`` and ``database``.

    Returns:
        ``{method: {'plcc': ..., 'srocc': ...}}`` in the order of the table, with what
        it has; methods without a figure for the database are left out.

    Raises:
        UserError: no such table.
    """
    found: dict[str, dict[str, float]] = {}
    for row in _rows(source['table']):
        name, *_ = row.values()
        figures = {
            measure: float(row[f'{source["database"]}_{column}'])
            for column, measure in MEASURES.items()
            if row.get(f'{source["database"]}_{column}')
        }
        if figures:
            found[name] = figures
    return found


def published_types(source: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """SROCC on an unseen type of distortion: ``{method: {type: ...}}``.

    Types are named as here; the published average is left out.

    Raises:
        UserError: no such table.
    """
    names = KADID10K_TYPES if source['database'] == 'KADID-10k' else {}
    found: dict[str, dict[str, float]] = {}
    for row in _rows(source['table']):
        kind = row['distortion']
        if row['database'] != source['database'] or kind == 'Average':
            continue
        for method, srocc in list(row.items())[2:]:
            found.setdefault(method, {})[names.get(kind, kind)] = float(srocc)
    return found


def source_note(source: Mapping[str, Any]) -> str:
    """Where published figures are from, and whether ours stand beside them."""
    return f'Published: from {SOURCES[source["table"]]}, on {source["database"]}, ' + (
        'by the same protocol.'
        if source.get('same_protocol')
        else 'by another protocol, so not comparable number by number.'
    )


@cache
def _rows(table: str) -> list[dict[str, str]]:
    if table not in SOURCES:
        raise UserError(f'published table {table!r}: expected one of {list(SOURCES)}')
    with (FOLDER / f'{table}.csv').open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))
