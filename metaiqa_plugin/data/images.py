"""Finding and reading image files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from metaiqa_plugin.errors import UserError

__all__ = ['IMAGE_SUFFIXES', 'find_images', 'read_rgb']

IMAGE_SUFFIXES = frozenset(
    {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
)


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


def read_rgb(path: str | os.PathLike) -> Image.Image:
    """The decoded image in RGB, as pyiqa reads it.

    Raises:
        UserError: the file is missing or can not be decoded; names it.
    """
    try:
        with _refusing_truncated, Image.open(path) as image:
            return image.convert('RGB')
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
