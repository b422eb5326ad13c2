"""The HTTP port. For now it answers probes: `/livez` (the process runs) and `/readyz` (it can answer requests)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def make_app(why_not_ready: Callable[[], str]) -> Starlette:
    """The application.

    Args:
        why_not_ready: an empty text when requests can be answered, else what is missing.
    """

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        missing = why_not_ready()
        return PlainTextResponse(f"{missing or 'ok'}\n", 503 if missing else 200)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz)])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to one of its servers."""
        yield


class HttpServer:
    """Serves an application on a socket that is listening already, in this event loop."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2)
        self._server = _Server(config)
        self._listener = listener
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """Finish what is being answered, at most 2 s, and close the socket."""
        self._server.should_exit = True
        await self._task
        self._listener.close()
