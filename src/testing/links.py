"""Two ends of a link without a carrier, and a handler that writes down what it hears: for tests of either side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..errors import PenstockError, WorkerLost
from ..exchange.link import HandledLink, Link, MakeHandler
from ..exchange.memory import Arena, SharedMemory, View


class LocalLink(HandledLink):
    """One end. Messages arrive in order, a turn of the loop later. A test can hold it up and break it."""

    carrier = "local"

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        """Every message written to this end, also those that are held."""
        self.other: LocalLink = self
        self._held: deque[bytes] | None = None

    def write(self, message: bytes) -> None:
        """See Link."""
        if self.closing:
            return
        self.sent.append(message)
        if self._held is None:
            self._arrive(message)
        else:
            self._held.append(message)
            self.writable = False

    def hold(self, *, writable: bool = False) -> None:
        """What is written from now on stays here.

        Args:
            writable: the next write still passes for one, and only then it is not writable, as gRPC's behaves.
        """
        self._held = self._held or deque()
        self.writable = writable and not self.closing

    def release(self) -> None:
        """What was held leaves, and it can be written again."""
        held, self._held = self._held or (), None
        for message in held:
            self._arrive(message)
        self.written()

    def lose(self, error: PenstockError | None = None) -> None:
        """Both ends lose the connection, as when a process is killed; what is held is lost."""
        self._held = None
        lost = error or WorkerLost("the other side of the link has gone without a word")
        loop = asyncio.get_running_loop()
        loop.call_soon(self.ended, lost)
        loop.call_soon(self.other.ended, lost)

    def _arrive(self, message: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.other.deliver, (message,))

    def _begin_close(self) -> None:
        for message in self._held or ():
            self._arrive(message)
        loop = asyncio.get_running_loop()
        loop.call_soon(self.other.ended, self._error)
        loop.call_soon(self.ended, None)


def linked(make_one: MakeHandler, make_other: MakeHandler, *, shared: int = 0) -> tuple[LocalLink, LocalLink]:
    """Two handlers that hear each other. The first is made first: by custom the gateway's.

    Args:
        make_one: as for `connect_unix`.
        make_other: as for `serve_unix`.
        shared: bytes of shared memory for each direction; 0: none. Close the links, or it stays.
    """
    one, other = LocalLink(), LocalLink()
    one.other, other.other = other, one
    if shared:
        _share(one, other, shared)
    one.start(make_one)
    other.start(make_other)
    return one, other


def _share(one: LocalLink, other: LocalLink, size: int) -> None:
    mine, theirs = Arena(size), Arena(size)
    one.memory = SharedMemory(mine, View(theirs.descriptor))
    other.memory = SharedMemory(theirs, View(mine.descriptor))
    mine.sent()
    theirs.sent()
    one.carrier = other.carrier = "local+shm"


class Recorder:
    """A handler that writes down what it hears. Give it to `linked`, `connect_unix`, …: `Recorder()` is a MakeHandler.

    Args:
        on_message: what to do with each message besides.
    """

    def __init__(self, on_message: Callable[[Link, bytes], None] = lambda link, message: None) -> None:
        self.links: list[Link] = []
        self.messages: list[bytes] = []
        self.times_writable = 0
        self.closed: list[Exception | None] = []
        self._do = on_message
        self._heard = asyncio.Event()

    def __call__(self, link: Link) -> Recorder:
        """Handle this link."""
        self.links.append(link)
        self._heard.set()
        return self

    @property
    def link(self) -> Link:
        """The last one."""
        return self.links[-1]

    def on_message(self, message: bytes) -> None:
        """See LinkHandler."""
        self.messages.append(message)
        self._heard.set()
        self._do(self.link, message)

    def on_writable(self) -> None:
        """See LinkHandler."""
        self.times_writable += 1
        self._heard.set()

    def on_closed(self, error: Exception | None) -> None:
        """See LinkHandler."""
        self.closed.append(error)
        self._heard.set()

    async def until(self, condition: Callable[[Recorder], object]) -> None:
        """Wait until what it has heard makes the condition true."""
        while not condition(self):
            self._heard.clear()
            await self._heard.wait()
