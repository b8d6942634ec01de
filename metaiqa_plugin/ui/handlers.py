"""What the page does when it is used: events in, HTML of ``assets/page.html`` out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gradio as gr
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.colors import to_hex

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.errors import UserError, one_line
from metaiqa_plugin.train.adapt import AdaptSettings
from metaiqa_plugin.ui.maps import COLOURS, LONGEST, draw_maps
from metaiqa_plugin.ui.scoring import MY_TASTE, Metrics, can_adapt, score_waiting
from metaiqa_plugin.ui.sessions import Limits, Session, Sessions
from metaiqa_plugin.ui.taste import CHECKPOINT_NAME, MIN_RATINGS, TasteJob, TastePlan

__all__ = ['BEST', 'WORST', 'Handlers']

WORST, BEST = 'worst first', 'best first'
REFRESH = 1.0
"""Seconds between two pictures of work in progress."""


def _parts():
    """The macros of ``assets/page.html``."""
    environment = Environment(
        loader=PackageLoader('metaiqa_plugin.ui', 'assets'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['duration'] = _duration
    environment.globals |= {
        'ramp': [to_hex(colour) for colour in COLOURS(np.linspace(0, 1, 5))],
        'longest': LONGEST,
        'min_ratings': MIN_RATINGS,
        'checkpoint': CHECKPOINT_NAME,
    }
    return environment.get_template('page.html').module


def _duration(seconds: float) -> str:
    """In words, roughly: ``12 s`` or ``3 min``."""
    return f'{seconds:.0f} s' if seconds < 90 else f'{seconds / 60:.0f} min'


PARTS = _parts()


class Handlers:
    """One method per event; a page is known by its ``request.session_hash``.

    Views are tuples (status, contact sheet, table). Generators show work in progress.

    Args:
        sessions: the pages.
        metrics: what they may score with.
        limits: what they take.
        settings: of the adaptation to ratings.
    """

    def __init__(
        self,
        sessions: Sessions,
        metrics: Metrics,
        limits: Limits,
        settings: AdaptSettings,
    ) -> None:
        self._sessions, self._metrics = sessions, metrics
        self._limits, self._settings = limits, settings

    def load(self, request: gr.Request) -> tuple:
        """A page was opened: (drop zone, metrics, view, details, taste, its button)."""
        session = self._sessions.open(request.session_hash)
        return (
            PARTS.drop_zone(session, self._limits),
            self._dropdown(session),
            *self._view(session, WORST),
            PARTS.details(session, None),
            *self._taste(session),
        )

    def unload(self, request: gr.Request) -> None:
        """A page was closed."""
        self._sessions.close(request.session_hash)

    def sent(self, order: str, request: gr.Request) -> Iterator[tuple]:
        """Files arrived: (metrics, view) until all are scored."""
        session = self._session(request)
        chosen = None
        while session.arriving:
            name, path = session.arriving.pop(0)
            try:
                self._metrics.offer(session, name, path)
                chosen = name
            except UserError as error:
                path.unlink(missing_ok=True)
                session.notes.append(f'{name} is not used: {error}')
        if chosen:
            session.base = chosen
            session.choose(chosen)
        for view in self._scored(session, order):
            yield (self._dropdown(session), *view)

    def choose(self, metric: str, order: str, request: gr.Request) -> Iterator[tuple]:
        """Another metric was chosen: views until all photos are scored by it."""
        session = self._session(request)
        if metric != MY_TASTE:
            session.base = metric
        session.choose(metric)
        yield from self._scored(session, order)

    def sort(self, order: str, request: gr.Request) -> tuple:
        """The order was changed: a view."""
        return self._view(self._session(request), order)

    def pick(self, event: gr.EventData, request: gr.Request) -> Iterator[str]:
        """A photo was clicked: its details, then with maps."""
        session = self._session(request)
        photo = session.photos.get(event.key)
        yield PARTS.details(session, photo)
        if photo is None or photo.score is None:
            return
        try:
            metric = self._metrics.get(session, session.metric)
            maps = draw_maps(photo.path, metric)
        except Exception as error:  # metrics of pyiqa raise anything
            yield PARTS.details(session, photo, error=one_line(error))
            return
        lower = metric.lower_better
        yield PARTS.details(session, photo, maps, lower_better=lower)

    def rate(self, event: gr.EventData, request: gr.Request) -> tuple:
        """Stars were given or taken back: (taste, its button)."""
        session = self._session(request)
        session.rate(event.key, event.stars)
        return self._taste(session)

    def taste(self, request: gr.Request) -> tuple:
        """Something changed that ratings depend on: (taste, its button)."""
        return self._taste(self._session(request))

    def learn(
        self, leave_out: bool, order: str, request: gr.Request
    ) -> Iterator[tuple]:
        """Learn the ratings: (result, learn button, cancel button, metrics, view)."""
        session = self._session(request)
        if session.job is not None and session.job.running:
            return
        try:
            job = self._start(session, leave_out)
        except UserError as error:
            gr.Warning(str(error))
            return
        idle = (gr.skip(),) * 4
        busy = gr.update(interactive=False), gr.update(visible=True)
        while job.running:
            yield (PARTS.job_progress(job), *busy, *idle)
            job.wait(REFRESH / 2)
        ended = gr.update(interactive=True), gr.update(visible=False)
        if job.taste is None:
            yield (PARTS.job_progress(job), *ended, *idle)
            return
        self._keep(session, job)
        result = PARTS.job_result(session, job.taste)
        for view in self._scored(session, order):
            yield (result, *ended, self._dropdown(session), *view)

    def cancel(self, request: gr.Request) -> None:
        """Stop learning."""
        job = self._session(request).job
        if job is not None:
            job.cancel()

    def _start(self, session: Session, leave_out: bool) -> TasteJob:
        metric = self._metrics.get(session, session.base)
        if not can_adapt(metric):
            raise UserError(f'{session.base} cannot learn from ratings')
        rated = session.rated()
        names = {str(photo.path): photo.name for photo in rated}
        stars = [photo.rating for photo in rated]
        plan = TastePlan(list(names), stars, leave_out, self._settings)
        session.learned = list(names.values())
        session.job = TasteJob(metric.net, plan, names.__getitem__)
        return session.job

    def _keep(self, session: Session, job: TasteJob) -> None:
        """Write the network that was learned, and let it score the page."""
        path = session.folder / CHECKPOINT_NAME
        write_state_dict(path, job.taste.network.state_dict(), overwrite=True)
        self._metrics.offer(session, MY_TASTE, path)
        session.choose(MY_TASTE)

    def _session(self, request: gr.Request) -> Session:
        try:
            return self._sessions.of_page(request.session_hash)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def _dropdown(self, session: Session):
        return gr.update(choices=self._metrics.choices(session), value=session.metric)

    def _taste(self, session: Session) -> tuple:
        metric = self._metrics.get(session, session.base)
        ratings = [photo.rating for photo in session.rated()]
        text = PARTS.invitation(session.base, can_adapt(metric), ratings)
        enough = len(ratings) >= MIN_RATINGS and len(set(ratings)) > 1
        busy = session.job is not None and session.job.running
        ready = can_adapt(metric) and enough and not busy
        return text, gr.update(interactive=ready)

    def _scored(self, session: Session, order: str) -> Iterator[tuple]:
        """Views until nothing waits, one in ``REFRESH`` seconds, and the last."""
        try:
            metric = self._metrics.get(session, session.metric)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        left = _seconds_left(session.progress)
        yield self._view(session, order)
        shown = time.monotonic()
        for _ in score_waiting(session, metric, self._limits.max_megapixels):
            if time.monotonic() - shown > REFRESH:
                yield self._view(session, order, left())
                shown = time.monotonic()
        yield self._view(session, order)

    def _view(
        self, session: Session, order: str, seconds_left: float | None = None
    ) -> tuple[str, str, str]:
        lower = self._metrics.get(session, session.metric).lower_better
        photos = session.ordered(order == WORST, lower)
        return (
            PARTS.status(session, seconds_left, lower),
            PARTS.sheet(session, photos),
            PARTS.score_table(session, photos),
        )


def _seconds_left(progress: Callable[[], tuple[int, int]]) -> Callable[[], float]:
    """Measures the work done from now on."""
    started, (before, _) = time.monotonic(), progress()

    def left() -> float:
        done, total = progress()
        each = (time.monotonic() - started) / max(1, done - before)
        return each * (total - done)

    return left
