"""Load by PredictStream: what is due at one wake-up leaves in one message; while that is written the next collects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from ..rpc.errors import from_message
from .frames import Questions, answers, coalesced
from .plan import Plan
from .record import Record
from .unary import kind_of

STREAM = "/penstock.v1.PredictService/PredictStream"
COALESCE = (("x-penstock-coalesce", "on"),)
"""Metadata: answers may share messages, too, from the first on."""
MAX_MESSAGE_BYTES = 256 * 1024
"""A message is closed when it is larger than this."""
_PAUSE = 0.05
"""Seconds before a broken stream is opened again."""


class StreamLane:
    """Streams in turn, one on each channel; the caller closes the channels."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], plan: Plan, record: Record) -> None:
        questions = Questions(plan.bodies)
        self._streams = [_Stream(channel, questions, plan, record) for channel in channels]
        self._turn = 0

    def send(self, indexes: Sequence[int]) -> None:
        """Ask; does not wait."""
        self._turn = (self._turn + 1) % len(self._streams)
        self._streams[self._turn].send(indexes)

    async def close(self) -> None:
        """End the streams; what has no answer yet gets none."""
        await asyncio.gather(*(stream.close() for stream in self._streams))


class _Stream:
    """One PredictStream after the other on one channel: a broken one fails what is open on it."""

    def __init__(self, channel: grpc.aio.Channel, questions: Questions, plan: Plan, record: Record) -> None:
        opener: Any = channel.stream_stream(STREAM)
        self._opener = opener
        self._questions = questions
        self._plan = plan
        self._record = record
        self._waiting: list[int] = []
        self._open: set[int] = set()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def send(self, indexes: Sequence[int]) -> None:
        """Have them sent as soon as the stream can be written."""
        self._waiting.extend(indexes)
        self._news.set()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            call = self._opener(metadata=self._plan.headers + COALESCE)
            writer = asyncio.create_task(self._write(call))
            try:
                while (message := await call.read()) is not grpc.aio.EOF:
                    self._settle(message)
                kind = "UNAVAILABLE the stream was ended"
            except grpc.aio.AioRpcError as error:
                kind = kind_of(error)
            finally:
                call.cancel()
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            broken, self._open = [*self._open], set()
            self._record.settle(broken, kind)
            await asyncio.sleep(_PAUSE)

    async def _write(self, call: Any) -> None:
        while True:
            await self._news.wait()
            waiting, self._waiting = self._waiting, []
            self._news.clear()
            self._open.update(waiting)
            try:
                for message in self._messages(waiting):
                    await call.write(message)
            except (grpc.RpcError, asyncio.InvalidStateError):
                return  # the reader learns of it, too, and why

    def _messages(self, indexes: Sequence[int]) -> list[bytes]:
        limited = self._plan.deadline > 0
        made: list[list[bytes]] = []
        room = 0
        for index in indexes:
            question = self._questions.question(index, self._record.left(index) if limited else 0.0)
            if room < len(question):
                made.append([])
                room = MAX_MESSAGE_BYTES
            made[-1].append(question)
            room -= len(question)
        return [coalesced(questions) for questions in made]

    def _settle(self, message: bytes) -> None:
        right: list[int] = []
        for index, error in answers(message):
            self._open.discard(index)
            if error is None:
                right.append(index)
            else:
                known = from_message(error)
                self._record.settle([index], f"{known.code.name} {known.reason}".rstrip())
        self._record.settle(right)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
