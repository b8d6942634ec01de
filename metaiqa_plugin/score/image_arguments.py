"""Images as they are given to a command: files and folders."""

from __future__ import annotations

import os
from collections.abc import Sequence

from metaiqa_plugin.data.images import walk_images

__all__ = ['image_paths']


def image_paths(given: Sequence[str]) -> list[str]:
    """Files, and the images below folders; each file once, sorted by path.

    A file that is given need not exist: reading it tells.

    Raises:
        UserError: a folder without an image.
    """
    paths = []
    for name in given:
        if os.path.isdir(name):
            found = walk_images(name, 'images')
            paths += [os.path.join(name, below) for below in found]
        else:
            paths.append(name)
    once = {os.path.realpath(path): path for path in sorted(paths, reverse=True)}
    return sorted(once.values())
