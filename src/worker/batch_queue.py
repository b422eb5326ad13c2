"""What waits, and which of it runs next. Decisions only: no clock, no event loop.

Requests whose tensors can be joined have the same key (the shapes without the batch dimension). They are served in the
order of their arrival; a batch is taken from the key whose first request has waited longest. Every operation costs the
same however many requests and keys wait; only `full_batch_waits` looks at every key.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
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


@dataclass(slots=True)
class _Lane(Generic[W]):
    """The requests of one key, by ticket. Ordered for the sake of its front: a dict's grows slow as it is emptied."""

    requests: OrderedDict[int, W] = field(default_factory=OrderedDict)
    rows: int = 0

    def first(self) -> int:
        return next(iter(self.requests))


class BatchQueue(Generic[W]):
    """A bounded queue that hands out batches."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._lanes: dict[Hashable, _Lane[W]] = {}
        # The first ticket of every lane, and tickets that are so no longer: those are skipped when they come up.
        self._firsts: list[tuple[int, Hashable]] = []
        self._tickets = count()
        self.rows = 0
        """Rows that wait."""

    def add(self, request: W) -> int | None:
        """Queue a request; returns the ticket with which to remove it, or None if there is no room."""
        # An empty queue takes any request: one of many rows must not be refused for ever.
        if self.rows and self.rows + request.rows > self._policy.max_queue_size:
            return None
        ticket, lane = next(self._tickets), self._lanes.get(request.key)
        if lane is None:
            lane = self._lanes[request.key] = _Lane()
            heapq.heappush(self._firsts, (ticket, request.key))
        lane.requests[ticket] = request
        lane.rows += request.rows
        self.rows += request.rows
        return ticket

    def remove(self, key: Hashable, ticket: int) -> None:
        """Forget a request that is no longer wanted; nothing happens if it has left already."""
        lane = self._lanes.get(key)
        if lane is not None and ticket in lane.requests:
            was_first = lane.first() == ticket
            self._leave(lane, ticket)
            if was_first:
                self._new_first(key, lane)

    def full_batch_waits(self) -> bool:
        """Whether a batch that waiting longer could not make larger is there."""
        return any(lane.rows >= self._policy.max_batch_size for lane in self._lanes.values())

    def take(self, now: float) -> Taken[W]:
        """The next batch: first come, first served, up to max_batch_size rows of one key, without what is late."""
        taken: Taken[W] = Taken()
        while self._firsts and not taken.batch:
            ticket, key = heapq.heappop(self._firsts)
            lane = self._lanes.get(key)
            if lane is not None and lane.first() == ticket:
                self._fill(taken, lane, now)
                self._new_first(key, lane)
        return taken

    def take_all(self) -> list[W]:
        """Everything that waits, in the order of its arrival; nothing waits afterwards."""
        every = sorted(
            (item for lane in self._lanes.values() for item in lane.requests.items()), key=lambda item: item[0]
        )
        self._lanes.clear()
        self._firsts.clear()
        self.rows = 0
        return [request for _, request in every]

    def _fill(self, taken: Taken[W], lane: _Lane[W], now: float) -> None:
        room = self._policy.max_batch_size
        while lane.requests:
            ticket = lane.first()
            request = lane.requests[ticket]
            if request.deadline <= now:
                taken.late.append(request)
            elif not taken.batch or request.rows <= room:
                taken.batch.append(request)
                room -= request.rows
            else:
                return
            self._leave(lane, ticket)

    def _leave(self, lane: _Lane[W], ticket: int) -> None:
        rows = lane.requests.pop(ticket).rows
        lane.rows -= rows
        self.rows -= rows

    def _new_first(self, key: Hashable, lane: _Lane[W]) -> None:
        if lane.requests:
            heapq.heappush(self._firsts, (lane.first(), key))
        else:
            del self._lanes[key]
