"""What the file names of distorted images say: reference, distortion type, level.

Four databases encode it, each in its own way: TID2013 ``i01_08_3.bmp``, KADID-10k
``I01_08_03.png``, CSIQ ``boston.BLUR.3.png`` and LIVE ``gblur/img7.bmp``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from metaiqa_plugin.data.distortions import DISTORTIONS, TID2013_ABBREVIATIONS

__all__ = [
    'LIVE_FOLDERS',
    'NameParts',
    'describe_name',
    'parse_csiq',
    'parse_kadid10k',
    'parse_live',
    'parse_tid2013',
]

CSIQ_TYPES = ('AWGN', 'BLUR', 'contrast', 'fnoise', 'JPEG', 'jpeg2000')
LIVE_FOLDERS = {'jp2k': 227, 'jpeg': 233, 'wn': 174, 'gblur': 174, 'fastfading': 174}
KADID10K_TYPES = {kind.number: kind.name for kind in DISTORTIONS.values()}

FLAGS = re.ASCII | re.IGNORECASE
TID2013_NAME = re.compile(r'(?:.*/)?i(\d\d)_(\d\d)_([1-5])(\.\w+)?', FLAGS)
KADID10K_NAME = re.compile(r'(?:.*/)?i(\d\d)_(\d\d)_0([1-5])(\.\w+)?', FLAGS)
CSIQ_NAME = re.compile(r'(?:.*/)?([^/\n]+)\.([a-z0-9]+)\.([1-5])(\.png)?', FLAGS)
LIVE_NAME = re.compile(r'(?:.*/)?([a-z0-9]+)/img(\d{1,3})(\.bmp)?', FLAGS)


class NameParts(NamedTuple):
    """What one name says; a part that it does not say is ``''``."""

    reference: str
    distortion: str
    level: str


def parse_tid2013(name: str) -> NameParts | None:
    """``i01_08_3.bmp``: reference ``I01.BMP``, type 8 of 24, level 3."""
    return _numbered(TID2013_NAME, name, 25, 'BMP', TID2013_ABBREVIATIONS)


def parse_kadid10k(name: str) -> NameParts | None:
    """``I01_08_03.png``: reference ``I01.png``, type 8 of 25, level 3."""
    return _numbered(KADID10K_NAME, name, 81, 'png', KADID10K_TYPES)


def _numbered(
    pattern: re.Pattern,
    name: str,
    references: int,
    suffix: str,
    types: Mapping[int, str],
) -> NameParts | None:
    match = pattern.fullmatch(name.replace('\\', '/'))
    if match is None or not 1 <= int(match[1]) <= references:
        return None
    distortion = types.get(int(match[2]))
    if distortion is None:
        return None
    return NameParts(f'I{match[1]}.{suffix}', distortion, match[3])


def parse_csiq(name: str) -> NameParts | None:
    """``boston.BLUR.3.png``: reference ``boston.png``, type ``BLUR``, level 3."""
    match = CSIQ_NAME.fullmatch(name.replace('\\', '/'))
    for distortion in CSIQ_TYPES if match else ():
        if match[2].casefold() == distortion.casefold():
            return NameParts(f'{match[1]}.png', distortion, match[3])
    return None


def parse_live(name: str) -> NameParts | None:
    """``gblur/img7.bmp``: type ``gblur``; the name has no reference and no level."""
    match = LIVE_NAME.fullmatch(name.replace('\\', '/'))
    if match is None:
        return None
    folder = match[1].casefold()
    if not 1 <= int(match[2]) <= LIVE_FOLDERS.get(folder, 0):
        return None
    return NameParts('', folder, '')


def describe_name(name: str) -> NameParts | None:
    """The parts of a name of any of the four databases; None: it is of none.

    Folders before a name are allowed and needed for LIVE (``jp2k/img1.bmp``), whose
    names have no reference and level. Types of KADID-10k are named as in
    ``metaiqa_plugin.data.distortions.DISTORTIONS``.
    """
    parsers = (parse_tid2013, parse_kadid10k, parse_csiq, parse_live)
    return next(filter(None, (parse(name) for parse in parsers)), None)
