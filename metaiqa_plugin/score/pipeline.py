"""Images read ahead by threads, scored in batches, told in the order they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.parallel import available_cores
from metaiqa_plugin.score.reading import Reader
from metaiqa_plugin.score.rows import Row, row_of
from metaiqa_plugin.score.scorers import Scorer

__all__ = ['score_images']

BATCHES_AHEAD = 4
READ_AHEAD = 2


def score_images(
    paths: Iterable[str],
    scorers: Sequence[Scorer],
    workers: int | None = None,
    read: Reader | None = None,
) -> Iterator[Row]:
    """A row for each path, in the order of the paths.

    An image that can not be read or scored has an error in its row. A few batches of
    images are held at a time, and one decoded image a worker.

    Args:
        paths: may be endless.
        scorers: the metrics; each image is read once for all of them.
        workers: threads that read and resize; None: one a core.
        read: how; None: as pyiqa does.

    Raises:
        UserError: workers is no number of threads.
    """
    workers = available_cores() if workers is None else workers
    read = read or Reader()
    whole_number('workers', workers)
    batches = [_Batches(scorer) for scorer in scorers]
    most = READ_AHEAD * workers + BATCHES_AHEAD * max(s.batch_size for s in scorers)
    waiting: deque[_Waiting] = deque()
    with ThreadPoolExecutor(workers, initializer=_one_thread) as pool:
        try:
            for path, image in _read_ahead(pool, paths, scorers, workers, read):
                waiting.append(_Waiting(path, image, batches))
                if len(waiting) >= most:
                    yield waiting.popleft().row()
            while waiting:
                yield waiting.popleft().row()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Prepared:
    """An image as the scorers take it; ``error`` where it could not be read."""

    size: tuple[int, int] | None = None
    of_scorers: Sequence[Tensor | Exception] = ()
    error: str = ''


def _read_ahead(
    pool: ThreadPoolExecutor,
    paths: Iterable[str],
    scorers: Sequence[Scorer],
    workers: int,
    read: Reader,
) -> Iterator[tuple[str, _Prepared]]:
    def prepare(path: str) -> _Prepared:
        try:
            image, size = read(path)
        except UserError as error:
            return _Prepared(error=str(error))
        pixels = np.array(image)
        return _Prepared(size, [_attempt(s.prepare, pixels) for s in scorers])

    paths = iter(paths)
    reading: deque[tuple[str, Future[_Prepared]]] = deque(
        (path, pool.submit(prepare, path)) for path in islice(paths, 2 * workers)
    )
    while reading:
        path, image = reading.popleft()
        prepared = image.result()
        reading.extend((path, pool.submit(prepare, path)) for path in islice(paths, 1))
        yield path, prepared


class _Batches:
    """Images of one scorer, gathered by shape until there are enough."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._gathering: dict[tuple[int, ...], _Batch] = {}

    def add(self, prepared: Tensor) -> Callable[[], float]:
        """A function that waits for the image's score, and starts its batch if need be.

        It raises what the scorer raises.
        """
        shape = tuple(prepared.shape)
        batch = self._gathering.setdefault(shape, _Batch())
        place = len(batch.prepared)
        batch.prepared.append(prepared)
        if len(batch.prepared) >= self.scorer.batch_size:
            self._start(shape)

        def collect() -> float:
            if batch.collect is None:
                self._start(shape)
            return batch.scores()[place]

        return collect

    def _start(self, shape: tuple[int, ...]) -> None:
        batch = self._gathering.pop(shape)
        batch.collect = _started(self.scorer, batch.prepared)
        batch.prepared = []


@dataclass
class _Batch:
    prepared: list[Tensor] = field(default_factory=list)
    collect: Callable[[], Sequence[float]] | None = None
    _scores: Sequence[float] | Exception | None = None

    def scores(self) -> Sequence[float]:
        if self._scores is None:
            self._scores = _attempt(self.collect)
        if isinstance(self._scores, Exception):
            raise self._scores
        return self._scores


def _started(scorer: Scorer, prepared: Sequence[Tensor]) -> Callable:
    """As ``scorer.submit``; what it raises comes when the scores are asked for."""
    collect = _attempt(scorer.submit, prepared)
    if not isinstance(collect, Exception):
        return collect

    def fail() -> Sequence[float]:
        raise collect

    return fail


def _attempt(function: Callable, *arguments):
    """What the function returns, or raises: metrics of pyiqa raise anything."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


class _Waiting:
    """An image on its way to its row."""

    def __init__(
        self, path: str, image: _Prepared, batches: Sequence[_Batches]
    ) -> None:
        self._path, self._size, self._error = path, image.size, image.error
        self._scores = [
            prepared if isinstance(prepared, Exception) else of_scorer.add(prepared)
            for of_scorer, prepared in zip(batches, image.of_scorers, strict=False)
        ]
        self._metrics = len(batches)

    def row(self) -> Row:
        if self._error:
            return row_of(self._path, None, [None] * self._metrics, [self._error])
        scores, errors = [], []
        for collect in self._scores:
            got = collect if isinstance(collect, Exception) else _attempt(collect)
            failed = isinstance(got, Exception)
            scores.append(None if failed else got)
            if failed:
                errors.append(_one_line(got))
        return row_of(self._path, self._size, scores, errors)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _one_thread() -> None:
    """Readers share the cores among themselves."""
    torch.set_num_threads(1)
