"""The 25 distortions of KADID-10k and six more of TID2013, each at five levels.

KADID-10k (Lin, Hosu and Saupe, QoMEX 2019) distorts 81 pristine images of 512 x 384
pixels in 25 ways at 5 levels. The functions here are written for Python from
the published description and parameters. Lengths are in pixels whatever the size
of the image, so the levels match those of the database at about its size.

TID2013 (Ponomarenko et al., Signal Processing: Image Communication 30, 2015) has types
that KADID-10k lacks: `spatially_correlated_noise`, `masked_noise`,
`high_frequency_noise`, `noisy_compression`, `chromatic_aberration` and
`sparse_sampling`. Its levels are distances in PSNR, and that is their parameter here:
33, 30, 27, 24 and 21 dB, but 33, 30, 25, 20, 15 for high frequencies and 33, 28, 25,
23, 21 for chromatic aberration. The database's own table of PSNR (`PSNRc.txt`) says so.
No other parameter of theirs is known to us, so the filters here are ours; where one
needed a constant (3 x 3 grain, quarter of the sampling rate, 3.5 standard deviations,
red and blue at a right angle), it was chosen on three photos of Kodak to come near the
FSIMc and the luma PSNR that the database publishes of its images, not near opinions.
Transmission errors and comfort noise are left out: their parameters are not public.

>>> import numpy as np
>>> from metaiqa_plugin.data.distortions import DISTORTIONS, distort
>>> image = np.full((384, 512, 3), 128, dtype=np.uint8)
>>> distort(image, 'white_noise', level=3, rng=7).shape
(384, 512, 3)
>>> DISTORTIONS['jpeg'].levels
(43, 36, 24, 7, 4)

Any number from 1 to 5 is a level, and names joined by '+' are a chain; see `distort`
and `COMPOSITES`:

>>> DISTORTIONS['jpeg'].value_at(1.5), DISTORTIONS['lens_blur'].value_at(2.5)
(40, 3.0)
>>> distort(image, 'motion_blur+jpeg', level=2.5).shape
(384, 512, 3)

A new type is one function, in the module of its family, and one row in the table of
`registry`. A `Distortion` made elsewhere can be passed to `distort` as it is:

>>> from metaiqa_plugin.data.distortions import Distortion
>>> def fade(image, amount, rng):
...     return (image + amount * (255.0 - image)).round().astype(np.uint8)
>>> faded = Distortion(
...     number=26,
...     name='fade',
...     abbreviation='Fade',
...     parameter='share of white',
...     levels=(0.1, 0.2, 0.4, 0.6, 0.8),
...     function=fade,
... )
>>> int(distort(image, faded, level=5)[0, 0, 0])
230
"""

from __future__ import annotations

from .registry import (
    COMPOSITES,
    DISTORTIONS,
    KADID10K,
    LEVELS,
    LIVE_TYPES,
    TID2013_ABBREVIATIONS,
    TID2013_TYPES,
    Distortion,
    between_levels,
    chain_parts,
    distort,
    seed_key,
)

__all__ = [
    'COMPOSITES',
    'DISTORTIONS',
    'KADID10K',
    'LEVELS',
    'LIVE_TYPES',
    'TID2013_ABBREVIATIONS',
    'TID2013_TYPES',
    'Distortion',
    'between_levels',
    'chain_parts',
    'distort',
    'seed_key',
]
