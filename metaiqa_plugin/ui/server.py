"""Serves the page on a local address, and cleans up afterwards."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from metaiqa_plugin.errors import UserError, needing
from metaiqa_plugin.train.adapt import AdaptSettings
from metaiqa_plugin.ui.sessions import Limits, Sessions

__all__ = ['LOCAL', 'POLICY', 'serve']

LOCAL = ('127.0.0.1', 'localhost')
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' "
    "data:; worker-src 'self' blob:; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""What the browser may load: nothing from elsewhere."""
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
    settings: AdaptSettings,
) -> None:
    """Serve until SIGINT or SIGTERM; prints the address when it can be opened.

    Files of the pages lie in a temporary folder that only this user can read. A page's
    are deleted when it is closed, the folder at the end.

    Args:
        host: address to listen on; other than ``LOCAL`` is open to the network.
        port: 0 for any free one.
        limits: what a page takes.
        checkpoints: paths of checkpoints of ours that are offered beside our metrics.
        settings: of the adaptation to ratings.

    Raises:
        UserError: the address is taken, or Gradio is missing.
        CheckpointError: a checkpoint is not there, or not one of ours.
    """
    with _private_folder() as folder:
        _quiet_gradio(folder / 'gradio')
        with needing('ui'):
            import gradio  # noqa: F401
        import uvicorn

        from metaiqa_plugin.ui.scoring import Metrics

        listening = _listen(host, port)
        with listening:
            metrics = Metrics(checkpoints)
            sessions = Sessions(folder / 'pages', metrics.default)
            app = _application(sessions, metrics, limits, settings, host)
            config = uvicorn.Config(
                app,
                log_config=None,  # its own would close the handlers of all loggers
                log_level='warning',
                timeout_graceful_shutdown=1,
            )
            _warn_of(host)
            try:
                _announcing(uvicorn.Server)(config).run(sockets=[listening])
            finally:
                sessions.close_all()


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


def _quiet_gradio(folder: Path) -> None:
    """Before its import: no telemetry, and its files below ours."""
    os.environ |= {
        'GRADIO_ANALYTICS_ENABLED': 'False',
        'GRADIO_TEMP_DIR': str(folder),
        'HF_HUB_DISABLE_TELEMETRY': '1',
    }


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f'cannot listen on host={host!r}, port={port}: {error}; choose another '
            '--port, 0 for any free one'
        ) from error


def _warn_of(host: str) -> None:
    if host not in LOCAL:
        print(
            f'metaiqa: warning: host={host!r}: whoever reaches this machine can use '
            'the page; there is no password and no encryption',
            file=sys.stderr,
        )


def _announcing(server: type) -> type:
    """uvicorn's server that prints its address once it answers, and handles signals."""

    class Announcing(server):
        async def startup(self, sockets) -> None:
            await super().startup(sockets)
            host, port = sockets[0].getsockname()[:2]
            print(f'http://{host}:{port}  (Ctrl-C ends it)', flush=True)

    return Announcing


def _application(sessions, metrics, limits: Limits, settings, host: str):
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from metaiqa_plugin.ui.handlers import Handlers
    from metaiqa_plugin.ui.page import build_page, stylesheet, theme
    from metaiqa_plugin.ui.routes import session_routes

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(session_routes(sessions, limits))
    handlers = Handlers(sessions, metrics, limits, settings)
    gr.mount_gradio_app(
        app,
        build_page(handlers, metrics),
        path='/',
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=1,
        theme=theme(),
        css=stylesheet(),
    )
    app.add_middleware(_WithHeaders)
    if host in LOCAL:  # a foreign page whose name resolves to this machine is refused
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL))
    return app


class _WithHeaders:
    """Adds ``HEADERS`` to every response."""

    def __init__(self, app) -> None:
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        async def with_headers(message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], *HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)
