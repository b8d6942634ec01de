"""Finding and reading image files."""

from __future__ import annotations

import io
import logging
import os
import threading
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageFile

from metaiqa_plugin.errors import UserError

__all__ = [
    'IMAGE_SUFFIXES',
    'ImagesOnDisk',
    'as_rgb',
    'as_seen',
    'decoded',
    'iterate_images',
    'name_below',
    'name_key',
    'read_photo',
    'read_resized',
    'read_rgb',
    'resize_shorter',
    'turn_of',
    'walk_images',
]

with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()
with suppress(ImportError):
    import pillow_jxl  # noqa: F401
Image.init()

_WANTED = 'JPEG MPO PNG WEBP AVIF HEIF JXL JPEG2000 TIFF BMP GIF PPM TGA'.split()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
"""Formats that are opened, whatever a file is called: photos, and no documents."""

IMAGE_SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in _WANTED
)
NOT_IMAGES = '__MACOSX'
MIN_SIDE = 8
MAX_ELONGATION = 16
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an orientation of EXIF."""

Made = TypeVar('Made')
log = logging.getLogger(__name__)


def walk_images(folder: str | os.PathLike, argument: str = 'folder') -> list[str]:
    """Names that :func:`iterate_images` gives, at least one.

    Raises:
        UserError: no such folder, or no image in it; names ``argument``.
    """
    names = list(iterate_images(folder, argument))
    if not names:
        raise UserError(
            f'{argument}={os.fspath(folder)!r}: no image in it (looked for '
            f'{", ".join(sorted(IMAGE_SUFFIXES))})'
        )
    return names


def iterate_images(
    folder: str | os.PathLike,
    argument: str = 'folder',
    left_out: Counter[str] | None = None,
) -> Iterator[str]:
    """Image files in ``folder`` and its sub-folders: names below it, sorted.

    Names have ``/`` between their parts. Hidden files and folders are left out, and
    what only looks like a file, such as a pipe. Links are followed, but each folder is
    visited once. A sub-folder that cannot be read is left out with a warning. The names
    of one folder are in memory at a time.

    Args:
        folder: where to look.
        argument: that errors name.
        left_out: counts files that are no images, by their suffixes in lower case.

    Raises:
        UserError: no such folder, or it cannot be read; names ``argument``.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise UserError(f'{argument}={root!r}: no such folder')
    left_out = Counter() if left_out is None else left_out
    real_root, seen = os.path.realpath(root), set()
    waiting = ['/']
    while waiting:
        name = waiting.pop()
        if not name.endswith('/'):
            yield name
            continue
        name = name.removeprefix('/')
        try:
            found = _entries(root, name, real_root, seen, left_out)
        except OSError as error:
            if not name:
                raise UserError(
                    f'{argument}={root!r} cannot be read: {error.strerror}'
                ) from error
            _warn_left_out(os.path.join(root, name), error.strerror)
        else:
            waiting += sorted((name + entry for entry in found), reverse=True)


def _entries(
    root: str, prefix: str, real_root: str, seen: set, left_out: Counter[str]
) -> list[str]:
    """Images, and sub-folders with ``/``, of a folder that was not seen before."""
    folder = os.path.join(root, prefix)
    status = os.stat(folder)
    known = (status.st_dev, status.st_ino)
    if known in seen:
        return []
    seen.add(known)
    with os.scandir(folder) as found:
        return [
            name
            for entry in found
            if not entry.name.startswith('.')
            and (name := _kept(entry, real_root, left_out))
        ]


def _kept(entry: os.DirEntry, real_root: str, left_out: Counter[str]) -> str:
    try:
        if entry.is_dir():
            again = entry.is_symlink() and _visited_anyway(entry.path, real_root)
            return '' if again else f'{entry.name}/'
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in IMAGE_SUFFIXES and entry.is_file():
            return entry.name
        if entry.is_file():
            left_out[suffix] += 1
        return ''
    except OSError as error:
        _warn_left_out(entry.path, error.strerror)
        return ''


def _visited_anyway(link: str, real_root: str) -> bool:
    """Whether a link leads to a folder that the walk meets under its own name."""
    real = Path(os.path.realpath(link))
    if not real.is_relative_to(real_root):
        return False
    return not any(part.startswith('.') for part in real.relative_to(real_root).parts)


@lru_cache
def _warn_left_out(path: str, reason: str) -> None:
    log.warning('metaiqa: %r is left out: %s', path, reason)


def name_below(folder: str | os.PathLike, name: str) -> str:
    """The shortest way to write the path of a file below a folder, with ``/``.

    ``./a.jpg`` and the absolute path of ``a.jpg`` are ``a.jpg``; folders are not read.
    """
    name = name.replace('\\', '/')
    if name.startswith('/') or './' in name or '//' in name:
        return os.path.relpath(os.path.join(folder, name), folder)
    return name


def name_key(name: str) -> str:
    """Equal for names that differ in case, slashes or Unicode normal form only."""
    return unicodedata.normalize('NFC', name.replace('\\', '/')).casefold()


class ImagesOnDisk:
    """An index of a folder, which need not exist, and all folders below it.

    Hidden ones are left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: set[str] = set()
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in iterate_images(folder) if folder.is_dir() else ():
            if NOT_IMAGES in path.split('/'):
                continue
            key = name_key(path)
            self._paths.add(path)
            self._by_path[key].append(path)
            self._by_name[key.rpartition('/')[2]].append(path)

    def find(self, image: str) -> str | None:
        """The path below the folder, with ``/``; None: no such image.

        Case, Unicode normal form and the ways of writing a path are not told apart. A
        name without a folder is looked for in the folder first, then below it.

        Raises:
            UserError: several files fit; names them.
        """
        image = name_below(self.folder, image)
        if image in self._paths:
            return image
        key = name_key(image)
        found = self._by_path.get(key, [])
        if not found and '/' not in image:
            found = self._by_name.get(key, [])
        if len(found) > 1:
            raise UserError(
                f'image {image!r} is {len(found)} times below {str(self.folder)!r}: '
                f'{found[0]!r}, {found[1]!r}; keep one'
            )
        return found[0] if found else None

    def beside(self, images: Iterable[str]) -> list[str]:
        """Every image in the folders of ``images``, sorted."""
        folders = {path.rpartition('/')[0] for path in images}
        return sorted(
            path for path in self._paths if path.rpartition('/')[0] in folders
        )


def read_photo(path: str | os.PathLike) -> Image.Image:
    """The image in RGB as a person sees it, for training and synthesis.

    Turned upright by its EXIF orientation, which :func:`read_rgb` does not do, as pyiqa
    does not; the first frame of an animation; alpha dropped.

    Raises:
        UserError: as :func:`read_rgb`; or a side of less than 8 pixels, or one more
            than 16 times as long as the other.
    """
    image = decoded(path, as_seen)
    shorter, longer = sorted(image.size)
    if shorter < MIN_SIDE or longer > MAX_ELONGATION * shorter:
        raise UserError(
            f'image {os.fspath(path)!r} is refused: {image.width}x{image.height} '
            f'pixels; sides must have at least {MIN_SIDE} and differ at most '
            f'{MAX_ELONGATION} times'
        )
    return image


def read_resized(path: str | os.PathLike, size: int) -> np.ndarray:
    """(H, W, 3) uint8 of an image file, its shorter side ``size`` pixels; 0 keeps it.

    Raises:
        UserError: see :func:`read_photo`.
    """
    image = read_photo(path)
    return np.asarray(resize_shorter(image, size) if size else image)


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """Resize to a shorter side of ``size`` pixels: bilinear, antialiased."""
    shorter = min(image.size)
    if shorter == size:
        return image
    target = tuple(max(size, round(side * size / shorter)) for side in image.size)
    return image.resize(target, Image.Resampling.BILINEAR)


def read_rgb(path: str | os.PathLike) -> Image.Image:
    """The decoded image in RGB; of 8 bits per channel, the pixels that pyiqa reads.

    Raises:
        UserError: the file is missing or cannot be decoded; names it.
    """
    return decoded(path, as_rgb)


def as_rgb(image: Image.Image) -> Image.Image:
    """In RGB, deeper pixels scaled to 8 bits; pyiqa cuts those off at 255.

    Raises:
        ValueError: the range of its pixels is not known.
    """
    return _eight_bits(image).convert('RGB')


def as_seen(image: Image.Image) -> Image.Image:
    """As :func:`as_rgb`, and upright by its EXIF orientation."""
    turn = turn_of(image)
    rgb = as_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns an opened image upright by its EXIF orientation; None: nothing."""
    image.load()
    return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of real numbers on [0, 1] or of 16 bits, scaled; others as they are."""
    if image.mode == 'F':
        pixels = np.asarray(image)
        # resampling may have overshot
        if not (pixels.min() > -0.5 and pixels.max() < 1.5):
            raise ValueError('pixels are real numbers beyond 0 to 1; save it in 8 bits')
        return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
    if not image.mode.startswith('I'):
        return image
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or not 255 < pixels.max() < 65536:
        raise ValueError(
            f'{pixels.min()} to {pixels.max()} is not a range of 16 bits; save it in 8'
        )
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def decoded(
    path: str | os.PathLike,
    convert: Callable[[Image.Image], Made],
    content: bytes | None = None,
) -> Made:
    """What ``convert`` makes of the opened image.

    Args:
        path: of the file.
        convert: reads the pixels; may raise any exception.
        content: of the file, where it is in memory.

    Raises:
        UserError: the file is missing or cannot be decoded; names ``path``.
    """
    name = os.fspath(path)
    try:
        if content is None and not S_ISREG(os.stat(path).st_mode):
            raise OSError('no regular file')
        source = path if content is None else io.BytesIO(content)
        with _refusing_truncated(), Image.open(source, formats=FORMATS) as image:
            return convert(image)
    except FileNotFoundError as error:
        raise UserError(f'image {name!r} does not exist') from error
    except Image.DecompressionBombError as error:
        raise UserError(f'image {name!r} is refused: {error}') from error
    except Exception as error:  # decoders raise TypeError, RuntimeError, KeyError ...
        raise UserError(f'image {name!r} cannot be read: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    text = ' '.join(str(error).split())
    if text and isinstance(error, (OSError, SyntaxError, ValueError)):
        return text
    return f'{type(error).__name__} {text}'.rstrip()


_lock = threading.Lock()
_before: list[bool] = []


@contextmanager
def _refusing_truncated() -> Iterator[None]:
    """Makes Pillow refuse truncated files while any thread is inside.

    pyiqa 0.1.16 sets ``LOAD_TRUNCATED_IMAGES`` for the whole process when its AVA data
    set is imported, which building any data set may do; half an image would be scored
    and trained on silently.
    """
    with _lock:
        _before.append(ImageFile.LOAD_TRUNCATED_IMAGES)
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        with _lock:
            before = _before.pop()
            if not _before:  # the last to leave takes what the first had put there
                ImageFile.LOAD_TRUNCATED_IMAGES = before
