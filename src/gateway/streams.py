"""PredictStream: many questions in flight on one stream, answered as they are ready, one failing without the others.

A question has no task: it is told its answer by a call, and what is ready when the stream can be written is written.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from google.protobuf.message import DecodeError

from ..errors import DeadlineExceeded, MalformedRequest, PenstockError
from ..rpc.call import Call
from ..rpc.errors import as_penstock_error, to_status
from .envelopes import Answer, Envelope, no_envelope, sealed, seconds
from .question import Pairs, Question

MAX_IN_FLIGHT = 1024
"""Per stream, unread answers included. Then the stream is not read further, and flow control reaches the caller."""
COALESCE_KEY = "x-penstock-coalesce"
_MESSAGE_BYTES = 256 * 1024
"""Answers that travel together take so much at most, unless one alone does."""

Submit = Callable[[Question, Call, int, Envelope], object]
"""Told the question, the stream, the version that it is pinned to (0: none), and what the question came in."""


class PredictStreams:
    """Serves streams.

    Args:
        submit: sends a question on its way, or raises.
        leave: told the size of each question that was submitted, when it is done with.
        timeout: seconds for questions and streams without a deadline.
    """

    def __init__(self, submit: Submit, leave: Callable[[int], None], timeout: float) -> None:
        self._submit = submit
        self._leave = leave
        self._timeout = timeout

    async def serve(
        self, requests: AsyncIterator[bytes], call: Call, priority: int = 0, pin: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """The answers to a stream's questions. Leaving it cancels what is in flight."""
        stream = _Stream(call, priority, pin, self._submit, self._leave, self._timeout)
        reader = asyncio.create_task(stream.read(requests))
        reader.add_done_callback(stream.ended)
        try:
            while answers := await stream.ready():
                yield sealed(answers)
                stream.written(len(answers))
            await reader
        finally:
            stream.abandon()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


class _Stream:
    """The questions of one stream."""

    def __init__(
        self, call: Call, priority: int, pin: int, submit: Submit, leave: Callable[[int], None], timeout: float
    ) -> None:
        self.coalesces = call.text(COALESCE_KEY) == "on"
        self._call = call
        self._pin = pin
        self._submit = submit
        self._leave = leave
        self._timeout = timeout
        self._told = priority, call.text("traceparent"), call.text("x-penstock-timings") == "on"
        self._loop = asyncio.get_running_loop()
        self._asked: set[_Asked] = set()
        self._answers: deque[Answer] = deque()
        self._held = 0  # in flight, or answered and not written
        self._count = 0
        self._reading = True
        self._broken = False
        self._something = asyncio.Event()  # there are answers, or there will be none
        self._room = asyncio.Event()

    async def read(self, requests: AsyncIterator[bytes]) -> None:
        """Ask what comes, as long as there is room."""
        async for message in requests:
            try:
                envelope = Envelope.FromString(message)
            except DecodeError:
                self._held += 1
                self._put("", no_envelope())
            else:
                self._ask(envelope)
                if envelope.more:
                    self.coalesces = True
                    for further in envelope.more:
                        await self._until_room()
                        self._ask(further)
            await self._until_room()

    async def _until_room(self) -> None:
        while self._held >= MAX_IN_FLIGHT:
            self._room.clear()
            await self._room.wait()

    def _ask(self, envelope: Envelope) -> None:
        """Send one question on its way; whatever happens, it will be answered."""
        self._held += 1
        self._count += 1
        call, now = self._call, self._loop.time()
        deadline = call.deadline if call.deadline < math.inf else now + self._timeout
        request_id = f"{call.request_id}.{self._count}"
        given = envelope.HasField("timeout")
        try:
            if given:
                deadline = min(now + seconds(envelope.timeout), call.deadline)
        except MalformedRequest as error:
            self._put(envelope.request_id, error.with_metadata(requestId=request_id))
            return
        asked = _Asked(envelope.request, now, deadline, self._told[0], request_id, *self._told[1:])
        asked.name, asked.stream, asked.timer = envelope.request_id, self, None
        self._asked.add(asked)
        try:
            self._submit(asked, call, self._pin, envelope)
        except Exception as error:
            self._asked.discard(asked)
            self._put(asked.name, as_penstock_error(error, request_id, call.method))
            return
        if given and asked in self._asked:
            asked.timer = self._loop.call_at(deadline, self._expire, asked)

    def _expire(self, asked: _Asked) -> None:
        asked.timer = None
        asked.abandon()
        asked.failed(DeadlineExceeded("the request's own timeout passed"))

    def settled(self, asked: _Asked, answer: bytes | PenstockError) -> None:
        """A question has its answer."""
        self._asked.discard(asked)
        self._leave(len(asked.request))
        if asked.timer is not None:
            asked.timer.cancel()
        if isinstance(answer, PenstockError):
            answer = answer.with_metadata(requestId=asked.request_id)
        self._put(asked.name, answer)

    def _put(self, name: str, answer: bytes | PenstockError) -> None:
        self._answers.append((name, to_status(answer) if isinstance(answer, PenstockError) else answer))
        self._something.set()

    def ended(self, reader: asyncio.Task[None]) -> None:
        """There will be no more questions."""
        self._reading = False
        self._broken = reader.cancelled() or reader.exception() is not None
        self._something.set()

    async def ready(self) -> list[Answer]:
        """What can be written now in one message; nothing at the end."""
        answers = self._answers
        while not answers and (self._reading or self._asked) and not self._broken:
            self._something.clear()
            await self._something.wait()
        taken: list[Answer] = []
        size = 0
        while answers and (not taken or (self.coalesces and size < _MESSAGE_BYTES)):
            taken.append(answers.popleft())
            size += len(taken[-1][1]) if isinstance(taken[-1][1], bytes) else 0
        return taken

    def written(self, count: int) -> None:
        """So many answers have been taken."""
        self._held -= count
        self._room.set()

    def abandon(self) -> None:
        """Nobody wants the answers any more."""
        for asked in self._asked:
            if asked.timer is not None:
                asked.timer.cancel()
            asked.abandon()
            self._leave(len(asked.request))
        self._asked.clear()


class _Asked(Question):
    """A question of a stream."""

    __slots__ = ("name", "stream", "timer")
    name: str
    """What the caller calls it."""
    stream: _Stream
    timer: asyncio.TimerHandle | None

    def answered(self, response: bytes, trailers: Pairs) -> None:
        """See Question."""
        self.stream.settled(self, response)

    def failed(self, error: PenstockError) -> None:
        """See Question."""
        self.stream.settled(self, error)
