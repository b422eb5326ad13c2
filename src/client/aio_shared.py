"""The stream that all questions of an awaiting client share: each waits for its own answer, and fails alone."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from penstock.v1 import predict_pb2 as pb

from ..errors import Cancelled, DeadlineExceeded, PenstockError
from ..rpc.call import new_request_id
from ..rpc.errors import from_message
from .aio_stream import AioStream
from .connection import FAREWELL_S
from .unsent import Unsent

MAX_IN_FLIGHT = 1024
"""As many as a gateway takes from one stream; further questions wait here for their turn, those cancelled do not."""
_CLOSED = "the client was closed"


class _Asked:
    __slots__ = ("answer", "body", "deadline", "request_id", "split_key", "timeout")

    def __init__(
        self, request_id: str, body: bytes, now: float, timeout: float, split_key: str, answer: asyncio.Future[Any]
    ) -> None:
        self.request_id = request_id
        self.body = body
        self.split_key = split_key
        self.timeout = timeout
        self.deadline = now + timeout
        self.answer = answer
        """A PredictResponse, or the error itself: nobody may be there any more to take an exception."""

    def settle(self, outcome: pb.PredictResponse | PenstockError) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


class SharedLane:
    """Opens a stream for the first question, and a new one for the first after a break.

    What was sent on a stream that breaks fails with it; what was not yet sent goes on the next.

    Args:
        open_call: makes the RPC, under the request id that it is given.
    """

    def __init__(self, open_call: Callable[[str], Any]) -> None:
        self._open = open_call
        self._name = ""
        self._count = 0
        self._unsent = Unsent()
        self._stream: AioStream | None = None
        self._in_flight: dict[str, _Asked] = {}
        self._line: OrderedDict[str, _Asked] = OrderedDict()  # those for whom there is no room yet
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    async def ask(self, body: bytes, timeout: float | None, split_key: str = "") -> tuple[pb.PredictResponse, str]:
        """Ask, and wait for the answer. Cancelling it forgets the question: unsent if possible, else unanswered.

        Args:
            body: a PredictRequest.
            timeout: seconds, those of waiting for room included; None: as long as it takes.
            split_key: see PredictStreamRequest.

        Returns:
            The answer, and under which request id the servers know the question.

        Raises:
            PenstockError: what the server said; the stream broke; there was no answer in time.
        """
        if self._closed:
            raise Cancelled(_CLOSED)
        loop = asyncio.get_running_loop()
        self._count += 1
        limit = math.inf if timeout is None else timeout
        asked = _Asked(f"{self._count:x}", body, loop.time(), limit, split_key, loop.create_future())
        if asked.deadline < self._alarm_at:
            self._set_alarm(asked.deadline)
        try:
            self._line[asked.request_id] = asked
            self._admit()
            outcome = await asked.answer
        finally:
            self._forget(asked.request_id)
        if isinstance(outcome, PenstockError):
            raise outcome
        return outcome, f"{self._name}-{asked.request_id}"

    async def aclose(self) -> None:
        """End the stream: in peace if all is answered, else at once. Who waits gets Cancelled."""
        self._closed = True
        self._stop_alarm()
        if self._stream is not None:
            await self._stream.aclose(0.0 if self._in_flight else FAREWELL_S)
        for asked in (*self._in_flight.values(), *self._line.values()):
            asked.settle(Cancelled(_CLOSED))

    def _admit(self) -> None:
        """Those whose turn it is are to be sent."""
        while self._line and len(self._in_flight) < MAX_IN_FLIGHT:
            request_id, asked = self._line.popitem(last=False)
            self._in_flight[request_id] = asked
            self._unsent.add(request_id, asked.deadline, asked.body, asked.split_key)
        if self._unsent:
            if self._stream is None:
                self._name = new_request_id()
                self._stream = AioStream(self._open(self._name), self._unsent, self._settle, self._ended)
            self._stream.wake()

    def _set_alarm(self, deadline: float) -> None:
        # One timer for all: one for each would cost more than all else here.
        self._stop_alarm()
        self._alarm_at = deadline
        if not math.isinf(deadline):
            self._alarm = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _expire(self) -> None:
        """The soonest deadline that there was is now; whoever it was may have been answered since."""
        now, soonest = self._alarm_at, math.inf
        for asked in (*self._in_flight.values(), *self._line.values()):
            if asked.deadline > now:
                soonest = min(soonest, asked.deadline)
            else:
                text = f"no answer within {asked.timeout:g} s"
                asked.settle(DeadlineExceeded(text, metadata={"requestId": f"{self._name}-{asked.request_id}"}))
        self._set_alarm(soonest)

    def _forget(self, request_id: str) -> None:
        """Nobody waits for that one any more."""
        if self._line.pop(request_id, None) is None and self._in_flight.pop(request_id, None) is not None:
            self._unsent.drop(request_id)
            self._next()

    def _settle(self, message: pb.PredictStreamResponse) -> None:
        self._answered(message)
        for answer in message.more:
            self._answered(answer)
        self._next()

    def _answered(self, answer: pb.PredictStreamResponse) -> None:
        asked = self._in_flight.pop(answer.request_id, None)
        if asked is None:
            return
        if answer.HasField("error"):
            asked.settle(from_message(answer.error).with_metadata(requestId=f"{self._name}-{asked.request_id}"))
        else:
            asked.settle(answer.response)

    def _ended(self, error: Callable[[], PenstockError]) -> None:
        self._stream = None
        for request_id in [sent for sent in self._in_flight if sent not in self._unsent]:
            self._in_flight.pop(request_id).settle(error())
        if not self._closed:
            self._admit()

    def _next(self) -> None:
        if self._line and not self._closed:
            self._admit()
