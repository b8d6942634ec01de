"""What a page takes: how many files, how large, how many pixels."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, fields

from PIL import Image

from metaiqa_plugin.errors import UserError, whole_number

__all__ = ['Limits', 'check_pixels']

MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds of one page; each is an option of the command with its name.

    Attributes:
        max_files: photos.
        max_megabytes: of a photo's file, in 10^6 bytes.
        max_megapixels: of a photo, in 10^6 pixels.
        max_checkpoint_megabytes: of a checkpoint's file, in 10^6 bytes.
    """

    max_files: int = 200
    max_megabytes: int = 50
    max_megapixels: int = 60
    max_checkpoint_megabytes: int = 500

    def __post_init__(self) -> None:
        for field in fields(self):
            whole_number(field.name, getattr(self, field.name))

    def check_bytes(self, name: str, size: int, checkpoint: bool = False) -> None:
        """Raises UserError where a file of ``size`` bytes is too large."""
        option = 'max_checkpoint_megabytes' if checkpoint else 'max_megabytes'
        most = getattr(self, option)
        if size > most * MEGA:
            raise UserError(
                f'{name!r} has more than {most} MB; the most can be raised with '
                f'--{option.replace("_", "-")}'
            )


def check_pixels(path: str | os.PathLike, max_megapixels: int) -> None:
    """Refuse an image by the size in its header, before a pixel is decoded.

    A file whose header can not be read is left to whoever decodes it.

    Raises:
        UserError: more than ``max_megapixels`` 10^6 pixels, or so many that Pillow
            takes it for a decompression bomb.
    """
    way_out = 'the most can be raised with --max-megapixels'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UserError(
            f'it claims more pixels than any photo has; at most {max_megapixels} '
            f'megapixels are taken; {way_out}'
        ) from error
    except Exception:
        return
    if width * height > max_megapixels * MEGA:
        raise UserError(
            f'{width}x{height} pixels are more than {max_megapixels} megapixels; '
            f'{way_out}'
        )
