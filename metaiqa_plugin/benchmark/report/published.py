"""Figures that others published, to stand beside our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from metaiqa_plugin.data.distortions import DISTORTIONS, KADID10K
from metaiqa_plugin.errors import one_of

__all__ = ['published_methods', 'published_types', 'source_note']

FOLDER = Path(__file__).parent / 'published_tables'
PAPER = 'MetaIQA (Zhu et al., CVPR 2020)'
SOURCES = {
    'authentic': f'the comparison in {PAPER}',
    'ablation': f'the ablation study in {PAPER}',
    'lodo_srocc': f'the leave-one-distortion-out comparison in {PAPER}',
    'pyiqa_nr_benchmark': "pyiqa's benchmark of no-reference metrics",
    'biq2021': 'the two tables in the README of BIQ2021 (Ahmed and Asif, Journal of '
    'Electronic Imaging, 2022), whose second has one figure for both correlations of '
    'most methods',
}
MEASURES = {'PLCC': 'plcc', 'SROCC': 'srocc', 'SRCC': 'srocc'}


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
    columns = {f'{source["database"]}_{name}': to for name, to in MEASURES.items()}
    table = _table(source).rename(columns=columns)
    rows = table.set_index(table.columns[0]).filter(['plcc', 'srocc']).iterrows()
    known = {method: row.dropna().to_dict() for method, row in rows}
    return {method: row for method, row in known.items() if row}


def published_types(source: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """SROCC on an unseen type of distortion: ``{method: {type: ...}}``.

    KADID-10k's types are named as here, TID2013's as in the paper, which is how its
    labels are read; the published average is left out.

    Raises:
        UserError: no such table.
    """
    table = _table(source)
    table = table[
        (table.database == source['database']) & (table.distortion != 'Average')
    ]
    if source['database'] == 'KADID-10k':
        names = {DISTORTIONS[name].abbreviation: name for name in KADID10K}
        table = table.assign(distortion=table.distortion.map(names))
    return table.set_index('distortion').drop(columns='database').to_dict()


def source_note(source: Mapping[str, Any]) -> str:
    """Where published figures are from, and whether ours stand beside them."""
    return f'Published: from {SOURCES[source["table"]]}, on {source["database"]}, ' + (
        'by the same protocol.'
        if source.get('same_protocol')
        else 'by another protocol, so not comparable number by number.'
    )


def _table(source: Mapping[str, Any]) -> pd.DataFrame:
    one_of('published.table', source['table'], tuple(SOURCES))
    return pd.read_csv(FOLDER / f'{source["table"]}.csv')
