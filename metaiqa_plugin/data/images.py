"""Finding and reading image files."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from metaiqa_plugin.errors import UserError

__all__ = [
    'IMAGE_SUFFIXES',
    'as_rgb',
    'as_seen',
    'decoded',
    'find_images',
    'iterate_images',
    'read_photo',
    'read_rgb',
    'walk_images',
]

IMAGE_SUFFIXES = frozenset(
    {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
)
LEAST_SIDE = 8
MOST_ELONGATED = 16


def find_images(folder: str | os.PathLike, argument: str = 'folder') -> list[Path]:
    """Image files directly in ``folder``, sorted by name.

    Raises:
        UserError: no such folder, or no image in it; names ``argument``.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'{argument}={str(folder)!r}: no such folder')
    files = (path for path in folder.iterdir() if path.is_file())
    images = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise UserError(
            f'{argument}={str(folder)!r}: no image in it (looked for '
            f'{", ".join(sorted(IMAGE_SUFFIXES))})'
        )
    return images


def walk_images(folder: str | os.PathLike, argument: str = 'folder') -> list[str]:
    """Image files in ``folder`` and its sub-folders: names below it, sorted.

    Names have ``/`` between their parts. Hidden files and folders are left out.

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
    folder: str | os.PathLike, argument: str = 'folder'
) -> Iterator[str]:
    """As :func:`walk_images`, one folder in memory at a time; there may be none.

    Raises:
        UserError: no such folder; names ``argument``.
    """
    if not os.path.isdir(folder):
        raise UserError(f'{argument}={os.fspath(folder)!r}: no such folder')
    yield from _names_below(os.fspath(folder), '')


def _names_below(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = [
            f'{entry.name}/' if entry.is_dir() else entry.name
            for entry in found
            if not entry.name.startswith('.')
        ]
    for name in sorted(entries):
        if name.endswith('/'):
            yield from _names_below(os.path.join(folder, name[:-1]), prefix + name)
        elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            yield prefix + name


def read_photo(path: str | os.PathLike) -> Image.Image:
    """The image in RGB as a person sees it, for training and synthesis.

    Turned upright by its EXIF orientation, 16 bits a channel scaled to 8, the first
    frame of an animation, alpha dropped. :func:`read_rgb` does none of the first two,
    as pyiqa does none.

    Raises:
        UserError: as :func:`read_rgb`; or a side of less than 8 pixels, or one more
            than 16 times as long as the other.
    """
    image = decoded(path, as_seen)
    shorter, longer = sorted(image.size)
    if shorter < LEAST_SIDE or longer > MOST_ELONGATED * shorter:
        raise UserError(
            f'image {os.fspath(path)!r} is refused: {image.width}x{image.height} '
            f'pixels; sides must have at least {LEAST_SIDE} and differ at most '
            f'{MOST_ELONGATED} times'
        )
    return image


def read_rgb(path: str | os.PathLike) -> Image.Image:
    """The decoded image in RGB, as pyiqa reads it.

    Raises:
        UserError: the file is missing or can not be decoded; names it.
    """
    return decoded(path, as_rgb)


def as_rgb(image: Image.Image) -> Image.Image:
    """In RGB, as pyiqa converts it: deeper pixels are cut off at 255."""
    return image.convert('RGB')


def as_seen(image: Image.Image) -> Image.Image:
    """In RGB, upright by its EXIF orientation, 16 bits a channel scaled to 8.

    Raises:
        ValueError: the range of its pixels is not known.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == 'F':
        raise ValueError(
            'pixels are real numbers of unknown range; save it with 8 bits'
        )
    if image.mode.startswith('I'):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError('pixels of more than 16 bits; save it with 8')
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    return image.convert('RGB')


def decoded(
    path: str | os.PathLike,
    convert: Callable[[Image.Image], Image.Image],
    content: bytes | None = None,
) -> Image.Image:
    """What ``convert`` makes of the opened image.

    Args:
        path: of the file.
        convert: reads the pixels; may raise ValueError.
        content: of the file, where it is in memory.

    Raises:
        UserError: the file is missing or can not be decoded; names ``path``.
    """
    try:
        source = path if content is None else io.BytesIO(content)
        with _refusing_truncated, Image.open(source) as image:
            return convert(image)
    except FileNotFoundError as error:
        raise UserError(f'image {str(path)!r} does not exist') from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f'image {str(path)!r} can not be read: {error}') from error
    except Image.DecompressionBombError as error:
        raise UserError(f'image {str(path)!r} is refused: {error}') from error


class _RefusingTruncated:
    """Makes Pillow refuse truncated files while any thread is inside.

    pyiqa 0.1.16 sets ``LOAD_TRUNCATED_IMAGES`` for the whole process when its AVA data
    set is imported, which building any data set may do; half an image would be scored
    and trained on without a word.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *error) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_refusing_truncated = _RefusingTruncated()
