"""What a link is, whatever carries it: whole messages both ways, in order, between a gateway and a worker.

Everything here runs on the event loop. Nothing blocks: whoever writes asks `writable` first, and collects meanwhile
(see `outbox`), so that memory stays bounded and what waits leaves together.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Protocol

from ..errors import Internal, PenstockError
from .memory import SharedMemory

log = logging.getLogger("penstock.exchange")


class LinkHandler(Protocol):
    """Who speaks over a link. What it raises closes that link, is logged once, and is told to the other side."""

    def on_message(self, message: bytes) -> None:
        """One whole message has come. Not called any more once this side has closed the link."""

    def on_writable(self) -> None:
        """A link that was not writable can be written again."""

    def on_closed(self, error: Exception | None) -> None:
        """The link has ended: called once, last, and never from within `close` or `write`.

        Args:
            error: None if either side closed it in peace; else why it ended: what this side or the other one closed
                it with, or WorkerLost if the other side went without a word. For gRPC, what its status says.
        """


class Link(Protocol):
    """One open connection. Owned by its handler, which closes it."""

    carrier: str
    """`unix+shm`, `unix` or `grpc`."""
    writable: bool
    """False while what was written has not left; on_writable says when. False for ever once it is closed."""
    memory: SharedMemory | None
    """What both sides have in common; None where they have nothing. Closed after on_closed."""

    def write(self, message: bytes) -> None:
        """Send a message that is not empty. Never blocks, never raises; goes nowhere once the link is closed."""

    def close(self, error: PenstockError | None = None) -> None:
        """Send what was written, then end. The second time it does nothing.

        Args:
            error: why; the other side's on_closed gets it. A gateway cannot say it over gRPC.
        """


MakeHandler = Callable[[Link], LinkHandler]
"""Called once per link, when it can be written and before anything is read."""


class HandledLink(ABC):
    """What all carriers share: one handler that hears of the end once, and whose mistakes end its own link only."""

    carrier = ""

    def __init__(self) -> None:
        self.writable = True
        self.memory: SharedMemory | None = None
        self.closing = False
        self._ended = False
        self._error: PenstockError | None = None
        self._handler: LinkHandler | None = None

    @abstractmethod
    def write(self, message: bytes) -> None:
        """See Link."""

    @abstractmethod
    def _begin_close(self) -> None:
        """Send what was written and `_error`, then end; `ended` is called later."""

    def close(self, error: PenstockError | None = None) -> None:
        """See Link."""
        if not self.closing and not self._ended:
            self.closing = True
            self.writable = False
            self._error = error
            self._begin_close()

    def start(self, make_handler: MakeHandler) -> None:
        """Give it its handler. What `make_handler` raises is raised; the carrier then ends the link itself."""
        self._handler = make_handler(self)

    def deliver(self, messages: Iterable[bytes]) -> None:
        """Give messages to the handler, until it closes the link."""
        handler = self._handler
        if handler is None:
            return
        try:
            for message in messages:
                if self.closing:
                    return
                handler.on_message(message)
        except Exception as error:
            self.fail(error)

    def written(self) -> None:
        """What was written has left."""
        if self.closing or self.writable:
            return
        self.writable = True
        try:
            if self._handler is not None:
                self._handler.on_writable()
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Close because this side's handler raised."""
        if self.closing:
            log.error("a bug: the handler of a %s link raised", self.carrier, exc_info=error)
        else:
            self.close(known(error, self.carrier))

    def ended(self, error: PenstockError | None) -> None:
        """The link has ended; `error` is what the carrier knows of it, unless this side closed it first."""
        if self._ended:
            return
        self._ended = True
        self.writable = False
        why = self._error if self.closing else error
        self.closing = True
        handler, self._handler = self._handler, None
        try:
            if handler is not None:
                handler.on_closed(why)
        except Exception as bug:
            log.error("a bug: the handler of a %s link raised when it ended", self.carrier, exc_info=bug)
        if self.memory is not None:
            self.memory.close()

    def __repr__(self) -> str:
        state = "ended" if self._ended else "closing" if self.closing else "writable" if self.writable else "full"
        return f"<Link {self.carrier} {state}>"


def known(error: Exception, carrier: str) -> PenstockError:
    """A handler's error as the other side may see it; logged once."""
    if isinstance(error, PenstockError):
        log.warning("a %s link is closed: %s", carrier, error)
        return error
    log.error("a bug: the handler of a %s link raised", carrier, exc_info=error)
    return Internal("an error in the process at the other end of the link; its log has the cause")
