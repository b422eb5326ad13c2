"""Changes happen one after another, and each to its end, whatever becomes of who asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Turns:
    """Whoever is in turn reads, decides, writes to the store and changes what is known; nobody else does meanwhile."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, change: Coroutine[Any, Any, T]) -> T:
        """Make a change. A caller who is cancelled leaves it running: the store may have made it already."""
        return await asyncio.shield(asyncio.ensure_future(self._alone(change)))

    async def _alone(self, change: Coroutine[Any, Any, T]) -> T:
        async with self._lock:
            return await change


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not stop half-way, nor go on when its caller has left: a caller who is cancelled waits."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise
