"""One request on its way through the gateway."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from ..errors import PenstockError
from ..lanes import order_of
from .retry import Attempts

Pairs = tuple[tuple[str, str | bytes], ...]


class Holder(Protocol):
    """Who has a question at the moment: the lane in which it waits, or the subchannel that has sent it."""

    def abandon(self, question: Question) -> None:
        """Forget it: nobody wants the answer any more."""


class Question(ABC):
    """Asked once, and answered or failed once, unless it is abandoned. Belongs to the event loop.

    What it waits for is told by a call, not by a future: a stream has thousands of them.
    """

    __slots__ = (
        "arrived",
        "attempts",
        "deadline",
        "extras",
        "holder",
        "id",
        "order",
        "priority",
        "request",
        "request_id",
        "rows",
        "suspect",
        "timings",
        "traceparent",
        "tried",
    )

    def __init__(
        self,
        request: bytes,
        arrived: float,
        deadline: float,
        priority: int = 0,
        request_id: str = "",
        traceparent: str = "",
        timings: bool = False,
    ) -> None:
        self.request = request
        self.rows = 1
        """Along the batch dimension, as far as the gateway can tell."""
        self.arrived = arrived
        self.deadline = deadline
        """Finite: callers who set none get the default."""
        self.order = order_of(arrived, deadline, priority)
        self.priority = priority
        self.request_id = request_id
        self.traceparent = traceparent
        self.timings = timings
        """The caller wants to know how long what took."""
        self.extras = bool(priority or traceparent or timings)
        """There is more to tell the worker than most questions need."""
        self.suspect = False
        """It was in flight when a worker died."""
        self.id = 0
        """In the session with the worker that has it."""
        self.attempts: Attempts = _NONE
        self.tried: tuple[Any, ...] = ()
        """The subchannels that have had it."""
        self.holder: Holder | None = None

    @abstractmethod
    def answered(self, response: bytes, trailers: Pairs) -> None:
        """There is an answer."""

    @abstractmethod
    def failed(self, error: PenstockError) -> None:
        """There will be none."""

    def abandon(self) -> None:
        """The caller has gone. Nothing is told any more."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.abandon(self)


_NONE = Attempts()
