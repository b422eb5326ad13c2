"""Late binding at work: what waits goes to the worker that is about to be free, as its credit allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

from ..deadline_queue import DeadlineQueue
from .late_binding import Forecast, idle_wait, is_late, predicted, starts_at
from .openings import Openings
from .question import Question

_NEWS = 0.02
"""Seconds between two messages that say only how much waits."""


class Worker(Protocol):
    """What a lane must know of a subchannel."""

    @property
    def name(self) -> str:
        """No other worker's, ever."""

    @property
    def forecast(self) -> Forecast:
        """What it may be sent, and when it will be free."""

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""

    def predicted(self, now: float) -> float:
        """When one more row would be done."""

    def send(self, question: Question, now: float) -> None:
        """Bind a question to it. What becomes of it is told to the question, or to the lane if it failed."""

    def demand(self, rows: int) -> None:
        """Tell it how many rows wait for it and its like."""


class Binding:
    """Decides and sends.

    Args:
        queue: what waits; the lane's.
        send: binds a question to a worker.
        expire: told of what was dropped because it would have been late.
    """

    def __init__(
        self,
        queue: DeadlineQueue[Question],
        send: Callable[[Worker, Question, float], None],
        expire: Callable[[Question], None],
    ) -> None:
        self.openings: Openings[Worker] = Openings()
        self._queue = queue
        self._send = send
        self._expire = expire
        self._due = inf
        self._told, self._told_at = 0, -inf

    def set_workers(self, workers: Sequence[Worker], now: float) -> None:
        """These can be sent to from now on."""
        self.openings = Openings(workers, now)

    @property
    def is_idle(self) -> bool:
        """A worker has nothing to do."""
        alone = self.openings.alone
        return self.openings.idle > 0 if alone is None else not alone.in_flight

    def predicted(self, question: Question, ahead: int, now: float) -> tuple[float, float]:
        """When a new question would be done, and what a full batch takes."""
        openings = self.openings
        of = (openings.alone or next(iter(openings))).forecast
        if openings.alone is not None:
            ahead += of.forming
        return predicted(now, openings.next_free(now), ahead, question.rows, of, len(openings)), of.full

    def sent_at_once(self, question: Question, now: float) -> bool:
        """Send a new question if nothing waits before it and a worker should have it now."""
        openings = self.openings
        worker = None if self._queue else openings.best(now)
        if worker is None or not (openings.alone is not None or self._may_begin(worker, question, now)):
            return False
        self._send(worker, question, now)
        openings.changed(worker, now)
        return True

    def pump(self, now: float) -> None:
        """Send what should be sent now."""
        queue, openings = self._queue, self.openings
        self._due = inf
        while (question := queue.first()) is not None:
            worker = openings.best(now, question.tried)
            if worker is None:
                break
            if openings.alone is None and not self._may_begin(worker, question, now):
                return
            self._fill(worker, now)
        if queue or self._told:
            self._say_demand(now)

    def _may_begin(self, worker: Worker, oldest: Question, now: float) -> bool:
        """Whether to send now, or to let a batch gather."""
        forecast = worker.forecast
        busy = forecast.free_at > now
        if (busy and (forecast.forming or forecast.is_short)) or self._queue.rows >= forecast.batch:
            return True
        wait = idle_wait(forecast.full + forecast.lag, len(self.openings), self.openings.idle)
        if wait <= 0.0:
            return True
        seconds = forecast.lag + forecast.service(max(min(self._queue.rows, forecast.batch), 1))
        self._due = starts_at(now, oldest.arrived, oldest.deadline, wait, seconds)
        return self._due <= now

    def _fill(self, worker: Worker, now: float) -> None:
        """Send what has room in a worker's next batch; drop what would be late there."""
        queue, forecast = self._queue, worker.forecast
        room, begins, sent = self.openings.room(worker), forecast.begins(now), False
        while room > 0 and (question := queue.first()) is not None:
            rows = min(forecast.batch, forecast.forming + queue.rows)
            # An idle worker is given the last all the same: else a wrong notion of its speed would never be corrected.
            others = sent or worker.in_flight or len(queue) > 1
            if others and is_late(begins + forecast.service(rows), question.deadline):
                self._expire(queue.pop())
                continue
            if sent and (question.rows > room or forecast.is_tight):
                break
            room -= question.rows
            self._send(worker, queue.pop(), now)
            sent = True
        if sent:
            worker.demand(queue.rows)
        self.openings.changed(worker, now)

    def _say_demand(self, now: float) -> None:
        """Tell all workers how much waits if that has become very different: they share out credit by it."""
        rows, told = self._queue.rows, self._told
        if (rows > 2 * told or 2 * rows < told) and now - self._told_at >= _NEWS:
            self._told, self._told_at = rows, now
            for worker in self.openings:
                worker.demand(rows)

    def next_at(self, now: float) -> float:
        """When to pump again although nothing happens; infinite: not before something does."""
        if self._queue:
            return min(self._due, self.openings.opens_next())
        return now + _NEWS if self._told else inf
