"""Images loaded ahead by threads and scored in batches; rows in the images' order."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from metaiqa_plugin.errors import UserError, one_line, whole_number
from metaiqa_plugin.parallel import available_cores, available_memory
from metaiqa_plugin.score.scorers import MetricScorer, Scorer
from metaiqa_plugin.score.sources import FILE_SIZE, Reader

__all__ = ['Item', 'ScoreRow', 'score_images', 'score_items', 'score_network']

BATCHES_AHEAD = 4
LOADED_AHEAD = 2
"""Images for each worker."""
BYTES_PER_PIXEL = 24
"""That loading takes: a decoder's and our own RGB, and RGB in float32."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Item:
    """An image to be scored.

    Attributes:
        key: its name in its row: the path, or whatever else tells it apart.
        load: gives it in RGB, or real numbers (H, W, 3) in [0, 1]; called once, by a
            thread. Where the image's ``info`` has :data:`FILE_SIZE`, the row has that
            width and height.
        pixels: how many there will be, at little cost; 0: not known. What it raises is
            ignored.
    """

    key: str
    load: Callable[[], Image.Image | np.ndarray]
    pixels: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class ScoreRow:
    """An image.

    Attributes:
        path: of the image as it was given, or what else names it.
        scores: one for each metric; None where there is none, and then there is an
            error.
        width, height: pixels of the file; None where it could not be read.
        error: what was wrong, one line; empty where nothing was.
    """

    path: str
    scores: tuple[float | None, ...]
    width: int | None = None
    height: int | None = None
    error: str = ''


def score_items(
    items: Iterable[Item],
    scorers: Sequence[Scorer],
    workers: int | None = None,
    memory: float | None = None,
) -> Iterator[ScoreRow]:
    """A row for each item, in their order.

    Whatever loading or scoring an image raises is the error of its row. A few batches
    of images are held at a time, and two decoded images per worker; fewer where they
    are large.

    Args:
        items: may be endless.
        scorers: at least one; each image is loaded once for all of them.
        workers: threads that load and resize; None: one per core.
        memory: GB for images on their way, without what a metric takes while it
            computes; a larger image is an error. None: half of what is available, and
            a larger image is on its way alone.

    Raises:
        UserError: workers is not a number of threads.
    """
    for item, size, results in _results(items, scorers, workers, memory):
        yield _row(item.key, size, results)


def score_images(
    paths: Iterable[str],
    scorers: Sequence[Scorer],
    workers: int | None = None,
    reader: Reader | None = None,
    memory: float | None = None,
) -> Iterator[ScoreRow]:
    """:func:`score_items` of files.

    Args:
        reader: None: reads as pyiqa does.
    """
    read = reader or Reader()
    items = (
        Item(path, partial(read, path), partial(read.pixels, path)) for path in paths
    )
    yield from score_items(items, scorers, workers, memory)


def score_network(
    network: nn.Module, paths: Sequence[str], progress: str | None = None
) -> np.ndarray:
    """Scores (len(paths),) float64 of a bare network, one image at a time.

    Args:
        network: maps (1, 3, H, W) in [0, 1] to (1, 1); put in evaluation mode.
        paths: the images.
        progress: label of a bar on stderr; None: no bar.

    Raises:
        UserError: an image cannot be read.
        Exception: whatever the network raises.
    """
    network.eval()
    device = next(network.parameters()).device
    scorer = MetricScorer('score', lambda image: network(image.to(device)), False)
    items = (Item(str(path), partial(Reader(), str(path))) for path in paths)
    results = tqdm(
        _results(items, [scorer]),
        *(progress, len(paths)),
        unit='image',
        disable=progress is None,
    )
    scores = []
    with torch.inference_mode():
        for _, _, (score,) in results:
            if isinstance(score, Exception):
                raise score
            scores.append(score)
    return np.array(scores)


def _results(
    items: Iterable[Item],
    scorers: Sequence[Scorer],
    workers: int | None = None,
    memory: float | None = None,
) -> Iterator[tuple[Item, Size | None, list[float | Exception]]]:
    """Items, their sizes where known, and what came of each scorer."""
    workers = available_cores() if workers is None else workers
    whole_number('workers', workers)
    loaded = LOADED_AHEAD * workers
    waiting = loaded + BATCHES_AHEAD * max(scorer.batch_size for scorer in scorers)
    largest = math.inf if memory is None else memory * 1e9
    room = available_memory() / 2 if memory is None else largest
    flight = _InFlight(scorers)
    with ThreadPoolExecutor(workers, initializer=_one_thread) as pool:
        try:
            sized = ((item, pool.submit(_pixels, item)) for item in items)
            for item, pixels in _ahead(sized, loaded):
                needed = BYTES_PER_PIXEL * pixels.result()
                if needed > largest:
                    item = replace(item, load=partial(_refuse, item, needed))
                    needed = 0
                while flight and flight.bytes + needed > room:
                    if not flight.begin():
                        yield flight.finish()
                prepared = pool.submit(_prepare, item, scorers)
                flight.loading.append((item, needed, prepared))
                flight.bytes += needed
                if len(flight.loading) >= loaded:
                    flight.begin()
                if len(flight.scoring) >= waiting:
                    yield flight.finish()
            while flight:
                if not flight.begin():
                    yield flight.finish()
        finally:
            pool.shutdown(cancel_futures=True)


class _InFlight:
    """Images between loading and their scores, in order, and bytes that they take."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self.loading: deque[tuple[Item, int, Future]] = deque()
        self.scoring: deque[tuple[Item, int, Size | None, list[Callable]]] = deque()
        self.bytes = 0
        self._batches = [_Batches(scorer) for scorer in scorers]

    def __bool__(self) -> bool:
        return bool(self.loading or self.scoring)

    def begin(self) -> bool:
        """Score what was loaded first; False: nothing is loading."""
        if not self.loading:
            return False
        item, needed, prepared = self.loading.popleft()
        size, images = prepared.result()
        kept = sum(getattr(image, 'nbytes', 0) for image in images)
        self.bytes += kept - needed
        pairs = zip(self._batches, images, strict=True)
        pending = [batches.add(image) for batches, image in pairs]
        self.scoring.append((item, kept, size, pending))
        return True

    def finish(self) -> tuple[Item, Size | None, list[float | Exception]]:
        """What came of the image that was begun first."""
        item, kept, size, pending = self.scoring.popleft()
        self.bytes -= kept
        return item, size, [result() for result in pending]


def _pixels(item: Item) -> int:
    result = _attempt(item.pixels)
    return 0 if isinstance(result, Exception) else result


def _refuse(item: Item, needed: float) -> Image.Image:
    raise UserError(
        f'image {item.key!r} is refused: it needs about {needed / 1e9:.1f} GB; give '
        '--memory more'
    )


def _row(
    path: str, size: Size | None, results: Sequence[float | Exception]
) -> ScoreRow:
    """A row; scores that are not finite are errors, and each error is given once.

    Args:
        path: of the image, or what else names it.
        size: width and height, if known.
        results: of each metric its score, or what it or loading the image raised.
    """
    scores, raised, odd = [], [], []
    for result in results:
        finite = not isinstance(result, Exception) and math.isfinite(result)
        scores.append(result if finite else None)
        if isinstance(result, Exception):
            raised.append(one_line(result))
        elif not finite:
            odd.append(f'the score is {result}')
    errors = '; '.join(dict.fromkeys(raised + odd))
    return ScoreRow(path, tuple(scores), *(size or (None, None)), errors)


def _ahead(steps: Iterable[Any], count: int) -> Iterator[Any]:
    """The same, each when ``count`` of them have been taken or there are no more."""
    taken: deque = deque()
    for step in steps:
        taken.append(step)
        if len(taken) >= count:
            yield taken.popleft()
    yield from taken


def _prepare(
    item: Item, scorers: Sequence[Scorer]
) -> tuple[Size | None, list[Tensor | Exception]]:
    try:
        image = item.load()
        pixels = np.array(image)
        size = getattr(image, 'info', {}).get(FILE_SIZE, pixels.shape[1::-1])
    except Exception as error:
        return None, [error] * len(scorers)
    return size, [_attempt(scorer.prepare, pixels) for scorer in scorers]


class _Batches:
    """Images of one scorer, gathered by shape until there are enough."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._gathering: dict[tuple[int, ...], _Batch] = {}

    def add(self, image: Tensor | Exception) -> Callable[[], float | Exception]:
        """What waits for the image's score, and starts its batch if need be."""
        if isinstance(image, Exception):
            return lambda: image
        batch = self._gathering.get(image.shape)
        if batch is None or batch.started is not None:
            batch = self._gathering[image.shape] = _Batch(self._scorer)
        place = len(batch.images)
        batch.images.append(image)
        if place + 1 >= self._scorer.batch_size:
            del self._gathering[image.shape]
            batch.start()
        return partial(batch.result, place)


class _Batch:
    """Images that are scored together; what the scorer raises is each one's result."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.images: list[Tensor] = []
        self.started: Callable | Exception | None = None

    def start(self) -> None:
        self.started = _attempt(self._scorer.submit, self.images)
        self.images = []

    @cached_property
    def _scores(self) -> Sequence[float] | Exception:
        if self.started is None:
            self.start()
        failed = isinstance(self.started, Exception)
        return self.started if failed else _attempt(self.started)

    def result(self, place: int) -> float | Exception:
        failed = isinstance(self._scores, Exception)
        return self._scores if failed else self._scores[place]


def _attempt(function: Callable, *arguments) -> Any:
    """What the function returns, or raises: metrics of pyiqa raise anything."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def _one_thread() -> None:
    """Loading threads share the cores among themselves."""
    torch.set_num_threads(1)
