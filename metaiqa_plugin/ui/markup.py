"""The page's own HTML: names and messages are escaped, nothing is from elsewhere.

Addresses are those of ``metaiqa_plugin.ui.routes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from metaiqa_plugin.ui.limits import Limits
from metaiqa_plugin.ui.photo import STARS, Photo
from metaiqa_plugin.ui.sessions import Session

__all__ = ['drop_zone', 'score_table', 'sheet', 'status']

MEANINGS = ('bad', 'poor', 'fair', 'good', 'excellent')


def drop_zone(session: Session, limits: Limits) -> str:
    """Where photos and checkpoints are dropped; ``drop.js`` sends them."""
    return (
        f'<label class="drop" data-session="{session.token}" '
        f'data-photo-mb="{limits.max_megabytes}" '
        f'data-checkpoint-mb="{limits.max_checkpoint_megabytes}">'
        '<input type="file" multiple class="unseen" aria-label="Photos to score">'
        '<b>Drop photos here</b> <span>or click to choose them</span>'
        '<span class="hint" aria-live="polite" data-rest="'
        f'{_limits(limits)}">{_limits(limits)}</span></label>'
    )


def _limits(limits: Limits) -> str:
    return (
        f'Up to {limits.max_files} photos of {limits.max_megabytes} MB. '
        'They stay on this computer and are deleted when you close this page.'
    )


def status(session: Session, seconds_left: float | None, higher_better: bool) -> str:
    """How far the scoring is, and what was not taken."""
    done, total = session.progress()
    parts = []
    if total and done < total:
        left = f', {duration(seconds_left)} left' if seconds_left is not None else ''
        parts.append(
            f'<progress max="{total}" value="{done}"></progress> '
            f'<span>{done} of {total} photos scored{left}</span>'
        )
    elif total:
        scored = sum(photo.score is not None for photo in session.photos.values())
        better = 'higher' if higher_better else 'lower'
        photos = 'photo' if scored == 1 else 'photos'
        failed = f', {total - scored} could not be' if scored < total else ''
        parts.append(f'<p>{scored} {photos} scored{failed}; {better} is better.</p>')
    count, first = session.left_out
    if count:
        parts.append(
            f'<p class="bad">{count} more left out, the first is {escape(first)}: '
            'this page is full (raise the most with --max-files).</p>'
        )
    parts += [f'<p class="bad">{escape(note)}</p>' for note in session.notes]
    return ''.join(parts)


def sheet(session: Session, photos: Sequence[Photo]) -> str:
    """The contact sheet, photos in their order, then what could not be scored."""
    if not photos:
        return (
            '<p class="hint empty">Your photos will stand here with their scores. '
            'Click one to see what lowers its quality, give it stars to teach the '
            'metric your taste.</p>'
        )
    tiles = ''.join(_tile(session, photo) for photo in photos if not photo.error)
    failed = [photo for photo in photos if photo.error]
    rows = ''.join(
        f'<li><b>{escape(photo.name)}</b>: {escape(photo.error)}</li>'
        for photo in failed
    )
    if rows:
        rows = f'<section class="failed"><h3>Not scored</h3><ul>{rows}</ul></section>'
    return f'<div class="tiles">{tiles}</div>{rows}'


def _tile(session: Session, photo: Photo) -> str:
    name = escape(photo.name)
    if photo.thumbnail:
        source = f'/session/{session.token}/thumbnail/{photo.key}'
        picture = f'<img src="{source}" alt="" loading="lazy" decoding="async">'
    else:
        picture = '<span class="waiting"></span>'
    score = '…' if photo.score is None else f'{photo.score:.3f}'
    return (
        f'<figure class="tile" data-photo="{photo.key}">'
        f'<button type="button" class="shot" data-pick="{photo.key}" '
        f'title="Show where" aria-label="Show the maps of {name}">{picture}</button>'
        f'<figcaption><b class="score">{score}</b> '
        f'<span class="name" title="{name}">{name}</span></figcaption>'
        f'{_stars(photo) if photo.thumbnail else ""}</figure>'
    )


def _stars(photo: Photo) -> str:
    name = escape(photo.name)
    buttons = ''.join(
        f'<button type="button" data-star="{star}" title="{meaning}" '
        f'aria-label="{star} of 5: {meaning}" '
        f'aria-pressed="{str(star <= (photo.rating or 0)).lower()}">★</button>'
        for star, meaning in zip(STARS, MEANINGS, strict=True)
    )
    return (
        f'<div class="stars" role="group" aria-label="Your rating of {name}">'
        f'{buttons}</div>'
    )


def score_table(session: Session, photos: Sequence[Photo]) -> str:
    """All photos with score, size and error, and where to download them as csv."""
    if not photos:
        return '<p class="hint">No photos yet.</p>'
    rows = ''.join(
        f'<tr><td>{escape(photo.name)}</td>'
        f'<td>{"" if photo.score is None else f"{photo.score:.6f}"}</td>'
        f'<td>{f"{photo.width}x{photo.height}" if photo.width else ""}</td>'
        f'<td>{escape(photo.error)}</td></tr>'
        for photo in photos
    )
    return (
        f'<p><a class="download" href="/session/{session.token}/scores.csv" '
        'download="scores.csv">Download scores.csv</a></p>'
        '<div class="scroll"><table><thead><tr><th>photo</th><th>score</th>'
        f'<th>size</th><th>error</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def duration(seconds: float) -> str:
    """In words, roughly: ``12 s`` or ``3 min``."""
    return f'{seconds:.0f} s' if seconds < 90 else f'{seconds / 60:.0f} min'
