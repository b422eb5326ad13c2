"""Has answers compared by a process of its own: a gateway opens no tensors, and its callers must not wait for it.

The process is started when there is something to compare, and asked one pair at a time; what waits is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable

from .figures import Difference

MAX_BYTES = 4 * 1024 * 1024
"""Of one answer; greater ones are not compared."""
MAX_PAIRS, MAX_HELD_BYTES = 64, 32 * 1024 * 1024
"""What may wait."""
REQUEST = struct.Struct("<II")
"""How many bytes the two answers have, which follow."""
REPLY = struct.Struct("<?dddQQ")
"""Mismatched, max abs, relative, cosine distance, rows, rows whose greatest element is the same."""
_PIECE = 256 * 1024
"""What is written in one turn of the event loop, which others need, too."""
_PATIENCE, _PAUSE = 30.0, 10.0
"""Seconds for one pair, and before another process is started after one that failed."""

Told = Callable[[Difference | None], None]
log = logging.getLogger("penstock.gateway")


class Comparer:
    """Compares pairs of answers. Belongs to the event loop; `run` does the work."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, bytes, Told]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def offer(self, one: bytes, other: bytes, told: Told) -> bool:
        """Compare them some time; `told` is called with None if that fails. False: there is no room."""
        size = len(one) + len(other)
        if len(self._waiting) >= MAX_PAIRS or self._bytes + size > MAX_HELD_BYTES:
            return False
        self._waiting.append((one, other, told))
        self._bytes += size
        self._some.set()
        return True

    async def run(self) -> None:
        """Compare until cancelled. A process that fails costs the pair that it had."""
        while True:
            await self._some.wait()
            try:
                async with contextlib.AsyncExitStack() as stack:
                    reader, writer = await self._start()
                    stack.push_async_callback(self._stop, writer)
                    while True:
                        await self._next(reader, writer)
            except (OSError, EOFError, TimeoutError) as error:
                log.warning("answers of shadows are not compared for a moment (%s)", type(error).__name__)
                await asyncio.sleep(_PAUSE)

    async def _next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        one, other, told = self._waiting.popleft()
        self._bytes -= len(one) + len(other)
        try:
            async with asyncio.timeout(_PATIENCE):
                for content in (REQUEST.pack(len(one), len(other)), one, other):
                    for begin in range(0, len(content), _PIECE):
                        writer.write(content[begin : begin + _PIECE])
                        await writer.drain()
                reply = await reader.readexactly(REPLY.size)
        except BaseException:
            told(None)
            raise
        told(Difference(*REPLY.unpack(reply)))

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.to_thread(_spawn, theirs)
            return await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise

    async def _stop(self, writer: asyncio.StreamWriter) -> None:
        """It ends when its socket is closed; and if it does not, by force."""
        writer.close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.shield(asyncio.to_thread(process.wait))


def _spawn(link: socket.socket) -> subprocess.Popen[bytes]:
    # Not asyncio's own: uvloop's transports of pipes may close a descriptor that is another child's by then.
    line = [sys.executable, "-m", "penstock.compare"]
    return subprocess.Popen(line, stdin=link.fileno(), stdout=subprocess.DEVNULL, start_new_session=True)
