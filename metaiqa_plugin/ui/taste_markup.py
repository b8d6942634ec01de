"""The page's words on learning from ratings."""

from __future__ import annotations

import math
from html import escape

from metaiqa_plugin.ui.markup import duration
from metaiqa_plugin.ui.sessions import Session
from metaiqa_plugin.ui.taste import LEAST_RATINGS, Taste, chance_limit
from metaiqa_plugin.ui.taste_job import TasteJob

__all__ = ['CHECKPOINT_NAME', 'invitation', 'job_progress', 'job_result']

CHECKPOINT_NAME = 'my-taste.safetensors'


def invitation(session: Session, adaptable: bool, base: str) -> tuple[str, bool]:
    """What is missing before ratings can be learned, and whether nothing is."""
    rated = session.rated()
    count, missing = len(rated), LEAST_RATINGS - len(rated)
    if not adaptable:
        return (
            f'<p><b>{escape(base)}</b> can not learn from ratings: only networks of '
            'MetaIQA do today. Choose the metric <b>metaiqa</b> above, or a checkpoint '
            'of that network.</p>'
        ), False
    bar = f'<progress max="{LEAST_RATINGS}" value="{count}"></progress> '
    if missing > 0:
        more = 'photo' if missing == 1 else 'photos'
        text = f'{count} rated; rate at least <b>{missing} more {more}</b>.'
        return f'<p>{bar}<span>{text}</span></p>', False
    if len({photo.rating for photo in rated}) == 1:
        text = f'{count} rated, all alike: rate some photos higher or lower.'
        return f'<p>{bar}<span>{text}</span></p>', False
    text = f'{count} rated. More and varied ratings teach better.'
    return f'<p><span>{text}</span></p>', True


def job_progress(job: TasteJob) -> str:
    """How far the adaptation is, or how it ended without a result."""
    if job.state == 'cancelled':
        return '<p>Cancelled; nothing was changed.</p>'
    if job.state == 'failed':
        return f'<p class="bad">It did not work: {escape(job.error)}</p>'
    if job.state == 'waiting':
        return '<p>Waiting until another page has learned its ratings.</p>'
    left = job.seconds_left()
    if left is None:
        return '<p>Learning: reading the photos…</p>'
    return (
        f'<p><progress max="{job.total}" value="{job.step}"></progress> '
        f'<span>Learning: step {job.step} of {job.total}, about {duration(left)} left'
        '</span></p>'
    )


def job_result(session: Session, taste: Taste) -> str:
    """Before and after, and which of the figures mean something."""
    file = f'/session/{session.token}/{CHECKPOINT_NAME}'
    count = len(taste.stars)
    left_out = '<td>not measured</td>'
    if taste.left_out is not None:
        left_out = _figure(taste.srocc('left_out'))
    return (
        '<h3>Done: the photos above are now scored by your metric</h3>'
        f'<p><a class="download" href="{file}" download>Download {CHECKPOINT_NAME}</a> '
        'and use it from Python:</p>'
        '<pre>import pyiqa\n'
        "metric = pyiqa.create_metric('metaiqa', pretrained_model_path="
        f"'{CHECKPOINT_NAME}')\nprint(metric('photo.jpg').item())</pre>"
        '<p>or on the command line: '
        f'<code>metaiqa score PHOTOS --metric {CHECKPOINT_NAME}</code></p>'
        '<h3>Does it order photos as you do?</h3>'
        '<table><thead><tr><th>agreement with your stars (SROCC, 1 is the same order)'
        '</th><th></th></tr></thead><tbody>'
        f'<tr><td>before learning</td>{_figure(taste.srocc("before"))}</tr>'
        '<tr><td><b>after learning, on photos left out</b>: each scored by a copy that '
        f'never saw its rating</td>{left_out}</tr>'
        '<tr class="moot"><td>after learning, on the photos it learned from: <b>no '
        'measure of quality</b>, it has seen these answers</td>'
        f'{_figure(taste.srocc("after"))}</tr></tbody></table>'
        f'<p class="hint">{count} photos are few: scores that have nothing to do with '
        f'your stars reach up to ±{chance_limit(count):.2f} by chance. Compare the '
        'first two rows; rate more photos to be surer.</p>'
        f'{_photos(session, taste)}'
    )


def _figure(srocc: float) -> str:
    return f'<td>{"all scores alike" if math.isnan(srocc) else f"{srocc:.2f}"}</td>'


def _photos(session: Session, taste: Taste) -> str:
    rated = session.learned
    left_out = taste.left_out or [None] * len(rated)
    columns = zip(rated, taste.stars, taste.before, left_out, taste.after, strict=True)
    rows = ''.join(
        f'<tr><td>{escape(name)}</td><td>{"★" * stars}</td><td>{before:.3f}</td>'
        f'<td>{"" if unseen is None else f"{unseen:.3f}"}</td>'
        f'<td class="moot">{after:.3f}</td></tr>'
        for name, stars, before, unseen, after in columns
    )
    return (
        '<details><summary>Scores of the rated photos</summary><div class="scroll">'
        '<table><thead><tr><th>photo</th><th>you</th><th>before</th><th>left out</th>'
        f'<th>learned</th></tr></thead><tbody>{rows}</tbody></table></div></details>'
    )
