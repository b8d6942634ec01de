"""``metaiqa_plugin.score``: the scores of images, whatever they are given as."""

from __future__ import annotations

import os
import urllib.request
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from metaiqa_plugin.data.images import as_rgb, as_seen
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.engines import EngineName, Precision
from metaiqa_plugin.score.pipeline import Item, ScoreRow, score_items
from metaiqa_plugin.score.result_file import ERROR, HEIGHT, PATH, WIDTH
from metaiqa_plugin.score.scorers import Scorer, open_scorers
from metaiqa_plugin.score.sources import Reader, Sources

if TYPE_CHECKING:
    import pandas

__all__ = ['OneImage', 'score']

OneImage = str | os.PathLike | bytes | Image.Image | np.ndarray | Tensor
KINDS = 'a path, a PIL image, an array, a tensor or the bytes of a file'
KEPT = 4
"""Choices of metrics that stay open for the next call."""
MAX_DOWNLOAD = 256 * 2**20


def score(
    images: OneImage | Iterable[OneImage],
    metric: str | os.PathLike | Sequence[str | os.PathLike] = 'metaiqa',
    *,
    table: bool = False,
    download: bool = False,
    upright: bool = False,
    engine: EngineName = 'auto',
    precision: Precision = 'fp32',
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> Any:
    """Scores of images, by the same pipeline as ``metaiqa score``.

    Args:
        images: one image, or a list or an iterator of them, which is gone through
            once. An image is a path; the bytes of a file; a PIL image; an array
            (H, W) or (H, W, 1, 3 or 4) or a tensor (1 or 3, H, W), of bytes or of
            real numbers in [0, 1]. Several are also an array or a tensor with one
            more dimension before these, and the path of a folder, a pattern or a
            table, as the command takes them.
        metric: name of a no-reference metric of pyiqa, or path of a checkpoint of
            ours; or several of them.
        table: give the table of the command instead of numbers.
        download: take strings that begin with ``http://`` or ``https://`` from there.
        upright: turn photos upright by EXIF and scale files of 16 bits to 8, which
            pyiqa does not do.
        engine, precision, batch_size, device: see ``open_scorers``.
        workers: threads that read images; None: one per core.

    Returns:
        for one image and one metric a float, for N images (N,) float64; with several
        metrics these are (M,) and (N, M). An image that cannot be scored is NaN among
        others, and a warning says how many and why. With ``table`` a pandas.DataFrame
        with the columns ``path``, a score for each metric, ``width``, ``height`` and
        ``error``; an image that is not a file has its place, from 0, for a path.

    Raises:
        UserError: an argument is wrong; or the one image cannot be scored, without
            ``table``.
    """
    single = isinstance(metric, (str, os.PathLike))
    metrics = tuple(map(os.fspath, [metric] if single else metric))
    computing = (engine, precision, batch_size, device)
    scorers = _opened(metrics, tuple(map(_changed, metrics)), *computing)
    given, lone = _given(images)
    load = partial(_loaded, reader=Reader(upright), download=download)
    items = (
        Item(str(_path(image) or place), partial(load, image))
        for place, image in enumerate(given)
    )
    rows = list(score_items(items, scorers, workers))
    if table:
        return _table(rows, [scorer.name for scorer in scorers])
    return _numbers(rows, len(metrics), single, lone)


@lru_cache(KEPT)
def _opened(
    metrics: tuple[str, ...], changed: tuple[int | None, ...], *computing
) -> list[Scorer]:
    """Opened once; a checkpoint again where its file was ``changed``."""
    if not metrics:
        raise UserError('metric is empty; name one')
    return open_scorers(metrics, None, *computing)


def _changed(metric: str) -> int | None:
    return os.stat(metric).st_mtime_ns if os.path.isfile(metric) else None


def _path(image: Any) -> str | None:
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else None


def _is_url(path: str) -> bool:
    return path.startswith(('http://', 'https://'))


def _given(images: Any) -> tuple[Iterable[Any], bool]:
    """The images one by one, and whether it is a single one."""
    path = _path(images)
    if path is not None and not _is_url(path):
        found = list(Sources([path]))
        return found, found == [path]
    if isinstance(images, (np.ndarray, Tensor)):
        return (images, False) if images.ndim > 3 else ([images], True)
    if path is not None or isinstance(images, (bytes, Image.Image)):
        return [images], True
    if not isinstance(images, Iterable):
        raise UserError(f'images={images!r}: expected {KINDS}, or several of them')
    return images, False


def _loaded(image: Any, reader: Reader, download: bool) -> Image.Image | np.ndarray:
    """As an item is loaded; raises ValueError for what is no image."""
    path = _path(image)
    if path is not None and _is_url(path):
        return reader(path, _downloaded(path, download))
    if path is not None:
        return reader(path)
    if isinstance(image, bytes):
        return reader('in memory', image)
    if isinstance(image, Image.Image):
        return as_seen(image) if reader.as_seen else as_rgb(image)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image
        image = np.moveaxis(image.numpy(), -3, -1)
    if not isinstance(image, np.ndarray):
        raise ValueError(f'{type(image).__name__} is no image; expected {KINDS}')
    return _of_array(image)


def _of_array(pixels: np.ndarray) -> Image.Image | np.ndarray:
    """RGB of (H, W) or (H, W, 1, 3 or 4), real numbers as they are."""
    while pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in pixels.shape:
        raise ValueError(
            f'shape {pixels.shape} is no image; an array is (H, W) or (H, W, 3), a '
            'tensor (3, H, W)'
        )
    if channels == 1:
        pixels = pixels.reshape(pixels.shape[:2])
    if not np.issubdtype(pixels.dtype, np.floating):
        return as_rgb(Image.fromarray(pixels))
    if not (pixels.min() >= -1e-6 and pixels.max() <= 1 + 1e-6):
        raise ValueError(
            f'real numbers from {pixels.min():.4g} to {pixels.max():.4g}; expected 0 '
            'to 1, which pixels / 255 makes of 8 bits'
        )
    rgb = np.stack([pixels] * 3, -1) if channels == 1 else pixels[..., :3]
    return rgb.astype(np.float32)


def _downloaded(url: str, allowed: bool) -> bytes:
    if not allowed:
        raise UserError(f'{url!r} is downloaded with download=True only')
    with urllib.request.urlopen(url, timeout=60) as response:
        content = response.read(MAX_DOWNLOAD + 1)
    if len(content) > MAX_DOWNLOAD:
        raise UserError(f'{url!r} is larger than {MAX_DOWNLOAD >> 20} MiB')
    return content


def _numbers(
    rows: Sequence[ScoreRow], metrics: int, single: bool, lone: bool
) -> float | np.ndarray:
    failed = [row for row in rows if row.error]
    if failed and lone:
        raise UserError(failed[0].error)
    if failed:
        warnings.warn(
            f'{len(failed)} of {len(rows)} images are NaN; the first, '
            f'{failed[0].path}: {failed[0].error}',
            stacklevel=3,
        )
    scores = np.array([row.scores for row in rows], float).reshape(len(rows), metrics)
    scores = scores[0] if lone else scores
    scores = scores[..., 0] if single else scores
    return float(scores) if lone and single else scores


def _table(rows: Sequence[ScoreRow], names: Sequence[str]) -> pandas.DataFrame:
    import pandas

    table = pandas.DataFrame(
        ([r.path, *r.scores, r.width, r.height, r.error] for r in rows),
        columns=[PATH, *names, WIDTH, HEIGHT, ERROR],
    )
    sizes = dict.fromkeys((WIDTH, HEIGHT), 'Int64')
    return table.astype(dict.fromkeys(names, float) | sizes)
