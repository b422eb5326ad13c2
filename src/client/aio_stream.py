"""One PredictStream of the awaiting client: a task writes what is asked, another takes the answers.

There is no timer: what is asked in one turn of the event loop, or while a write is under way, leaves in one message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio

from penstock.v1 import predict_pb2 as pb

from ..errors import Cancelled, PenstockError, Unavailable
from .connection import ENDED_EARLY, broken
from .unsent import Unsent


class AioStream:
    """Writes until it is closed or breaks, which it says once.

    Args:
        call: the RPC; the stream ends it.
        unsent: where the questions come from; on the event loop's clock.
        settle: called with each message from the server.
        ended: called after the last of them, with what makes the error of a question that has no answer.
    """

    def __init__(
        self,
        call: Any,
        unsent: Unsent,
        settle: Callable[[pb.PredictStreamResponse], None],
        ended: Callable[[Callable[[], PenstockError]], None],
    ) -> None:
        self._call = call
        self._unsent = unsent
        self._settle = settle
        self._ended = ended
        self._news = asyncio.Event()
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    def wake(self) -> None:
        """There is something to send."""
        self._news.set()

    async def aclose(self, patience: float) -> None:
        """End the stream: with patience (in seconds), in peace, else at once."""
        await _cancelled(self._writer)
        if patience:
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                await self._call.done_writing()
            await asyncio.wait([self._reader], timeout=patience)
        self._call.cancel()
        await _cancelled(self._reader)

    async def _write(self) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):  # the reader learns of it, too, and why
            while True:
                await self._news.wait()
                self._news.clear()
                while self._unsent:
                    if message := self._unsent.take(clock()):
                        await self._call.write(message)

    async def _read(self) -> None:
        error: Callable[[], PenstockError] = partial(Cancelled, "the client was closed")
        try:
            while (answer := await self._call.read()) is not grpc.aio.EOF:
                self._settle(answer)
            error = partial(Unavailable, ENDED_EARLY, retry_after=0.0)
        except grpc.RpcError as cause:
            error = partial(broken, cause)
        finally:
            self._writer.cancel()
            self._ended(error)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
