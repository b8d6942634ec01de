"""What the page does when it is used: events in, HTML out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gradio as gr

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.train.adapt import AdaptSettings
from metaiqa_plugin.ui import markup, taste_markup
from metaiqa_plugin.ui.limits import Limits
from metaiqa_plugin.ui.maps import draw_maps
from metaiqa_plugin.ui.maps_markup import details
from metaiqa_plugin.ui.metrics import MY_TASTE, Metrics, can_adapt
from metaiqa_plugin.ui.scorer import score_waiting
from metaiqa_plugin.ui.sessions import Session, Sessions
from metaiqa_plugin.ui.taste import TastePlan
from metaiqa_plugin.ui.taste_job import TasteJob

__all__ = ['BEST', 'WORST', 'Handlers']

WORST, BEST = 'worst first', 'best first'
REFRESH = 1.0
"""Seconds between two pictures of work that goes on."""


class Handlers:
    """One method an event; a page is known by its ``request.session_hash``.

    Views are tuples (status, contact sheet, table). Generators show work that goes on.

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
            markup.drop_zone(session, self._limits),
            self._dropdown(session),
            *self._view(session, WORST),
            details(session, None),
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
        yield details(session, photo)
        if photo is None or photo.score is None:
            return
        try:
            metric = self._metrics.get(session, session.metric)
            maps = draw_maps(photo.path, metric)
            lower = metric.lower_better
            yield details(session, photo, maps, lower_better=lower)
        except (UserError, RuntimeError, ValueError, AssertionError) as error:
            yield details(session, photo, error=str(error))

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
            yield (taste_markup.job_progress(job), *busy, *idle)
            job.wait(REFRESH / 2)
        ended = gr.update(interactive=True), gr.update(visible=False)
        if job.taste is None:
            yield (taste_markup.job_progress(job), *ended, *idle)
            return
        self._keep(session, job)
        result = taste_markup.job_result(session, job.taste)
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
            raise UserError(f'{session.base} can not learn from ratings')
        rated = session.rated()
        names = {str(photo.path): photo.name for photo in rated}
        stars = [photo.rating for photo in rated]
        plan = TastePlan(list(names), stars, leave_out, self._settings)
        session.learned = list(names.values())
        session.job = TasteJob(metric.net, plan, names.__getitem__)
        return session.job

    def _keep(self, session: Session, job: TasteJob) -> None:
        """Write the network that was learned, and let it score the page."""
        path = session.folder / taste_markup.CHECKPOINT_NAME
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
        text, ready = taste_markup.invitation(session, can_adapt(metric), session.base)
        busy = session.job is not None and session.job.running
        return text, gr.update(interactive=ready and not busy)

    def _scored(self, session: Session, order: str) -> Iterator[tuple]:
        """Views until nothing waits, one in ``REFRESH`` seconds, and the last."""
        try:
            metric = self._metrics.get(session, session.metric)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        left = _seconds_left(lambda: session.progress())
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
            markup.status(session, seconds_left, not lower),
            markup.sheet(session, photos),
            markup.score_table(session, photos),
        )


def _seconds_left(progress: Callable[[], tuple[int, int]]) -> Callable[[], float]:
    """Measures the work done from now on."""
    started, (before, _) = time.monotonic(), progress()

    def left() -> float:
        done, total = progress()
        each = (time.monotonic() - started) / max(1, done - before)
        return each * (total - done)

    return left
