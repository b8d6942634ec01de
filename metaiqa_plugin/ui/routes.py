"""What the page asks for: addresses in, JSON, pictures and files out.

A page is told of changes by a stream of events, which also shows that it is open.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from metaiqa_plugin.archs.checkpoint import write_state_dict
from metaiqa_plugin.data.images import as_seen, decoded
from metaiqa_plugin.errors import UserError, one_line
from metaiqa_plugin.score.contact_sheet import jpeg
from metaiqa_plugin.score.scorers import CHECKPOINTS
from metaiqa_plugin.score.sources import Sources
from metaiqa_plugin.train.adapt import AdaptSettings
from metaiqa_plugin.ui.maps import draw_map
from metaiqa_plugin.ui.scoring import MY_TASTE, Metrics, can_adapt, score_waiting
from metaiqa_plugin.ui.sessions import MEGA, Limits, Photo, Session, Sessions
from metaiqa_plugin.ui.taste import (
    CHECKPOINT_NAME,
    MIN_RATINGS,
    Taste,
    TasteJob,
    TastePlan,
    chance_limit,
)

__all__ = ['Api', 'csv_text']

HEADER = ('image', 'score', 'width', 'height', 'bytes', 'rating', 'error')
ASSETS = {
    '/': ('text/html', 'ui/assets/page.html'),
    '/page.css': ('text/css', 'score/templates/page.css', 'ui/assets/page.css'),
    '/page.js': ('text/javascript', 'ui/assets/page.js'),
}
PREVIEW = 1280
LONGEST_NAME = 200
KEPT = {'Cache-Control': 'private, max-age=3600'}
DONE = 204
TICK = 0.3
"""Seconds between two looks for changes."""
GRACE = 30.0
"""Seconds that a page may be away before it is ended."""


class Api:
    """One method per address.

    Args:
        sessions: the pages.
        metrics: what they may score with.
        limits: what they take.
        settings: of the adaptation to ratings.
        local: its pages may name files of this machine.

    Attributes:
        ending: tells streams that the command ends.
    """

    def __init__(
        self,
        sessions: Sessions,
        metrics: Metrics,
        limits: Limits,
        settings: AdaptSettings,
        local: bool,
    ) -> None:
        self._sessions, self._metrics = sessions, metrics
        self._limits, self._settings, self._local = limits, settings, local
        self.ending: Callable[[], bool] = lambda: False

    def routes(self) -> list[Route | Mount]:
        """The page itself, ``POST /session``, and what is below ``/session/TOKEN``."""
        posts = ('files', 'paths', 'metric', 'rate', 'learn', 'cancel', 'close')
        gets = ('changes', 'thumbnail/{key:int}', 'photo/{key:int}', 'map/{key:int}')
        of_page = [
            *(Route(f'/{one}', getattr(self, one), methods=['POST']) for one in posts),
            *(Route(f'/{one}', getattr(self, one.partition('/')[0])) for one in gets),
            Route('/scores.csv', self.scores),
            Route(f'/{CHECKPOINT_NAME}', self.checkpoint),
        ]
        return [
            *(Route(path, _asset(*of)) for path, of in ASSETS.items()),
            Route('/session', self.open, methods=['POST']),
            Mount('/session/{token}', routes=of_page),
        ]

    async def open(self, request: Request) -> Response:
        """A page was loaded."""
        session = self._sessions.open()
        self._end_later(session)
        told = {'token': session.token, 'local': self._local, **asdict(self._limits)}
        return JSONResponse({**told, 'min_ratings': MIN_RATINGS})

    def close(self, request: Request) -> Response:
        """A page was left."""
        self._sessions.close(self._session(request))
        return Response(status_code=DONE)

    async def changes(self, request: Request) -> Response:
        """Events with the state of the page, and photos that are not as they were."""
        session = self._session(request)
        seen = int(request.headers.get('last-event-id', 0))
        stream = self._events(session, seen)
        return StreamingResponse(stream, media_type='text/event-stream')

    async def files(self, request: Request) -> Response:
        """A photo or checkpoint is sent: its ``name``, ``size``, how many ``more``."""
        session, query = self._session(request), request.query_params
        name, size = _clean(query['name']), int(query['size'])
        if PurePosixPath(name).suffix.lower() in CHECKPOINTS:
            await self._receive_checkpoint(session, request, name, size)
            return JSONResponse({'full': False})
        more = max(1, int(query.get('more', 1)))
        photo = session.add(name, self._limits.max_files, more)
        if photo is None:
            return JSONResponse({'full': True})
        path = session.folder / f'photo-{photo.key}'
        try:
            self._limits.check_bytes(name, size)
            await _write(request, path, self._limits.max_megabytes * MEGA)
            session.arrived(photo, path)
        except UserError as error:
            session.arrived(photo, None, str(error))
        except ClientDisconnect:
            session.forget(photo)
        self._score(session)
        return JSONResponse({'full': False})

    def paths(self, request: Request) -> Response:
        """A file, folder or pattern of this machine is named; nothing is copied."""
        if not self._local:
            raise UserError('paths are for the machine that runs the command alone')
        session, given = self._session(request), request.query_params['path'].strip()
        if not given:
            raise UserError('name a folder, a file or a pattern of files')
        path = Path(given).expanduser().absolute()
        found = Sources([str(path)]).files()
        for place, name in enumerate(found):
            short = Path(name).relative_to(path) if path.is_dir() else Path(name).name
            more = len(found) - place
            photo = session.add(str(short), self._limits.max_files, more)
            if photo is None:
                break
            try:
                self._limits.check_bytes(photo.name, Path(name).stat().st_size)
                session.arrived(photo, Path(name))
            except (OSError, UserError) as error:
                session.arrived(photo, None, one_line(error))
        self._score(session)
        return JSONResponse({'found': len(found)})

    def metric(self, request: Request) -> Response:
        """Another metric was chosen."""
        session, name = self._session(request), request.query_params['name']
        self._metrics.get(session, name)
        if name != MY_TASTE:
            session.base = name
        session.choose(name)
        self._score(session)
        return Response(status_code=DONE)

    def rate(self, request: Request) -> Response:
        """Stars were given or, with 0, taken back."""
        query = request.query_params
        self._session(request).rate(int(query['key']), int(query['stars']))
        return Response(status_code=DONE)

    def learn(self, request: Request) -> Response:
        """Learn the ratings, and with ``check`` measure on photos left out."""
        session = self._session(request)
        if session.job is not None and session.job.running:
            return Response(status_code=DONE)
        metric = self._metrics.get(session, session.base)
        if not can_adapt(metric):
            raise UserError(f'{session.base} cannot learn from ratings')
        names = {str(photo.path): photo.name for photo in session.rated()}
        stars = [photo.rating for photo in session.rated()]
        check = request.query_params.get('check') == 'true'
        plan = TastePlan(list(names), stars, check, self._settings)

        def keep(taste: Taste) -> None:
            path = session.folder / CHECKPOINT_NAME
            write_state_dict(path, taste.network.state_dict(), overwrite=True)
            self._metrics.offer(session, MY_TASTE, path)
            session.choose(MY_TASTE)
            self._score(session)

        session.job = TasteJob(metric.net, plan, names.__getitem__, keep)
        return Response(status_code=DONE)

    def cancel(self, request: Request) -> Response:
        """Stop learning."""
        job = self._session(request).job
        if job is not None:
            job.cancel()
        return Response(status_code=DONE)

    def thumbnail(self, request: Request) -> Response:
        """A small JPEG of a photo."""
        path = self._photo(request).thumbnail
        return FileResponse(path, headers=KEPT, media_type='image/jpeg')

    def photo(self, request: Request) -> Response:
        """A photo at the size of a screen."""
        seen = decoded(self._photo(request).path, as_seen)
        seen.thumbnail((PREVIEW, PREVIEW))
        return Response(jpeg(seen), headers=KEPT, media_type='image/jpeg')

    def map(self, request: Request) -> Response:
        """A map of a photo by the metric that scores: its ``name``."""
        session, photo = self._session(request), self._photo(request)
        try:
            metric = self._metrics.get(session, session.metric)
            return JSONResponse(
                draw_map(photo.path, metric, request.query_params['name'])
            )
        except Exception as error:  # metrics of pyiqa raise anything
            raise UserError(one_line(error)) from error

    def scores(self, request: Request) -> Response:
        """The table, the worst photo first."""
        session = self._session(request)
        lower = self._metrics.get(session, session.metric).lower_better
        text = csv_text(session.ordered(lower))
        return Response(text, media_type='text/csv')

    def checkpoint(self, request: Request) -> Response:
        """The network that was learned."""
        path = self._session(request).checkpoints.get(MY_TASTE)
        if path is None:
            raise HTTPException(404, 'nothing was learned yet')
        return FileResponse(path, filename=CHECKPOINT_NAME)

    def _session(self, request: Request) -> Session:
        session = self._sessions.get(request.path_params['token'])
        if session is None:
            raise HTTPException(404, 'this page has ended; reload it')
        return session

    def _photo(self, request: Request) -> Photo:
        photo = self._session(request).photos.get(request.path_params['key'])
        if photo is None or photo.thumbnail is None:
            raise HTTPException(404, 'no such photo')
        return photo

    def _score(self, session: Session) -> None:
        if session.begin():
            given = (session, self._metrics, self._limits.max_megapixels)
            threading.Thread(target=score_waiting, args=given, daemon=True).start()

    def _end_later(self, session: Session) -> None:
        end = self._sessions.close
        asyncio.get_running_loop().call_later(GRACE, end, session, True)

    async def _events(self, session: Session, seen: int) -> AsyncIterator[str]:
        session.watchers += 1
        told = None
        try:
            while not (session.closed or self.ending()):
                version, photos = session.since(seen)
                state = await asyncio.to_thread(self.state, session)
                if photos or state != told:
                    facts = [photo.facts() for photo in photos]
                    yield f'id: {version}\ndata: {_json(state | {"photos": facts})}\n\n'
                    seen, told = version, state
                await asyncio.sleep(TICK)
        finally:
            session.watchers -= 1
            self._end_later(session)

    def state(self, session: Session) -> dict[str, Any]:
        """What a page shows beside its photos."""
        done, total, left = session.progress()
        count, first = session.left_out
        rated = session.rated()
        return {
            'done': done,
            'total': total,
            'left': left and round(left),
            'left_out': count,
            'first_left_out': first,
            'notes': session.notes,
            'metric': session.metric,
            'metrics': self._metrics.choices(session),
            'lower_better': self._metrics.get(session, session.metric).lower_better,
            'base': session.base,
            'adaptable': can_adapt(self._metrics.get(session, session.base)),
            'rated': len(rated),
            'varied': len({photo.rating for photo in rated}) > 1,
            'job': session.job and _job(session.job),
        }

    async def _receive_checkpoint(
        self, session: Session, request: Request, name: str, size: int
    ) -> None:
        """Offer and choose it, or note why not."""
        ending = PurePosixPath(name).suffix.lower()
        path = session.folder / f'checkpoint-{session.next_key()}{ending}'
        try:
            self._limits.check_bytes(name, size, checkpoint=True)
            await _write(request, path, self._limits.max_checkpoint_megabytes * MEGA)
            await asyncio.to_thread(self._metrics.offer, session, name, path)
            session.base = name
            session.choose(name)
            self._score(session)
        except UserError as error:
            path.unlink(missing_ok=True)
            session.notes = [*session.notes, f'{name} is not used: {error}']
        except ClientDisconnect:
            path.unlink(missing_ok=True)


def csv_text(photos: Sequence[Photo]) -> str:
    """Rows of ``HEADER``; blank where a photo has none.

    A name that a spreadsheet would take for a formula has ``./`` before it.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(HEADER)
    for photo in photos:
        name = f'./{photo.name}' if photo.name[0] in '=+-@' else photo.name
        score = '' if photo.score is None else f'{photo.score:.6f}'
        size = (photo.width, photo.height, photo.bytes or '')
        writer.writerow([name, score, *size, photo.rating, photo.error])
    return buffer.getvalue()


def _job(job: TasteJob) -> dict[str, Any]:
    """How learning stands, and what came of it."""
    left = job.seconds_left()
    names = ('state', 'step', 'total', 'error')
    told = {name: getattr(job, name) for name in names}
    told['left'] = left if left is None else round(left)
    if job.state != 'done':
        return told
    taste = job.taste
    kinds = ['before', 'after', *(['left_out'] if taste.left_out is not None else [])]
    figures = {kind: taste.srocc(kind) for kind in kinds}
    srocc = {kind: None if math.isnan(one) else one for kind, one in figures.items()}
    scores = {kind: list(getattr(taste, kind)) for kind in kinds}
    told |= {'names': job.names, 'stars': list(taste.stars), 'scores': scores}
    return told | {'srocc': srocc, 'chance': chance_limit(len(taste.stars))}


def _json(facts: dict) -> str:
    return json.dumps(facts, allow_nan=False, separators=(',', ':'))


def _asset(kind: str, *names: str) -> Callable[[Request], Response]:
    package = files('metaiqa_plugin')
    text = ''.join(package.joinpath(name).read_text('utf-8') for name in names)
    return lambda request: Response(text, media_type=kind)


def _clean(name: str) -> str:
    """The last part of a file's name, on one line."""
    last = ' '.join(name.replace('\\', '/').rpartition('/')[2].split())
    shown = ''.join(letter for letter in last if letter.isprintable())
    return shown[-LONGEST_NAME:] or 'unnamed'


async def _write(request: Request, path: Path, limit: int) -> None:
    """Write the body to a file; one that is longer than announced is not kept."""
    written = 0
    with path.open('wb') as file:
        async for chunk in request.stream():
            written += len(chunk)
            if written > limit:
                break
            await asyncio.to_thread(file.write, chunk)
    if written > limit:
        path.unlink()
        raise UserError(f'the file has more than {limit // MEGA} MB')
