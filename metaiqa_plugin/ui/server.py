"""Serves the page on a local address, and cleans up afterwards."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.ui.sessions import Limits, Sessions

__all__ = ['LOCAL', 'POLICY', 'serve']

LOCAL = ('127.0.0.1', 'localhost')
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the browser may run and load: our files and pictures, nothing from elsewhere."""
HEADERS = (
    (b'content-security-policy', POLICY.encode()),
    (b'referrer-policy', b'no-referrer'),
    (b'x-content-type-options', b'nosniff'),
)


def serve(
    host: str,
    port: int,
    limits: Limits,
    checkpoints: Sequence[str],
    steps: int | None = None,
    seed: int = 0,
) -> None:
    """Serve until SIGINT or SIGTERM; prints the address when it can be opened.

    Files of the pages lie in a temporary folder that only this user can read. A page's
    are deleted when it is closed, the folder at the end.

    Args:
        host: address to listen on; other than ``LOCAL`` is open to the network.
        port: 0 for any free one.
        limits: what pages take.
        checkpoints: paths of checkpoints of ours that are offered beside our metrics.
        steps, seed: of the adaptation to ratings, see ``AdaptSettings``.

    Raises:
        UserError: the address is taken, or the extra ``ui`` is missing; or see above.
        CheckpointError: a checkpoint is not there, or not one of ours.
    """
    with needing('ui'):
        import starlette  # noqa: F401
        import uvicorn
    with _private_folder() as folder, _listen(host, port) as listening:
        _say('starting, 1 of 2: loading torch and pyiqa')
        from metaiqa_plugin.train.adapt import AdaptSettings
        from metaiqa_plugin.ui.routes import Api
        from metaiqa_plugin.ui.scoring import Metrics

        settings = AdaptSettings(steps=steps, seed=seed)
        _say('starting, 2 of 2: opening the metric')
        metrics = Metrics(checkpoints)
        sessions = Sessions(folder, metrics.default, limits.max_tabs)
        api = Api(sessions, metrics, limits, settings, host in LOCAL)
        config = uvicorn.Config(
            _application(api, host),
            log_config=None,  # its own would close the handlers of all loggers
            log_level='warning',
            timeout_graceful_shutdown=1,
        )
        if host not in LOCAL:
            _say(
                f'metaiqa: warning: host={host!r}: whoever reaches this machine can '
                'use the page; there is no password and no encryption'
            )
        server = _announcing(uvicorn.Server)(config)
        api.ending = lambda: server.should_exit
        try:
            server.run(sockets=[listening])
        finally:
            sessions.close_all()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A temporary folder that is deleted after SIGTERM, too."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with tempfile.TemporaryDirectory(
            prefix='metaiqa-ui-', ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, before)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f'cannot listen on host={host!r}, port={port}: {error}; choose another '
            '--port, 0 for any free one'
        ) from error


def _announcing(server: type) -> type:
    """uvicorn's server that prints its address once it answers, and handles signals."""

    class Announcing(server):
        async def startup(self, sockets) -> None:
            await super().startup(sockets)
            host, port = sockets[0].getsockname()[:2]
            print(f'http://{host}:{port}  (Ctrl-C ends it)', flush=True)

    return Announcing


def _application(api, host: str):
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    def refused(request, error: UserError):
        return PlainTextResponse(str(error), 400)

    layers = [Middleware(_Guard)]
    if host in LOCAL:  # a foreign page whose name resolves to this machine is refused
        layers.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL)))
    handlers = {UserError: refused}
    return Starlette(
        routes=api.routes(), middleware=layers, exception_handlers=handlers
    )


class _Guard:
    """Adds ``HEADERS`` to every response, and refuses what other sites' pages ask."""

    def __init__(self, app) -> None:
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        async def with_headers(message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], *HEADERS]
            await send(message)

        given = dict(scope.get('headers', ()))
        if given.get(b'sec-fetch-site') in (b'cross-site', b'same-site') and (
            scope['method'] != 'GET'
        ):
            start = {'type': 'http.response.start', 'status': 403, 'headers': []}
            await with_headers(start)
            await send({'type': 'http.response.body', 'body': b'another site asks'})
            return
        await self._app(scope, receive, with_headers)
