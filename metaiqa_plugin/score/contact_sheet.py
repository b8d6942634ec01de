"""A page of thumbnails and scores for culling photos.

Everything is in the one file: thumbnails as data URIs, styles, code, and the rows as
JSON that the code reads. File names are text there and never markup.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.data.images import as_seen, decoded
from metaiqa_plugin.errors import UserError, whole_number
from metaiqa_plugin.files import replacing
from metaiqa_plugin.parallel import available_cores
from metaiqa_plugin.score.pipeline import ScoreRow

__all__ = ['thumbnail', 'write_contact_sheet']

SIDE = 256
QUALITY = 80
THREADS = 8


def write_contact_sheet(
    path: str | os.PathLike,
    images: Sequence[ScoreRow],
    metrics: Mapping[str, bool],
    max_images: int = 1000,
    progress: bool = True,
) -> None:
    """Write the page; a file that is there is replaced when the page is whole.

    It opens sorted by the first metric, the worst image on top. Links to the originals
    are relative to the folder of the page. An image whose file is gone or unreadable
    by now has a placeholder.

    Args:
        path: of the page.
        images: those without an error are shown, those with one are listed.
        metrics: at least one name, and whether its low scores are the good ones; every
            image without an error has as many scores.
        max_images: to show; of more the worst and the best halves by the first metric,
            while the histogram and the counts are of all.
        progress: a bar on stderr.

    Raises:
        UserError: no metric, another number of scores, or ``max_images`` below 1.
    """
    whole_number('max_images', max_images)
    _check(images, metrics)
    ordered = sorted(images, key=lambda image: image.path)
    scored = [image for image in ordered if not image.error]
    shown = _worst_and_best(scored, next(iter(metrics.values())), max_images)
    folder = os.path.abspath(Path(path).parent)
    data = {
        'metrics': [
            {'name': name, 'lowerBetter': lower} for name, lower in metrics.items()
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
    page = _template().render(rows=data)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding='utf-8')


def thumbnail(path: str | os.PathLike) -> bytes | None:
    """JPEG of at most 256 pixels per side, upright by EXIF; None: it cannot be read."""

    def decode(image: Image.Image) -> Image.Image:
        image.draft('RGB', (2 * SIDE, 2 * SIDE))
        return as_seen(image)

    try:
        small = decoded(path, decode)
    except UserError:
        return None
    small.thumbnail((SIDE, SIDE))
    packed = io.BytesIO()
    small.save(packed, 'JPEG', quality=QUALITY)
    return packed.getvalue()


def _check(images: Sequence[ScoreRow], metrics: Mapping[str, bool]) -> None:
    if not metrics:
        raise UserError('metrics={}: a contact sheet needs at least one')
    for image in images:
        if not image.error and len(image.scores) != len(metrics):
            raise UserError(
                f'image {image.path!r} has {len(image.scores)} scores of '
                f'{len(metrics)} metrics; give one per metric'
            )


def _worst_and_best(
    images: Sequence[ScoreRow], lower_better: bool, count: int
) -> list[ScoreRow]:
    """At most so many, in their order; those without a score are the first to go."""
    if len(images) <= count:
        return list(images)
    sign = -1 if lower_better else 1
    known = [place for place, image in enumerate(images) if _known(image.scores[0])]
    known.sort(key=lambda place: sign * images[place].scores[0])
    if len(known) > count:
        best = count // 2
        known = known[: count - best] + known[len(known) - best :]
    return [images[place] for place in sorted(known)]


def _known(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _cards(
    images: Sequence[ScoreRow], folder: str, progress: bool
) -> list[dict[str, Any]]:
    paths = [image.path for image in images]
    with ThreadPoolExecutor(min(THREADS, available_cores())) as pool:
        made = pool.map(thumbnail, paths)
        bar = tqdm(made, 'thumbnails', len(paths), unit='image', disable=not progress)
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
            for image, name, jpeg in zip(images, _short(paths), bar, strict=True)
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


def _template():
    environment = Environment(
        loader=PackageLoader('metaiqa_plugin.score', 'templates'),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.policies['json.dumps_kwargs'] = {
        'allow_nan': False,
        'separators': (',', ':'),
    }
    return environment.get_template('contact_sheet.html')
