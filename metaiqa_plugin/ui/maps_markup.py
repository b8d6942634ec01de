"""The photo that was clicked, beside its maps."""

from __future__ import annotations

from html import escape

from metaiqa_plugin.ui.maps import LONGEST, RAMP, PhotoMaps
from metaiqa_plugin.ui.photo import Photo
from metaiqa_plugin.ui.sessions import Session

__all__ = ['details']

HINT = '<p class="hint empty">Click a photo to see which parts lower its score.</p>'


def details(
    session: Session,
    photo: Photo | None,
    maps: PhotoMaps | None = None,
    error: str = '',
    lower_better: bool = False,
) -> str:
    """The panel of a photo; without ``maps`` and ``error`` they are being computed."""
    if photo is None or photo.score is None:
        return HINT
    source = f'/session/{session.token}/photo/{photo.key}'
    size = f'{photo.width}x{photo.height} pixels'
    if error:
        below = f'<p class="bad">No maps: {escape(error)}</p>'
    elif maps is None:
        below = '<p class="hint" role="status">Computing the maps…</p>'
    else:
        below = _maps(photo, maps, lower_better)
    return (
        f'<section class="details" data-details="{photo.key}">'
        f'<h3>{escape(photo.name)}</h3>'
        f'<p><b class="score">{photo.score:.3f}</b> by {escape(session.metric)}, '
        f'{size}</p>'
        f'<figure><img src="{source}" alt="{escape(photo.name)}"></figure>{below}'
        '</section>'
    )


def _maps(photo: Photo, maps: PhotoMaps, lower_better: bool) -> str:
    ends = ('better', 'worse') if lower_better else ('worse', 'better')
    note = (
        f'<p class="hint">Maps are of a copy with a longer side of {LONGEST} pixels.'
        '</p>'
        if maps.shrunk
        else ''
    )
    return (
        '<figure><figcaption><b>Quality of each part</b>: every part scored for itself'
        f'</figcaption><img src="{maps.quality}" '
        f'alt="Quality map of {escape(photo.name)}">'
        f'<div class="scale"><span>{ends[0]} {maps.low:.2f}</span>'
        f'<i style="background:linear-gradient(90deg,{",".join(RAMP)})"></i>'
        f'<span>{maps.high:.2f} {ends[1]}</span></div></figure>'
        '<figure><figcaption><b>Where the metric looks</b>: bright pixels change the '
        'score most</figcaption>'
        f'<img src="{maps.gradient}" alt="Gradient map of {escape(photo.name)}">'
        f'</figure>{note}'
    )
