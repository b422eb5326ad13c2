"""What waits, and which of it runs next. Decisions only: no clock, no event loop.

Requests whose tensors can be joined have the same key (the shapes without the batch dimension). They are served in the
order of their arrival; a batch is taken from the key whose first request has waited longest. Every operation costs the
same however many requests wait.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How requests are joined."""

    max_batch_size: int = 64
    """The most rows that run together. Larger: more throughput, and a longer wait for what arrives meanwhile."""
    max_queue_delay: float = 0.0
    """Seconds that an idle device waits for more rows. 0 is nearly always best: batches grow while it is busy."""
    max_queue_size: int = 1024
    """The most rows that wait. What is waiting when the queue is full takes max_queue_size / max_batch_size batches."""


class Waiting(Protocol):
    """What the queue must know of a request."""

    @property
    def rows(self) -> int:
        """Rows that it adds to a batch, at least 1."""

    @property
    def key(self) -> Hashable:
        """Only requests of equal keys run together."""

    @property
    def deadline(self) -> float:
        """After this it need not run."""


W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class Taken(Generic[W]):
    """What leaves the queue at once."""

    batch: list[W] = field(default_factory=list)
    """To run now; empty when nothing waits."""
    late: list[W] = field(default_factory=list)
    """Not to run: the deadline has passed."""


class BatchQueue(Generic[W]):
    """A bounded queue that hands out batches."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._lanes: dict[Hashable, dict[int, W]] = {}
        self._tickets = count()
        self.rows = 0
        """Rows that wait."""

    def add(self, request: W) -> int | None:
        """Queue a request; returns the ticket with which to remove it, or None if there is no room."""
        # An empty queue takes any request: one of many rows must not be refused for ever.
        if self.rows and self.rows + request.rows > self._policy.max_queue_size:
            return None
        ticket = next(self._tickets)
        self._lanes.setdefault(request.key, {})[ticket] = request
        self.rows += request.rows
        return ticket

    def remove(self, key: Hashable, ticket: int) -> None:
        """Forget a request that is no longer wanted; nothing happens if it has left already."""
        lane = self._lanes.get(key)
        request = lane.pop(ticket, None) if lane else None
        if request is not None:
            self.rows -= request.rows
            if not lane:
                del self._lanes[key]

    def full_batch_waits(self) -> bool:
        """Whether waiting longer could not make the next batch larger."""
        return any(sum(r.rows for r in lane.values()) >= self._policy.max_batch_size for lane in self._lanes.values())

    def take(self, now: float) -> Taken[W]:
        """The next batch: first come, first served, up to max_batch_size rows of one key, without what is late."""
        taken: Taken[W] = Taken()
        while self._lanes and not taken.batch:
            key = min(self._lanes, key=lambda k: next(iter(self._lanes[k])))
            self._fill(taken, key, now)
        return taken

    def _fill(self, taken: Taken[W], key: Hashable, now: float) -> None:
        lane, room = self._lanes[key], self._policy.max_batch_size
        while lane:
            ticket, request = next(iter(lane.items()))
            if request.deadline <= now:
                taken.late.append(request)
            elif not taken.batch or request.rows <= room:
                taken.batch.append(request)
                room -= request.rows
            else:
                break
            del lane[ticket]
            self.rows -= request.rows
        if not lane:
            del self._lanes[key]
