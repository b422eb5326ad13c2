"""What waits, and which of it runs next. Decisions only: no clock, no event loop.

Requests whose tensors can be joined have the same key (the shapes without the batch dimension). The key whose first
request is the soonest is served. No operation costs more because more requests or more keys wait, beyond a logarithm.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Generic, TypeVar, cast

from ...deadline_queue import DeadlineQueue
from .closing import Start
from .waiting import WINDOW, Joiner, Waiting

_LOOK = 16
"""Requests that are looked at for one that still fits when the next in turn does not."""

W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class Taken(Generic[W]):
    """What leaves the queue at once."""

    batch: list[W] = field(default_factory=list)
    """To run now; empty when nothing waits that could be answered in time."""
    late: list[W] = field(default_factory=list)
    """Not to run: the answer would be too late."""


class BatchQueue(Generic[W]):
    """Hands out batches.

    Args:
        most: rows of a full batch. A request of more rows runs alone.
        join: which of the waiting requests make a batch; None: the soonest.
    """

    def __init__(self, most: int, join: Joiner[W] | None = None) -> None:
        self._most, self._join = most, join
        self._queues: dict[Hashable, DeadlineQueue[W]] = {}
        # The first of every key, and some that are so no longer: those are skipped when they come up.
        self._firsts: list[tuple[float, int, Hashable]] = []
        self._tickets = count()
        self.rows = 0
        """Rows that wait."""
        self.size = 0
        """Bytes that wait."""

    def add(self, request: W) -> None:
        """Let a request wait."""
        key = _key(request)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = DeadlineQueue()
        queue.add(request)
        self.rows += request.rows
        self.size += request.size
        if queue.first() is request:
            self._promote(queue, key)

    def remove(self, request: W) -> bool:
        """Forget a request that is no longer wanted; False if it has left already."""
        key = _key(request)
        queue = self._queues.get(key)
        if queue is None:
            return False
        was_first = queue.first() is request
        if not queue.remove(request):
            return False
        self._gone(request)
        if was_first:
            self._promote(queue, key)
        return True

    def full(self) -> bool:
        """Whether the next batch would be a full one."""
        queue = self._soonest()
        return queue is not None and queue.rows >= self._most

    def rows_ahead(self, request: W) -> int:
        """About how many rows leave before a new request: exact if there is one key, else as if all were alike."""
        queue = self._queues.get(_key(request))
        if queue is None:
            return 0
        return queue.rows_ahead(request.order) * self.rows // queue.rows

    def take(self, start: Start) -> Taken[W]:
        """The next batch: the soonest requests, up to a full batch of one key, without those that would be late.

        Args:
            start: when the batch would begin to run.
        """
        taken: Taken[W] = Taken()
        while not taken.batch and (queue := self._soonest()) is not None:
            key = heapq.heappop(self._firsts)[2]
            if self._join is None:
                self._fill(taken, queue, start)
            else:
                self._choose(taken, queue, start, self._join)
            self._promote(queue, key)
        return taken

    def take_all(self) -> list[W]:
        """Everything that waits, the soonest first; nothing waits afterwards."""
        every = sorted((request for queue in self._queues.values() for request in queue), key=lambda one: one.order)
        self._queues.clear()
        self._firsts.clear()
        self.rows = self.size = 0
        return every

    def _soonest(self) -> DeadlineQueue[W] | None:
        """The key whose turn it is stands first in `_firsts` afterwards."""
        while self._firsts:
            order, _, key = self._firsts[0]
            queue = self._queues.get(key)
            first = queue.first() if queue is not None else None
            if first is not None and first.order == order:
                return queue
            heapq.heappop(self._firsts)
        return None

    def _fill(self, taken: Taken[W], queue: DeadlineQueue[W], start: Start) -> None:
        """One after the other. Those that follow one for which there is no room may have its place, not its turn."""
        room, end = self._most, self._end(start, queue.rows)
        while room > 0 and (first := queue.first()) is not None:
            if _late(first, start, end):
                self._gone(queue.pop())
                taken.late.append(first)
                end = self._end(start, self._most - room + queue.rows)
            elif first.rows <= room or not taken.batch:
                self._gone(queue.pop())
                taken.batch.append(first)
                room -= first.rows
            else:
                self._squeeze(taken, queue, room, start, end)
                return

    def _squeeze(self, taken: Taken[W], queue: DeadlineQueue[W], room: int, start: Start, end: float) -> None:
        fitting: list[W] = []
        for request in islice(queue, 1, _LOOK):
            if request.rows <= room and not _late(request, start, end):
                fitting.append(request)
                room -= request.rows
        self._leave(fitting, queue)
        taken.batch += fitting

    def _choose(self, taken: Taken[W], queue: DeadlineQueue[W], start: Start, join: Joiner[W]) -> None:
        """From a window, by the joiner."""
        waiting: list[W] = []
        late: list[W] = []
        rows, end = 0, self._end(start, queue.rows)
        for request in queue:
            if _late(request, start, end):
                late.append(request)
                continue
            rows += request.rows
            if waiting and rows > WINDOW * self._most:
                break
            waiting.append(request)
        self._leave(late, queue)
        taken.late += late
        if waiting:
            taken.batch += join(waiting, self._most, end + start.times.predict(self._most)) or waiting[:1]
            self._leave(taken.batch, queue)

    def _end(self, start: Start, waiting: int) -> float:
        """When the next batch would be answered."""
        return start.end(min(waiting, self._most))

    def _leave(self, requests: Sequence[W], queue: DeadlineQueue[W]) -> None:
        for request in requests:
            queue.remove(request)
            self._gone(request)

    def _gone(self, request: W) -> None:
        self.rows -= request.rows
        self.size -= request.size

    def _promote(self, queue: DeadlineQueue[W], key: Hashable) -> None:
        """Its first request is another one."""
        first = queue.first()
        if first is None:
            del self._queues[key]
            if not self._queues:
                self._firsts.clear()
        else:
            heapq.heappush(self._firsts, (first.order, next(self._tickets), key))


def _key(request: Waiting) -> Hashable:
    return cast(Hashable, request) if request.suspect else request.key


def _late(request: Waiting, start: Start, end: float) -> bool:
    return request.deadline < (start.at if request.streams else end)
