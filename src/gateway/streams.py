"""PredictStream: many questions in flight on one stream, answered as they are ready, one failing without the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace

from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError

from ..errors import DeadlineExceeded, MalformedRequest
from ..rpc.call import Call, new_request_id
from ..rpc.errors import as_penstock_error, to_status
from .wire import fields, wrap

MAX_IN_FLIGHT = 1024
"""Per stream, unread answers included. Then the stream is not read further, and flow control reaches the caller."""

Predict = Callable[[bytes, Call], Awaitable[bytes]]


class PredictStreams:
    """Serves streams by asking `predict` for each question."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    async def serve(self, requests: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        """The answers to a stream's questions. Leaving it cancels what is in flight."""
        room = asyncio.Semaphore(MAX_IN_FLIGHT)
        answers: asyncio.Queue[bytes | None] = asyncio.Queue()  # never more than there is room for
        reader = asyncio.create_task(self._read(requests, call, room, answers))
        try:
            while (answer := await answers.get()) is not None:
                yield answer
                room.release()
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        call: Call,
        room: asyncio.Semaphore,
        answers: asyncio.Queue[bytes | None],
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                await room.acquire()
                async for request in requests:
                    tasks.create_task(self._answer(request, call, answers))
                    await room.acquire()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the stream's own: questions end with answers
        finally:
            answers.put_nowait(None)

    async def _answer(self, message: bytes, stream: Call, answers: asyncio.Queue[bytes | None]) -> None:
        """Answer one question; whatever happens, with an answer."""
        request_id = b""
        try:
            request_id, timeout, request = _parsed(message)
            call = _call(stream, timeout)
            async with asyncio.timeout_at(None if timeout is None else call.deadline):
                result = wrap(2, await self._predict(request, call))
        except TimeoutError:
            result = self._error(DeadlineExceeded("the request's own timeout passed"), stream)
        except Exception as error:
            result = self._error(error, stream)
        answers.put_nowait(wrap(1, request_id) + result)

    def _error(self, error: Exception, stream: Call) -> bytes:
        known = as_penstock_error(error, stream.request_id, stream.method)
        return wrap(3, to_status(known).SerializeToString())


def _parsed(message: bytes) -> tuple[bytes, float | None, bytes]:
    """Request id, timeout in seconds, and the PredictRequest's bytes."""
    request_id, timeout, request = b"", None, b""
    for number, begin, end in fields(message):
        if number == 1:
            request_id = message[begin:end]
        elif number == 2:
            timeout = _seconds(message[begin:end])
        elif number == 3:
            request = message[begin:end]
    return request_id, timeout, request


def _seconds(message: bytes) -> float:
    try:
        return duration_pb2.Duration.FromString(message).ToNanoseconds() / 1e9
    except DecodeError:
        raise MalformedRequest("timeout is not a google.protobuf.Duration") from None


def _call(stream: Call, timeout: float | None) -> Call:
    """The call of one question: it has its own deadline and facts, and the stream's caller."""
    deadline = stream.deadline
    if timeout is not None:
        deadline = min(deadline, asyncio.get_running_loop().time() + timeout)
    return replace(stream, request_id=new_request_id(), deadline=deadline, trailers=[], facts={})
