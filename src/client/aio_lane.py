"""A PredictStream of the awaiting client: one task reads the questions and sends them, one takes the answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from ..errors import Cancelled, PenstockError, Unavailable
from .connection import failure
from .lane import ENDED_EARLY, FAREWELL_S
from .request import Question
from .window import Asked, Window


class AioLane:
    """Sends questions as long as the window has room, and notes their answers; replaces a stream that is broken.

    Args:
        open_call: makes the RPC.
        window: the lane alone uses it.
        questions: read in a task of the lane's own, never further ahead than the window is wide. Those that could not
            be made come as the error.
    """

    def __init__(
        self, open_call: Callable[[], Any], window: Window, questions: AsyncGenerator[Question | PenstockError, None]
    ) -> None:
        self._open = open_call
        self._window = window
        self._calls: dict[Any, asyncio.Task[None]] = {}  # the open call, if there is one, and who reads it
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._feeder = asyncio.create_task(self._feed(questions))

    async def next(self) -> Asked | None:
        """The next in line with its outcome; None: all is answered.

        What the iterator of questions raised is raised here, after the answers to those that it gave.
        """
        while True:
            done = self._window.pop(monotonic())
            if done is not None:
                self._room.set()
                return done
            if self._feeder.done() and not len(self._window):
                self._feeder.result()
                return None
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._window.patience(monotonic())):
                    await self._news.wait()

    async def aclose(self) -> None:
        """Stop reading and sending. The stream ends in peace if all is answered, else at once."""
        self._feeder.cancel()
        await asyncio.gather(self._feeder, return_exceptions=True)
        for call, reader in list(self._calls.items()):
            if not len(self._window):
                with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                    await call.done_writing()
                await asyncio.wait([reader], timeout=FAREWELL_S)
            call.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _feed(self, questions: AsyncGenerator[Question | PenstockError, None]) -> None:
        try:
            async for question in questions:
                await self._send(question)
                self._news.set()
                while not self._window.room:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._news.set()
            await questions.aclose()

    async def _send(self, question: Question | PenstockError) -> None:
        if isinstance(question, PenstockError):
            self._window.refuse(question, monotonic())
            return
        if not self._calls:
            call = self._open()
            self._calls[call] = asyncio.create_task(self._read(call))
        (call,) = self._calls
        message = self._window.add(question, monotonic())
        self._news.set()  # the write may wait for the server longer than the question can
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):  # the reader learns of it, too, and why
            await call.write(message)

    async def _read(self, call: Any) -> None:
        error: PenstockError = Cancelled("the client was closed")
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                self._window.settle(answer)
                self._news.set()
            error = Unavailable(ENDED_EARLY, retry_after=0.0)
        except grpc.RpcError as cause:
            error = failure(cause)
            error.__cause__ = cause
        finally:
            self._calls.pop(call, None)
            self._window.fail(error)
            self._news.set()
