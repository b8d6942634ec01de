"""Scoring on a Ray cluster with Ray Data.

Ray shards the paths, holds back what is ahead of the slowest part, and does the shards
of a worker that died again. Every machine needs this package installed.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow

from metaiqa_plugin.parallel import connected, keep_freed_memory
from metaiqa_plugin.score.pipeline import Item, ScoreRow, score_items
from metaiqa_plugin.score.result_file import ERROR, HEIGHT, PATH, WIDTH
from metaiqa_plugin.score.scorers import min_side, open_scorers, scorer_names
from metaiqa_plugin.score.sources import Reader

__all__ = ['CONTENT', 'ImageScorer', 'score_on_ray']

CONTENT = 'bytes'
IMAGES = 64
"""Images that a worker takes at a time; what is lost with it is done again."""


class ImageScorer:
    """Scores batches of paths or of files' contents; for ``map_batches`` of Ray Data.

    docs/scoring-at-scale.md has it in a pipeline.

    Args:
        metrics: names of metrics of pyiqa, or paths of checkpoints of ours.
        names: of the columns of scores; None: the metrics' short names.
        engine, precision, batch_size, keep_going: see ``open_scorers``.
        as_seen, shrink_jpeg, root: see :class:`Reader`.
        threads: that read and that compute.

    Raises:
        UserError: an argument is wrong.
    """

    def __init__(
        self,
        metrics: Sequence[str] = ('metaiqa',),
        names: Sequence[str] | None = None,
        engine: str = 'auto',
        precision: str = 'fp32',
        batch_size: int | None = None,
        as_seen: bool = False,
        shrink_jpeg: bool = False,
        root: str | None = None,
        threads: int = 1,
        keep_going: bool = False,
    ) -> None:
        keep_freed_memory()
        self._names = list(names or scorer_names(metrics))
        self._scorers = open_scorers(
            metrics,
            *(self._names, engine, precision, batch_size),
            threads=threads,
            keep_going=keep_going,
        )
        side = min_side(self._scorers) if shrink_jpeg else None
        self._reader = Reader(as_seen, side, root=root)
        self._threads = threads

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of a batch, in its order.

        Args:
            batch: a column ``path``; ``bytes`` with the files' contents, where they are
                not to be read from these paths; others are kept.

        Returns:
            the columns but ``bytes``, with a column of float64 scores for each metric
            (NaN where there is none), ``width`` and ``height`` (0 where not known) and
            ``error``.
        """
        paths = [str(path) for path in batch[PATH]]
        contents = batch.get(CONTENT, [None] * len(paths))
        items = [
            Item(
                path,
                partial(self._reader, path, content),
                partial(self._reader.pixels, path, content),
            )
            for path, content in zip(paths, contents, strict=True)
        ]
        rows = list(score_items(items, self._scorers, self._threads))
        columns = {name: batch[name] for name in batch if name != CONTENT}
        for place, name in enumerate(self._names):
            columns[name] = np.array([row.scores[place] for row in rows], np.float64)
        columns[WIDTH] = np.array([row.width or 0 for row in rows], np.int32)
        columns[HEIGHT] = np.array([row.height or 0 for row in rows], np.int32)
        columns[ERROR] = np.array([row.error for row in rows], object)
        return columns


def score_on_ray(
    paths: Iterable[str], settings: dict[str, Any], address: str = 'auto'
) -> Iterator[ScoreRow]:
    """Rows as they come, in any order, each path once.

    Args:
        paths: that every machine of the cluster can read; all are held in memory.
        settings: of :class:`ImageScorer`.
        address: of the cluster, see :func:`ray_map`.

    Raises:
        UserError: Ray is not installed, or no cluster is at ``address``.
    """
    names = settings.get('names') or scorer_names(settings['metrics'])
    with connected(address) as ray:
        tables = list(_tables(paths))
        if not tables:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # the bar of the command is enough
        logging.getLogger('ray.data').setLevel(logging.ERROR)
        cores = max(1, int(ray.cluster_resources().get('CPU', 1)))
        scored = ray.data.from_arrow(tables).map_batches(
            ImageScorer,
            fn_constructor_kwargs={'root': os.getcwd(), **settings},
            batch_size=IMAGES,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cores),
        )
        for batch in scored.iter_batches(batch_size=None, prefetch_batches=0):
            yield from _rows(batch, names)


def _tables(paths: Iterable[str]):
    """Blocks of the data set: what Ray hands out and does again."""

    paths = iter(paths)
    while some := list(itertools.islice(paths, IMAGES)):
        yield pyarrow.table({PATH: some})


def _rows(batch: dict[str, np.ndarray], names: Sequence[str]) -> Iterator[ScoreRow]:
    for place, path in enumerate(batch[PATH]):
        scores = [float(batch[name][place]) for name in names]
        yield ScoreRow(
            str(path),
            tuple(None if np.isnan(score) else score for score in scores),
            int(batch[WIDTH][place]) or None,
            int(batch[HEIGHT][place]) or None,
            str(batch[ERROR][place]),
        )
