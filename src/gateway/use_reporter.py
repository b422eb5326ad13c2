"""Tell the registry what is asked for that is loaded on demand: one report at a time, beside all requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

import grpc
import grpc.aio

from penstock.v1 import registry_pb2 as pb

from .refusals import Key
from .uses import INTERVAL, Use, UsedLane, Uses

log = logging.getLogger("penstock.gateway")


class UseReporter:
    """Reports until `run` is cancelled.

    Args:
        report: the registry's ReportUse. What it does not hear is said again a second later, if it is still so.
        lanes: those of the versions that are loaded on demand.
    """

    def __init__(
        self, report: Callable[[pb.ReportUseRequest], Awaitable[object]], lanes: Callable[[], Iterable[UsedLane]]
    ) -> None:
        self._report = report
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._uses = Uses()
        self._asked = asyncio.Event()
        self._heard = True

    def ask_for(self, key: Key) -> None:
        """Requests wait for a version that is not there."""
        if self._uses.ask_for(key, self._loop.time()):
            self._asked.set()

    async def run(self) -> None:
        """Report what is news."""
        due = self._loop.time() + INTERVAL
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._asked.wait()
            self._asked.clear()
            now = self._loop.time()
            if now >= due:
                due = now + INTERVAL
                await self._tell(self._uses.due(self._lanes(), now))
            else:
                await self._tell(self._uses.asked())

    async def _tell(self, uses: list[Use]) -> None:
        if not uses:
            return
        try:
            await self._report(pb.ReportUseRequest(uses=map(_message, uses)))
            self._heard = True
        except grpc.aio.AioRpcError as error:
            if self._heard:
                log.warning("the registry does not hear which models are asked for (%s)", error.code().name)
            self._heard = False


def _message(use: Use) -> pb.VersionUse:
    message = pb.VersionUse(name=use.key[0], version=use.key[1], waiting=use.waiting)
    message.ago.FromMilliseconds(round(use.ago * 1000))
    return message
