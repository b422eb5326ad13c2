"""What waits to be written leaves in one message: natural coalescing.

The first change of an idle outbox asks the loop to flush it after everything that is ready to run now; what these add
leaves with it. While the link cannot be written, the next message collects; so it does, under load, while the other
side is about to answer (see `pace`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .link import Link
from .pace import Pace

MAX_MESSAGE_BYTES = 256 * 1024
"""A message that has become greater is closed and the next one begun, so that no write holds up others for long."""


class Message(Protocol):
    """ExchangeRequest or ExchangeResponse."""

    def SerializeToString(self) -> bytes:
        """Protobuf's."""


M = TypeVar("M", bound=Message)


class Outbox(Generic[M]):
    """What one side of one link wants to say. Belongs to the link's handler, which passes on_writable on to it.

    Before `attach` it only collects; `attach` sends what it has.
    """

    __slots__ = ("_bytes", "_closed", "_held", "_loop", "_make", "_scheduled", "_touched", "link", "message", "pace")

    def __init__(self, make: Callable[[], M]) -> None:
        self.message = make()
        """Under construction; whoever has changed it calls `touch`. Another one after each touch and flush."""
        self.link: Link | None = None
        self.pace: Pace | None = None
        """Whether to wait for answers. Who hears one says `release`. None: never."""
        self._make = make
        self._closed: deque[tuple[M, int]] = deque()
        self._bytes = 0
        self._touched = False
        self._scheduled = False
        self._held: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, link: Link) -> None:
        """Write to this link from now on."""
        self.link = link
        self._loop = asyncio.get_running_loop()
        self._schedule()

    def detach(self) -> None:
        """The link has gone; what it had not been given is thrown away."""
        self.link = None
        self._stop_holding()
        self._closed.clear()
        self._begin_next()

    @property
    def waiting_bytes(self) -> int:
        """What has collected, as far as `touch` was told; for bounds."""
        return self._bytes + sum(size for _, size in self._closed)

    def touch(self, size: int = 0) -> None:
        """The message was changed, and shall be sent soon.

        Args:
            size: bytes that were added, roughly. Small fields need not be counted.
        """
        self._touched = True
        self._bytes += size
        if self._bytes > MAX_MESSAGE_BYTES:
            self._closed.append((self.message, self._bytes))
            self._begin_next()
        if not self._scheduled:
            self._schedule()

    def on_writable(self) -> None:
        """The link can be written again: send what has collected."""
        self.flush()

    def flush(self) -> None:
        """Send now what the link takes; the rest waits for on_writable."""
        link = self.link
        if link is None:
            return
        while self._closed and link.writable:
            message, _ = self._closed.popleft()
            link.write(message.SerializeToString())
        if self._touched and link.writable and not self._holds():
            message = self.message
            self._begin_next()
            link.write(message.SerializeToString())

    def release(self) -> None:
        """An answer has come: what was held leaves, with all that is about to be added."""
        if self.pace is not None:
            self.pace.answered()
        if self._held is not None:
            self._stop_holding()
            if not self._scheduled:
                self._schedule()

    def _holds(self) -> bool:
        """Whether to go on collecting; if not, the message leaves now."""
        pace, loop = self.pace, self._loop
        if pace is None or loop is None:
            return False
        if self._held is not None:
            return True
        now = loop.time()
        seconds = pace.hold(now)
        if seconds > 0.0:
            self._held = loop.call_later(seconds, self._waited)
            return True
        pace.left(now)
        return False

    def _waited(self) -> None:
        """Long enough. What is asked once more whether to wait would answer as before."""
        self._stop_holding()
        if self.pace is not None:
            self.pace.answered()
        self.flush()

    def _stop_holding(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None

    def _begin_next(self) -> None:
        self.message = self._make()
        self._bytes = 0
        self._touched = False

    def _schedule(self) -> None:
        link, loop = self.link, self._loop
        if link is not None and loop is not None and link.writable and (self._touched or self._closed):
            self._scheduled = True
            loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self.flush()
