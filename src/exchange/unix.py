"""The carrier inside one host: frames over a unix socket, great messages beside it in shared memory."""

from __future__ import annotations

import asyncio
import os
import socket

from .handshake import answer, greet
from .link import Link, MakeHandler, known, log
from .sockets import connect_socket, listen_socket, remove_socket, require_same_user
from .unix_link import MAX_FRAME_BYTES, UnixLink, opened

_RETRY_ACCEPT = 1.0


async def connect_unix(
    path: str, make_handler: MakeHandler, *, shared: bool = True, max_message_bytes: int = MAX_FRAME_BYTES
) -> Link:
    """Connect to a server of this user.

    Args:
        path: the server's socket.
        make_handler: called before this returns; what it raises is raised here.
        shared: use shared memory if the server does, too.
        max_message_bytes: what the other side may send at once; above, the link is closed.

    Raises:
        OSError: nobody answers, or another user; HandshakeFailed (one of these) if it is of an unlike release.
    """
    sock = connect_socket(path)
    try:
        memory = await greet(sock, shared=shared)
    except BaseException:
        sock.close()
        raise
    return await opened(UnixLink(sock, make_handler, memory, max_message_bytes))


async def serve_unix(
    path: str, make_handler: MakeHandler, *, shared: bool = True, max_message_bytes: int = MAX_FRAME_BYTES
) -> UnixServer:
    """Listen for processes of this user, and give each of them a handler.

    Args:
        path: where; its folder is made if missing, the file of a killed server is replaced.
        make_handler: for each connection; where it raises, that connection ends.
        shared: use shared memory with clients that do, too.
        max_message_bytes: what a client may send at once; above, its link is closed.

    Raises:
        OSError: another server answers there, or the socket cannot be made.
    """
    return UnixServer(path, make_handler, shared, max_message_bytes)


class UnixServer:
    """Listens, and owns its links. Made by `serve_unix`."""

    def __init__(self, path: str, make_handler: MakeHandler, shared: bool, max_message_bytes: int) -> None:
        self.path = path
        self._make_handler = make_handler
        self._shared = shared
        self._max_bytes = max_message_bytes
        self._listener = listen_socket(path)
        self._inode = os.stat(path).st_ino
        self._listening = True
        self._links: set[UnixLink] = set()
        self._greeting: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._resume()

    def stop_listening(self) -> None:
        """Take no new connections, remove the socket file; links go on. The second time it does nothing."""
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._listener)
            remove_socket(self.path, self._inode)
            self._listener.close()

    def close(self) -> None:
        """Stop listening, and close every link. `wait_closed` waits until that is done."""
        self.stop_listening()
        for task in self._greeting:
            task.cancel()
        for link in [link for link in self._links if link.made]:  # all others are still being greeted
            link.close()

    async def wait_closed(self) -> None:
        """Return when no link is left; at most a second after `close`."""
        while self._links or self._greeting:
            self._changed.clear()
            await self._changed.wait()

    def _resume(self) -> None:
        if self._listening:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return  # it has gone already
        except OSError as error:  # too many open files: asking again at once would only burn the processor
            log.error("%s: cannot accept connections for %g s: %s", self.path, _RETRY_ACCEPT, error)
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_RETRY_ACCEPT, self._resume)
            return
        task = self._loop.create_task(self._greet(sock))
        self._greeting.add(task)
        task.add_done_callback(self._greeted)

    def _greeted(self, task: asyncio.Task[None]) -> None:
        self._greeting.discard(task)
        self._changed.set()

    async def _greet(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            require_same_user(sock)
            memory = await answer(sock, shared=self._shared)
        except OSError as error:
            sock.close()
            log.warning("%s: a connection was refused: %s", self.path, error)
            return
        except BaseException:
            sock.close()
            raise
        link = UnixLink(sock, self._make_handler, memory, self._max_bytes, self._lost)
        self._links.add(link)
        try:
            await opened(link)
        except Exception as error:
            known(error, link.carrier)
        except BaseException:
            if not link.made:  # cancelled before the loop has made a connection of it, which then is never lost
                sock.close()
                self._lost(link)
            raise

    def _lost(self, link: UnixLink) -> None:
        self._links.discard(link)
        self._changed.set()
