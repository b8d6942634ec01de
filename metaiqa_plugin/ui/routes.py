"""Files that go to a page and come from it, below ``/session/TOKEN``.

They do not take Gradio's way, whose store of uploads is shared by all pages and keeps
files after these are gone.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, Response
from starlette.requests import ClientDisconnect

from metaiqa_plugin.data.images import read_rgb
from metaiqa_plugin.errors import UserError
from metaiqa_plugin.score.scorers import CHECKPOINTS
from metaiqa_plugin.ui.scoring import MY_TASTE, jpeg, upright
from metaiqa_plugin.ui.sessions import MEGA, Limits, Photo, Session, Sessions
from metaiqa_plugin.ui.taste import CHECKPOINT_NAME

__all__ = ['HEADER', 'csv_text', 'session_routes']

HEADER = ('image', 'score', 'width', 'height', 'bytes', 'rating', 'error')
PREVIEW = 1280
LONGEST_NAME = 200
KEPT = {'Cache-Control': 'private, max-age=3600'}


def session_routes(sessions: Sessions, limits: Limits) -> APIRouter:
    """``POST files``, ``GET thumbnail/KEY``, ``photo/KEY``, the csv, the checkpoint."""
    router = APIRouter(prefix='/session/{token}')

    def session_of(token: str) -> Session:
        session = sessions.of_token(token)
        if session is None:
            raise HTTPException(404, 'this page has ended')
        return session

    def photo_of(token: str, key: int) -> Photo:
        photo = session_of(token).photos.get(key)
        if photo is None or not photo.thumbnail:
            raise HTTPException(404, 'no such photo')
        return photo

    @router.post('/files')
    async def receive(
        token: str, request: Request, name: str, size: int, more: int = 1
    ) -> dict:
        session = session_of(token)
        name = _clean(name)
        if PurePosixPath(name).suffix.lower() in CHECKPOINTS:
            await _receive_checkpoint(session, request, name, size, limits)
            return {'full': False}
        photo = session.add(name, limits.max_files, max(1, more))
        if photo is None:
            return {'full': True}
        path = session.folder / f'photo-{photo.key}'
        try:
            limits.check_bytes(name, size)
            await _write(request, path, limits.max_megabytes * MEGA)
            session.arrived(photo, path)
        except UserError as error:
            photo.bytes, photo.error = size, str(error)
        except ClientDisconnect:
            session.forget(photo)
        return {'full': False}

    @router.get('/thumbnail/{key}')
    def thumbnail(token: str, key: int) -> Response:
        return Response(photo_of(token, key).thumbnail, 200, KEPT, 'image/jpeg')

    @router.get('/photo/{key}')
    def photo(token: str, key: int) -> Response:
        found = photo_of(token, key)
        seen = upright(read_rgb(found.path), found.path)
        seen.thumbnail((PREVIEW, PREVIEW))
        return Response(jpeg(seen), 200, KEPT, 'image/jpeg')

    @router.get('/scores.csv')
    def scores(token: str) -> Response:
        text = csv_text(session_of(token).ordered(worst_first=True))
        return Response(text, 200, media_type='text/csv; charset=utf-8')

    @router.get(f'/{CHECKPOINT_NAME}')
    def checkpoint(token: str) -> FileResponse:
        path = session_of(token).checkpoints.get(MY_TASTE)
        if path is None:
            raise HTTPException(404, 'nothing was learned yet')
        return FileResponse(path, filename=CHECKPOINT_NAME)

    return router


def csv_text(photos: Sequence[Photo]) -> str:
    """Rows of ``HEADER``; blank where a photo has none."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(HEADER)
    for photo in photos:
        score = '' if photo.score is None else f'{photo.score:.6f}'
        size = (photo.width, photo.height, photo.bytes)
        writer.writerow([photo.name, score, *size, photo.rating, photo.error])
    return buffer.getvalue()


def _clean(name: str) -> str:
    """The last part of a file's name, on one line."""
    last = ' '.join(name.replace('\\', '/').rpartition('/')[2].split())
    shown = ''.join(letter for letter in last if letter.isprintable())
    return shown[-LONGEST_NAME:] or 'unnamed'


async def _receive_checkpoint(
    session: Session, request: Request, name: str, size: int, limits: Limits
) -> None:
    """Put it where the page looks for new checkpoints, or note why not."""
    ending = PurePosixPath(name).suffix.lower()
    path = session.folder / f'checkpoint-{session.next_key()}{ending}'
    try:
        limits.check_bytes(name, size, checkpoint=True)
        await _write(request, path, limits.max_checkpoint_megabytes * MEGA)
        session.arriving.append((name, path))
    except UserError as error:
        session.notes.append(str(error))
    except ClientDisconnect:
        path.unlink(missing_ok=True)


async def _write(request: Request, path: Path, limit: int) -> None:
    """Write the body to a file; one that is longer than announced is not kept."""
    written = 0
    loop = asyncio.get_running_loop()
    with path.open('wb') as file:
        async for chunk in request.stream():
            written += len(chunk)
            if written > limit:
                break
            await loop.run_in_executor(None, file.write, chunk)
    if written > limit:
        path.unlink()
        raise UserError(f'the file has more than {limit // MEGA} MB')
