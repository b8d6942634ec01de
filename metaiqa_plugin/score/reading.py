"""How files become images that are scored."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from PIL import Image

from metaiqa_plugin.data.images import as_rgb, as_seen, decoded

__all__ = ['FILE_SIZE', 'Reader']

FILE_SIZE = 'size of the file'
"""In an image's ``info``: width and height before it was turned or decoded smaller."""


@dataclass(frozen=True)
class Reader:
    """Reads an image in RGB.

    Attributes:
        as_seen: turn it upright by its EXIF orientation and scale 16 bits to 8; pyiqa
            does neither, and cuts deeper pixels off at 255.
        least_side: decode a JPEG at half, a quarter or an eighth of its size where its
            shorter side stays at least so many pixels; None: never.
        root: folder that paths are below; None: the current one.
    """

    as_seen: bool = False
    least_side: int | None = None
    root: str | None = None

    def __call__(self, path: str, content: bytes | None = None) -> Image.Image:
        """The image; its ``info`` has :data:`FILE_SIZE`.

        Args:
            path: of the file.
            content: of the file, where it is in memory.

        Raises:
            UserError: the file is missing or can not be decoded; names it.
        """

        def convert(image: Image.Image) -> Image.Image:
            size = image.size
            if self.least_side is not None:
                part = self.least_side / min(size)
                image.draft('RGB', tuple(math.ceil(side * part) for side in size))
            image = as_seen(image) if self.as_seen else as_rgb(image)
            image.info[FILE_SIZE] = size
            return image

        where = path if self.root is None else os.path.join(self.root, path)
        return decoded(where, convert, content)
