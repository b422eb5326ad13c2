"""One file of a web server.

Not by a library that follows redirects and looks names up by itself: each hop is judged, and the address that was
judged is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from ...errors import FailedPrecondition, NotFound, Unavailable
from ..urls import MAX_REDIRECTS, Url, check_address, redirected
from .origin import CHUNK_BYTES, SILENCE_S, Found

_CONNECT_S = 10.0
_REDIRECTS = (301, 302, 303, 307, 308)


class WebFile:
    """What a URL of a web server gives."""

    def __init__(self, url: Url, allowed: Sequence[Url]) -> None:
        self._url, self._allowed = url, allowed

    async def files(self, most: int) -> list[Found]:
        """See Origin. It is not asked before it is read."""
        if not self._url.name:
            text = f"{self._url} is a folder, and web servers do not say what is in theirs; name one file"
            raise FailedPrecondition(text, precondition=str(self._url))
        return [Found(self._url.name, None)]

    async def read(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Origin."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            answer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise
        try:
            size = 0
            while chunk := await asyncio.to_thread(answer.read):
                size += len(chunk)
                yield chunk
            if answer.length not in (None, size):  # http.client says nothing of it
                raise Unavailable(f"{self._url} ended after {size} of {answer.length} bytes; try again")
        finally:
            answer.close()

    def _open(self) -> _Answer:
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            answer = _get(url)
            if answer.status == 200:
                return answer
            answer.close()
            if answer.status not in _REDIRECTS or not answer.location:
                raise _refused(url, answer.status)
            url = redirected(url, answer.location, self._allowed)
        raise FailedPrecondition(f"{self._url} leads on more than {MAX_REDIRECTS} times", precondition=str(self._url))


class _Answer:
    """What a server answers, its headers read; owns the socket."""

    def __init__(self, url: Url, response: http.client.HTTPResponse, connected: socket.socket) -> None:
        self._url, self._response, self._socket = url, response, connected
        self.status = response.status
        self.location = response.getheader("Location", "")
        self.encoding = response.getheader("Content-Encoding", "identity")
        self.length = response.length
        """In bytes; None: it is not said."""

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        try:
            return self._response.read(CHUNK_BYTES)
        except (OSError, ValueError, http.client.HTTPException):
            text = f"{self._url} broke off, or gave no byte for {SILENCE_S:g} s; try again"
            raise Unavailable(text) from None

    def close(self) -> None:
        """Let go of it; a thread that reads comes back at once, since to close would wait for it."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._response.close()
        self._socket.close()


def _close_unused(opening: asyncio.Future[_Answer]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _get(url: Url) -> _Answer:
    """Ask for a file."""
    try:
        connected = _connected(url)
        try:
            return _plain(_Answer(url, _asked(url, connected), connected), url)
        except BaseException:
            connected.close()
            raise
    except ssl.SSLError:
        text = f"{url.host} does not prove by its certificate who it is; the registry's host must trust its issuer"
        raise FailedPrecondition(text, precondition=str(url)) from None
    except (OSError, http.client.HTTPException):
        raise Unavailable(f"{url.host} cannot be reached, or does not answer; try again") from None


def _asked(url: Url, connected: socket.socket) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(url.host, url.port)
    connection.sock = connected
    target = url.path + (f"?{url.query}" if url.query else "")
    headers = {"Host": url.authority, "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "penstock"}
    connection.request("GET", target, headers=headers)
    return connection.getresponse()


def _connected(url: Url) -> socket.socket:
    found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    for *_, address in found:
        check_address(url, str(address[0]))  # all of them: else the order decides
    connected = socket.create_connection((str(found[0][4][0]), url.port), _CONNECT_S)
    connected.settimeout(SILENCE_S)
    if url.scheme == "http":
        return connected
    try:
        return ssl.create_default_context().wrap_socket(connected, server_hostname=url.host)
    except BaseException:
        connected.close()
        raise


def _plain(answer: _Answer, url: Url) -> _Answer:
    """What is packed would have to be unpacked, and a megabyte can become gigabytes."""
    if answer.encoding == "identity":
        return answer
    answer.close()
    raise FailedPrecondition(f"{url} comes compressed although that was not asked for", precondition=str(url))


def _refused(url: Url, status: int) -> Exception:
    if status in (404, 410):
        return NotFound(f"there is no {url}", resource=("url", str(url)))
    if status >= 500 or status == 429:
        return Unavailable(f"{url.host} cannot give {url} now (HTTP {status}); try again")
    return FailedPrecondition(f"{url.host} does not give {url} (HTTP {status})", precondition=str(url))
