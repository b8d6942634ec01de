"""Sets of types: those of other databases, and chains as the world makes them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TID2013_ABBREVIATIONS: Mapping[int, str] = MappingProxyType(
    dict(
        enumerate(
            'AGN ANC SCN MN HFN IN QN GB DEN JPEG JP2K JGTE J2TE NEPN Block MS CTC CCS '
            'MGN CN LCNI ICQD CHA SSR'.split(),
            start=1,
        )
    )
)
"""TID2013's 24 types: number to abbreviation (Ponomarenko et al., 2015)."""

TID2013_TYPES: Mapping[int, str] = MappingProxyType(
    {
        1: 'white_noise',
        2: 'white_noise_color_component',
        3: 'spatially_correlated_noise',
        4: 'masked_noise',
        5: 'high_frequency_noise',
        6: 'impulse_noise',
        7: 'quantization',
        8: 'gaussian_blur',
        9: 'denoise',
        10: 'jpeg',
        11: 'jpeg2000',
        14: 'non_eccentricity_patch',
        15: 'color_block',
        16: 'mean_shift',
        17: 'contrast_change',
        18: 'color_saturation_1',
        19: 'multiplicative_noise',
        21: 'noisy_compression',
        22: 'color_quantization',
        23: 'chromatic_aberration',
        24: 'sparse_sampling',
    }
)
"""TID2013's number to the name of the type here that does the same.

3, 4, 5, 21, 23 and 24 are at TID2013's levels. The others are KADID-10k's types, at its
levels. 18 is the first of KADID-10k's two, as it takes colour away, down to opposite
hues, where the second adds it. Transmission errors of JPEG (12) and JPEG 2000 (13) and
comfort noise (20) are left out: their parameters are not public.
"""

LIVE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        'GB': 'gaussian_blur',
        'GN': 'white_noise',
        'JPEG': 'jpeg',
        'JP2K': 'jpeg2000',
    }
)
"""Four of the five types of LIVE (Sheikh et al., 2006) to the names here.

Its fast fading, transmission errors of JPEG 2000, has none.
"""

COMPOSITES = (
    # a photo at night: too dark, amplified noise, stored by the phone
    'darken+white_noise+jpeg',
    # the same after the noise reduction of the phone, which takes texture along
    'darken+denoise+jpeg',
    # a hand that shook
    'motion_blur+jpeg',
    # an autofocus that missed, indoors
    'lens_blur+white_noise+jpeg',
    # enlarged, then sharpened to make up for it
    'gaussian_blur+high_sharpen',
    # a thumbnail of the web, enlarged and stored again
    'pixelate+jpeg',
    # a vivid filter of a photo application
    'brighten+color_saturation_2+high_sharpen',
)
"""Chains as cameras and the web make them; `distort` takes any other, too."""
