"""The image files below a folder, found by name whatever the case of its letters."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from metaiqa_plugin.data.images import iterate_images
from metaiqa_plugin.errors import UserError

__all__ = ['ImagesOnDisk', 'name_key']

NOT_IMAGES = '__MACOSX'


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

        A name without a folder is looked for in the folder first, then below it.

        Raises:
            UserError: several files fit; names them.
        """
        image = image.replace('\\', '/')
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
