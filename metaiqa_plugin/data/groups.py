"""Labelled images in groups: the versions of one reference photo under one type."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metaiqa_plugin.data.rows import LabelledRows

__all__ = ['Groups', 'group_rows']


class Groups(NamedTuple):
    """Rows in order of task and reference.

    Attributes:
        order: (N,) int32, the rows in order.
        starts: (G + 1,) int32, where each group starts in it, and N.
        first_groups: the first group of each task, and G.
    """

    order: np.ndarray
    starts: np.ndarray
    first_groups: np.ndarray


def group_rows(rows: LabelledRows) -> Groups:
    """The groups of labelled rows; an image without a reference is one alone."""
    count = len(rows)
    alone = rows.reference_of < 0
    reference = np.where(
        alone, len(rows.references) + np.arange(count), rows.reference_of
    )
    order = np.lexsort((reference, rows.task_of)).astype(np.int32)
    task, reference = rows.task_of[order], reference[order]
    begins = np.ones(count, dtype=bool)
    begins[1:] = (np.diff(task) != 0) | (np.diff(reference) != 0)
    starts = np.flatnonzero(begins)
    first_groups = np.searchsorted(task[starts], np.arange(len(rows.tasks) + 1))
    return Groups(order, np.append(starts, count).astype(np.int32), first_groups)
