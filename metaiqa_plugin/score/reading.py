"""How files become images that are scored."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from metaiqa_plugin.data.images import as_rgb, as_seen, decoded

__all__ = ['Reader']


@dataclass(frozen=True)
class Reader:
    """Reads an image in RGB, and says how large the file's is.

    Attributes:
        as_seen: turn it upright by its EXIF orientation and scale 16 bits to 8; pyiqa
            does neither, and cuts deeper pixels off at 255.
        least_side: decode a JPEG at half, a quarter or an eighth of its size where its
            shorter side stays at least so many pixels; None: never.
        contents: files that are in memory, by their path.
        root: folder that paths are below; None: the current one.
    """

    as_seen: bool = False
    least_side: int | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict)
    root: str | None = None

    def __call__(self, path: str) -> tuple[Image.Image, tuple[int, int]]:
        """The image, and width and height before any reduction.

        Raises:
            UserError: the file is missing or can not be decoded; names it.
        """
        sizes = []

        def convert(image: Image.Image) -> Image.Image:
            sizes.append(image.size)
            if self.least_side is not None:
                part = self.least_side / min(image.size)
                image.draft('RGB', tuple(math.ceil(side * part) for side in image.size))
            return as_seen(image) if self.as_seen else as_rgb(image)

        where = path if self.root is None else os.path.join(self.root, path)
        image = decoded(where, convert, self.contents.get(path))
        return image, sizes[-1]
