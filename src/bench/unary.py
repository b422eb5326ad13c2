"""Load by unary calls: one RPC per request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import grpc.aio

from ..rpc.errors import from_rpc_error
from .plan import Plan
from .record import Record

GAVE_UP = "CANCELLED by the caller"


def kind_of(error: grpc.aio.AioRpcError) -> str:
    """Code and reason."""
    known = from_rpc_error(error)
    return f"{known.code.name} {known.reason}".rstrip()


class UnaryLane:
    """Sends each request as a call of its own, over the channels in turn, which the caller closes."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], plan: Plan, record: Record) -> None:
        calls: list[Any] = [channel.unary_unary(plan.method) for channel in channels]
        self._calls = calls
        self._plan = plan
        self._record = record
        self._random = Random(plan.seed)
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, indexes: Sequence[int]) -> None:
        """Ask; does not wait."""
        for index in indexes:
            task = asyncio.create_task(self._ask(index))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, index: int) -> None:
        plan = self._plan
        timeout = self._record.left(index) if plan.deadline else None
        send = self._calls[index % len(self._calls)]
        call = send(plan.bodies[index % len(plan.bodies)], timeout=timeout, metadata=plan.headers)
        kind = "OK"
        if plan.cancel_share and self._random.random() < plan.cancel_share:
            asyncio.get_running_loop().call_later(self._random.uniform(0, plan.cancel_within), call.cancel)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            kind = kind_of(error)
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            kind = GAVE_UP
        self._record.settle([index], kind)

    async def close(self) -> None:
        """Give up what has no answer yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
