"""The 25 distortions of KADID-10k, each at five levels.

KADID-10k (Lin, Hosu and Saupe, QoMEX 2019) distorts 81 pristine images of 512 x 384
pixels in 25 ways at 5 levels. The functions here are written anew for Python from
the published description and parameters. Lengths are in pixels whatever the size
of the image, so the levels match those of the database at about its size.

>>> import numpy as np
>>> from metaiqa_plugin.data.distortions import DISTORTIONS, distort
>>> image = np.full((384, 512, 3), 128, dtype=np.uint8)
>>> distort(image, 'white_noise', level=3, rng=7).shape
(384, 512, 3)
>>> DISTORTIONS['jpeg'].levels
(43, 36, 24, 7, 4)

A new type is one function, in the module of its family, and one row in the table of
`registry`. A `Distortion` made elsewhere can be passed to `distort` as it is:

>>> from metaiqa_plugin.data.distortions import Distortion
>>> def fade(image, amount, rng):
...     return (image + amount * (255.0 - image)).round().astype(np.uint8)
>>> faded = Distortion(
...     number=26,
...     name='fade',
...     abbreviation='Fade',
...     family='brightness',
...     parameter='share of white',
...     levels=(0.1, 0.2, 0.4, 0.6, 0.8),
...     function=fade,
... )
>>> int(distort(image, faded, level=5)[0, 0, 0])
230
"""

from __future__ import annotations

from .registry import DISTORTIONS, LEVELS, Distortion, distort

__all__ = ['DISTORTIONS', 'LEVELS', 'Distortion', 'distort']
