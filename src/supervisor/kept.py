"""A server that is started again when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from .child import Child
from .crashes import Crashes

log = logging.getLogger("penstock.supervisor")


class ChildFailed(Exception):
    """A server did not come up."""


class Kept:
    """A server that is started again when it ends; until `stop`."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._child: Child | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready; after that it is kept.

        Raises:
            ChildFailed: it ended before it was ready; its own message is on stderr.
        """
        self._child = await Child.start(self.name, self._arguments, self._environment)
        if await self._child.ready() is None:
            status = await self._child.wait()
            raise ChildFailed(f"the {self.name} did not start (status {status}); its message stands above")
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        crashes, loop = Crashes(), asyncio.get_running_loop()
        while self._child is not None:
            status = await self._child.wait()
            delay = crashes.note(loop.time())
            log.warning("the %s ended with status %d; starting it again in %.2f s", self.name, status, delay)
            await asyncio.sleep(delay)
            self._child = await Child.start(self.name, self._arguments, self._environment)

    def hurry(self) -> None:
        """Have it give up what it still holds."""
        if self._child is not None:
            self._child.hurry()

    async def stop(self, grace: float) -> None:
        """End it for good."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._child is not None:
            await self._child.stop(grace)
