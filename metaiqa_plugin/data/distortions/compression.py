"""Compression: JPEG 2000 and JPEG, through Pillow's codecs in memory."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_MAX_RESOLUTIONS = 6


def jpeg2000(image: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Encode as JPEG 2000 at a compression `ratio` and decode.

    `ratio` is the size of the raw pixels over that of the code stream; the
    irreversible 9/7 wavelet is used. Images below 32 pixels get fewer resolutions,
    as many as their shorter side allows, and the file's header then weighs more
    than the ratio allows for. Takes nothing from `rng`.
    """
    shorter = min(image.shape[:2])
    return _through_codec(
        image,
        format='JPEG2000',
        quality_mode='rates',
        quality_layers=[ratio],
        irreversible=True,
        num_resolutions=min(_MAX_RESOLUTIONS, shorter.bit_length()),
    )


def jpeg(image: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """Encode as baseline JPEG at a `quality` of 1 to 95 and decode.

    The scale of `quality` is that of the Independent JPEG Group; chroma is
    subsampled 4:2:0. Takes nothing from `rng`.
    """
    return _through_codec(image, format='JPEG', quality=quality)


def _through_codec(image: np.ndarray, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert('RGB'))
