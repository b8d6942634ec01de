"""A page of thumbnails and scores on which a person culls photos.

Everything is in the one file: thumbnails as data URIs, styles, code, and the rows as
JSON that the code reads. File names are text there and never markup.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageOps
from tqdm import tqdm

from metaiqa_plugin.data.images import read_photo
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.files import replacing
from metaiqa_plugin.score.rows import ScoreRow

__all__ = ['SheetMetric', 'thumbnail', 'write_contact_sheet']

SIDE = 256
QUALITY = 80
THREADS = 8
TEMPLATES = Path(__file__).parent / 'templates'


@dataclass(frozen=True)
class SheetMetric:
    """A metric: its name, and whether its low scores are the good ones."""

    name: str
    lower_better: bool


def write_contact_sheet(
    path: str | os.PathLike,
    images: Sequence[ScoreRow],
    metrics: Sequence[SheetMetric],
    most: int = 1000,
    progress: bool = True,
) -> None:
    """Write the page; a file that is there is replaced when the page is whole.

    It opens sorted by the first metric, the worst image on top. Links to the originals
    are relative to the folder of the page. An image whose file is gone or unreadable
    by now has a placeholder.

    Args:
        path: of the page.
        images: those without an error are shown, those with one are listed.
        metrics: at least one; every image without an error has as many scores.
        most: images to show; of more the worst and the best halves by the first
            metric, while the histogram and the counts are of all.
        progress: a bar on stderr.

    Raises:
        UserError: no metric, another number of scores, or ``most`` below 1.
    """
    whole_number('most', most)
    _check(images, metrics)
    ordered = sorted(images, key=lambda image: image.path)
    scored = [image for image in ordered if not image.error]
    shown = _worst_and_best(scored, metrics[0], most)
    folder = os.path.abspath(Path(path).parent)
    data = {
        'metrics': [
            {'name': metric.name, 'lowerBetter': metric.lower_better}
            for metric in metrics
        ],
        'scores': [
            [image.scores[place] for image in scored if _known(image.scores[place])]
            for place in range(len(metrics))
        ],
        'total': len(scored),
        'images': _cards(shown, folder, progress),
        'failed': [
            {'path': image.path, 'link': _link(image.path, folder), 'why': image.error}
            for image in ordered
            if image.error
        ],
    }
    with replacing(path) as temporary:
        temporary.write_text(_page(data), encoding='utf-8')


def thumbnail(path: str | os.PathLike) -> bytes | None:
    """JPEG of at most 256 pixels a side, upright by EXIF; None: it can not be read."""
    try:
        small = _small(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    packed = io.BytesIO()
    small.save(packed, 'JPEG', quality=QUALITY)
    return packed.getvalue()


def _small(path: str | os.PathLike) -> Image.Image:
    with Image.open(path) as image:
        if image.mode.startswith(('I', 'F')):
            small = read_photo(path)
        else:
            image.draft('RGB', (2 * SIDE, 2 * SIDE))
            small = ImageOps.exif_transpose(image).convert('RGB')
    small.thumbnail((SIDE, SIDE))
    return small


def _check(images: Sequence[ScoreRow], metrics: Sequence[SheetMetric]) -> None:
    if not metrics:
        raise UserError('metrics=(): a contact sheet needs at least one')
    for image in images:
        if not image.error and len(image.scores) != len(metrics):
            raise UserError(
                f'image {image.path!r} has {len(image.scores)} scores of '
                f'{len(metrics)} metrics; give one a metric'
            )


def _worst_and_best(
    images: Sequence[ScoreRow], metric: SheetMetric, most: int
) -> list[ScoreRow]:
    """At most ``most``, in their order; those without a score are the first to go."""
    if len(images) <= most:
        return list(images)
    sign = -1 if metric.lower_better else 1
    known = [place for place, image in enumerate(images) if _known(image.scores[0])]
    known.sort(key=lambda place: sign * images[place].scores[0])
    best = most // 2
    kept = known
    if len(known) > most:
        kept = known[: most - best] + known[len(known) - best :]
    return [images[place] for place in sorted(kept)]


def _known(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _cards(
    images: Sequence[ScoreRow], folder: str, progress: bool
) -> list[dict[str, Any]]:
    paths = [image.path for image in images]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        made = tqdm(
            pool.map(thumbnail, paths),
            'thumbnails',
            len(paths),
            unit='image',
            disable=not progress,
        )
        return [
            {
                'path': image.path,
                'name': name,
                'link': _link(image.path, folder),
                'listable': _is_a_line(image.path),
                'scores': [score if _known(score) else None for score in image.scores],
                'size': f'{image.width}×{image.height}' if image.width else '',
                'jpeg': None if jpeg is None else base64.b64encode(jpeg).decode(),
            }
            for image, name, jpeg in zip(images, _short(paths), made, strict=True)
        ]


def _short(paths: Sequence[str]) -> list[str]:
    """The paths below the deepest folder that all of them are in."""
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:
        return list(paths)
    return [os.path.relpath(path, common or os.curdir) for path in paths]


def _is_a_line(path: str) -> bool:
    """Whether a text file can name it on a line of its own."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path.splitlines() == [path]


def _link(path: str, folder: str) -> str:
    """Address relative to the page's folder; of another drive a file:// address."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:
        return Path(path).absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, '/')))


def _page(data: dict[str, Any]) -> str:
    """The template with its parts; no part can end the element that it stands in."""
    rows = json.dumps(data, allow_nan=False, separators=(',', ':'))
    parts = {
        'styles': _template('contact_sheet.css'),
        'code': _template('contact_sheet.js'),
        'rows': rows.replace('<', '\\u003c'),
    }
    return re.sub(
        r'\{\{ (\w+) \}\}',
        lambda found: parts[found[1]],
        _template('contact_sheet.html'),
    )


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding='utf-8')
