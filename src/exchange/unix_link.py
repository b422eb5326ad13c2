"""One link over a unix socket: the frames of `frames`, read and written by the loop's own transport."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from ..errors import MalformedRequest, PenstockError, WorkerLost
from ..rpc.channel import MAX_MESSAGE_BYTES
from ..rpc.errors import from_message, to_status
from .frames import FrameReader, frame, last_frame
from .link import HandledLink, Link, MakeHandler, known
from .memory import SharedMemory

MAX_FRAME_BYTES = MAX_MESSAGE_BYTES + 1024 * 1024
"""What passed the front door, with what travels beside it."""

_HIGH_WATER = 1024 * 1024
_LINGER = 1.0  # seconds that a closed link has to send what was written
_READ_BYTES = 256 * 1024


class UnixLink(HandledLink, asyncio.Protocol):
    """A link, and the protocol of its transport. `opened` opens it."""

    def __init__(
        self,
        sock: socket.socket,
        make_handler: MakeHandler,
        memory: SharedMemory | None,
        max_bytes: int,
        lost: Callable[[UnixLink], None] = lambda link: None,
    ) -> None:
        super().__init__()
        self.sock = sock
        self.carrier = "unix" if memory is None else "unix+shm"
        self.memory = memory
        self.unmade: Exception | None = None
        """What `make_handler` raised."""
        self.made = False
        """The loop has made a connection of it: from then on it ends by being lost."""
        self._make_handler = make_handler
        self._reader = FrameReader(max_bytes)
        self._lost = lost
        self._abort: asyncio.TimerHandle | None = None

    def write(self, message: bytes) -> None:
        """See Link."""
        if self.closing:
            return
        first, rest = frame(message)
        self._transport.write(first)
        if rest is not None:
            self._transport.write(rest)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, before anything is read."""
        self._transport, self.made = cast(asyncio.Transport, transport), True
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        try:
            self.start(self._make_handler)
        except Exception as error:
            self.unmade = error
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what is there, at most 256 KiB."""
        try:
            messages = self._reader.feed(data)
        except MalformedRequest as error:
            self.close(known(error, self.carrier))
            return
        self.deliver(messages)
        if self._reader.last is not None:
            self._transport.abort()  # the other side reads no more

    def pause_writing(self) -> None:
        """Called by the loop: the other side does not read as fast as this one writes."""
        self.writable = False

    def resume_writing(self) -> None:
        """Called by the loop: most of what waited has left."""
        self.written()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        if exc is not None and not self.closing:
            self._read_rest()
        if self._abort is not None:
            self._abort.cancel()
        self.ended(self._farewell())
        self._lost(self)

    def _begin_close(self) -> None:
        status = b"" if self._error is None else to_status(self._error).SerializeToString()
        self._transport.write(last_frame(status))
        self._transport.close()
        self._abort = asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)

    def _read_rest(self) -> None:
        """Writing failed, since the other side has closed: what it said before that is still to be read."""
        self.writable = False
        with contextlib.suppress(OSError):
            while not self.closing and self._reader.last is None and (data := self.sock.recv(_READ_BYTES)):
                self.data_received(data)

    def _farewell(self) -> PenstockError | None:
        """What the other side's last frame says; WorkerLost if there was none."""
        status = self._reader.last
        if status == b"":
            return None
        lost = WorkerLost("the other side of the link has gone without a word")
        if status is None:
            return lost
        try:
            return from_message(status_pb2.Status.FromString(status))
        except DecodeError:
            return lost


async def opened(link: UnixLink) -> Link:
    """Let the loop's transport take over, and the handler be made. What that raises is raised."""
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: link, link.sock)  # for connecting ones it does the same
    if link.unmade is not None:
        raise link.unmade
    return link
