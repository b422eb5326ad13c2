"""Which questions of a stream are in flight, and whose turn it is. Decisions only: time comes in as `now`."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from penstock.v1 import predict_pb2 as pb

from ..errors import DeadlineExceeded, PenstockError
from ..rpc.errors import from_message
from .request import Question


@dataclass(slots=True, eq=False)
class Asked:
    """One question of the stream, from the moment that it was read until its answer is taken."""

    request_id: str
    """On the stream."""
    call_id: str
    """For logs and errors: it begins with that of the stream."""
    question: Question | None
    """None: it could not be made from what the caller passed, and was never sent."""
    deadline: float
    outcome: pb.PredictResponse | PenstockError | None = None
    """None: there is no answer yet."""


class Window:
    """The questions in flight, in the order in which they were asked, which is that of the answers for the caller.

    Args:
        size: how many questions may wait for an answer, or with one for their turn.
        timeout: seconds for each, from when it is added; may be infinite.
        stream_id: the request id of the stream.

    Raises:
        ValueError: the size is not positive.
    """

    def __init__(self, size: int, timeout: float, stream_id: str) -> None:
        if size < 1:
            raise ValueError(f"in_flight must be at least 1, got {size}")
        self._size = size
        self._timeout = timeout
        self.stream_id = stream_id
        self._count = 0
        self._line: deque[Asked] = deque()
        self._waiting: dict[str, Asked] = {}

    def __len__(self) -> int:
        return len(self._line)

    @property
    def room(self) -> bool:
        """Whether another question may be read."""
        return len(self._line) < self._size

    def add(self, question: Question, now: float) -> Asked:
        """Put a question at the end of the line; it is to be sent."""
        asked = self._append(question, now)
        self._waiting[asked.request_id] = asked
        return asked

    def refuse(self, error: PenstockError, now: float) -> None:
        """Put a question that cannot be sent at the end of the line."""
        self._append(None, now).outcome = error

    def _append(self, question: Question | None, now: float) -> Asked:
        self._count += 1
        name = f"{self._count:x}"
        asked = Asked(name, f"{self.stream_id}-{name}", question, now + self._timeout)
        self._line.append(asked)
        return asked

    def settle(self, message: pb.PredictStreamResponse) -> None:
        """Note the answers of a message. One that nobody waits for any more is dropped."""
        self._note(message)
        for answer in message.more:
            self._note(answer)

    def _note(self, answer: pb.PredictStreamResponse) -> None:
        asked = self._waiting.pop(answer.request_id, None)
        if asked is not None:
            failed = answer.HasField("error")
            asked.outcome = (
                from_message(answer.error).with_metadata(requestId=asked.call_id) if failed else answer.response
            )

    def fail(self, error: PenstockError) -> None:
        """The stream broke: this is the outcome of all that have no answer."""
        for asked in self._waiting.values():
            asked.outcome = error
        self._waiting.clear()

    def pop(self, now: float) -> Asked | None:
        """Take the first in line if its outcome is known, or its time over; None if there is none or it must wait."""
        if not self._line:
            return None
        first = self._line[0]
        if first.outcome is None:
            if now < first.deadline:
                return None
            del self._waiting[first.request_id]
            text = f"no answer within {self._timeout:g} s"
            first.outcome = DeadlineExceeded(text, metadata={"requestId": first.call_id})
        return self._line.popleft()

    def patience(self, now: float) -> float | None:
        """Seconds until the time of the first in line is over; None: never."""
        if not self._line or math.isinf(self._line[0].deadline):
            return None
        return max(self._line[0].deadline - now, 0.0)
