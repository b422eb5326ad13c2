"""One of several registries over one store: it leads when nobody else does, and follows the one that leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Generic, Protocol, TypeVar

from ..errors import PenstockError
from .door import Door, Leading

ASK_S = 0.5
"""Seconds between two looks at who leads, at most."""

log = logging.getLogger("penstock.registry")


class Lead(Protocol):
    """The time for which this registry leads: see stores.etcd.term."""

    lost: asyncio.Event

    async def keep(self) -> None:
        """Prolong it until it is lost."""

    async def resign(self) -> None:
        """Let another one lead."""


T = TypeVar("T", bound=Lead)


class Replica(Generic[T]):
    """Looks who leads until cancelled, and leads for as long as it may.

    Args:
        campaign: leads if nobody does; gives the term, or where the one is that leads. Empty: nobody does, yet.
        lead: what serves for a term, for the length of a block; it may fail.
        door: where the calls come in.
        random: so that several do not ask in step.
    """

    def __init__(
        self,
        campaign: Callable[[], Awaitable[T | str]],
        lead: Callable[[T], AbstractAsyncContextManager[Leading]],
        door: Door,
        random: Random,
    ) -> None:
        self._campaign = campaign
        self._lead = lead
        self._door = door
        self._random = random
        self._follows = ""

    async def run(self) -> None:
        """Until cancelled; then it resigns. Raises ValueError if the store is of a newer release."""
        said = ""
        while True:
            try:
                outcome = await self._campaign()
                said = ""
                if isinstance(outcome, str):
                    await self._follow(outcome)
                else:
                    await self._lead_until_lost(outcome)
            except PenstockError as error:
                if said != error.message:
                    log.warning("it cannot be said who leads: %s", error)  # who led before is asked on
                said = error.message
            await asyncio.sleep(self._random.uniform(ASK_S / 2, ASK_S))

    async def _follow(self, address: str) -> None:
        if address and address != self._follows:
            log.info("the registry at %s leads; this one passes on to it", address)
        self._follows = address
        await self._door.follow(address)

    async def _lead_until_lost(self, term: T) -> None:
        keeping = asyncio.create_task(term.keep())
        try:
            async with self._lead(term) as leading:
                log.info("this registry leads")
                await self._door.lead(leading)
                await term.lost.wait()
                log.warning("this registry leads no longer")
                await self._door.follow("")
        finally:
            self._follows = ""
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await term.resign()
