"""A page of thumbnails and scores for culling photos.

Styles, code and the rows, JSON that the code reads, are in one file. So are thumbnails
of up to :data:`INSIDE` photos; of more they lie in a folder beside it and are loaded as
one scrolls. File names are text there and never markup.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from tqdm import tqdm

from metaiqa_plugin.errors import UserError
from metaiqa_plugin.files import remove_unfinished, replacing
from metaiqa_plugin.parallel import available_cores
from metaiqa_plugin.score.pipeline import ScoreRow
from metaiqa_plugin.score.sources import Reader

__all__ = ['INSIDE', 'jpeg', 'thumbnail', 'thumbnail_folder', 'write_contact_sheet']

INSIDE = 1000
SIDE = 256
THREADS = 8
SUFFIX = '.thumb'
"""Of thumbnails: JPEG, but no photos to a later run over their folder."""


def write_contact_sheet(
    path: str | os.PathLike,
    images: Sequence[ScoreRow],
    metrics: Mapping[str, bool],
    as_seen: bool = False,
    inside: int = INSIDE,
    progress: bool = True,
) -> Path | None:
    """Write the page; a file that is there is replaced when the page is whole.

    It opens sorted by the first metric, the worst image on top. Links to the originals
    are relative to the folder of the page. An image whose file is gone or unreadable
    by now has a placeholder. Thumbnails in a folder are kept for the next page of the
    same name; those that it does not need are deleted.

    Args:
        path: of the page.
        images: those without an error are shown, those with one are listed.
        metrics: at least one name, and whether its low scores are the good ones; every
            image without an error has as many scores.
        as_seen: the images were turned by EXIF before they were scored; see ``Reader``.
        inside: most images whose thumbnails are in the page itself.
        progress: a bar on stderr.

    Returns:
        the folder of the thumbnails; None where they are in the page.

    Raises:
        UserError: no metric, or another number of scores.
    """
    _check(images, metrics)
    ordered = sorted(images, key=lambda image: image.path)
    scored = [image for image in ordered if not image.error]
    kept = thumbnail_folder(path)
    folder = kept if len(scored) > inside else None
    paths = [image.path for image in scored]
    shown = list(_thumbnails(paths, folder, as_seen, progress))
    above = os.path.abspath(kept.parent)
    rows = {
        'metrics': [
            {'name': name, 'lowerBetter': lower} for name, lower in metrics.items()
        ],
        'images': [
            {
                'path': image.path,
                'name': name,
                'link': _link(image.path, above),
                'listable': _is_a_line(image.path),
                'scores': [score if _known(score) else None for score in image.scores],
                'size': f'{image.width}×{image.height}' if image.width else '',
                'thumbnail': address,
            }
            for image, name, address in zip(scored, _short(paths), shown, strict=True)
        ],
        'failed': [
            {'path': image.path, 'link': _link(image.path, above), 'why': image.error}
            for image in ordered
            if image.error
        ],
    }
    with replacing(path) as temporary:
        page = _page(rows, "'self' file:" if folder else '')
        temporary.write_text(page, encoding='utf-8')
    _sweep(kept, {address.rpartition('/')[2] for address in shown if address})
    return folder


def thumbnail_folder(path: str | os.PathLike) -> Path:
    """Where the thumbnails of a large page lie: ``sheet.thumbnails`` beside it."""
    return Path(path).with_suffix('.thumbnails')


def thumbnail(path: str | os.PathLike, as_seen: bool = False) -> bytes | None:
    """JPEG of at most 256 pixels per side of what is scored; None: it is unreadable."""
    try:
        small = Reader(as_seen, SIDE)(os.fspath(path))
    except UserError:
        return None
    small.thumbnail((SIDE, SIDE))
    return jpeg(small, quality=80)


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """An RGB image as a JPEG file without metadata."""
    packed = io.BytesIO()
    image.save(packed, 'JPEG', quality=quality, exif=b'', comment=b'')
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


def _known(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _thumbnails(
    paths: Sequence[str], folder: Path | None, as_seen: bool, progress: bool
) -> Iterator[str | None]:
    """Addresses for the page; None where there is no thumbnail."""
    with ThreadPoolExecutor(min(THREADS, available_cores())) as pool:
        address = _inside if folder is None else partial(_beside, folder=folder)
        made = pool.map(partial(address, as_seen=as_seen), paths)
        yield from tqdm(
            made, 'thumbnails', len(paths), unit='image', disable=not progress
        )


def _inside(path: str, as_seen: bool) -> str | None:
    small = thumbnail(path, as_seen)
    return small and f'data:image/jpeg;base64,{base64.b64encode(small).decode()}'


def _beside(path: str, folder: Path, as_seen: bool) -> str | None:
    """Named after what it was made of, so that one that is there need not be made."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    made_of = (os.path.abspath(path), status.st_mtime_ns, status.st_size, as_seen)
    name = hashlib.sha256(repr(made_of).encode()).hexdigest()[:24] + SUFFIX
    if not (folder / name).exists():
        small = thumbnail(path, as_seen)
        if small is None:
            return None
        with replacing(folder / name) as temporary:
            temporary.write_bytes(small)
    return f'{quote(os.fsencode(folder.name))}/{name}'


def _sweep(folder: Path, used: set[str]) -> None:
    remove_unfinished(folder)
    for file in folder.glob(f'*{SUFFIX}'):
        if file.name not in used:
            file.unlink()
    with suppress(OSError):  # not there, or in use
        folder.rmdir()


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


def _page(rows: Mapping, images: str) -> str:
    """The page; its browser runs and loads what is in it, and ``images``."""
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

    def allowed(*names: str) -> str:
        text = ''.join(environment.get_template(name).render() for name in names)
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return environment.get_template('contact_sheet.html').render(
        rows=rows,
        images=images,
        script=allowed('contact_sheet.js'),
        style=allowed('page.css', 'contact_sheet.css'),
    )
