"""The requests of one model version that wait: until they are bound to a worker, or until their time is over.

Whatever may change what can be sent (an arrival, a credit, a report of load, a worker that comes or goes, the time)
leads to `_pump`. No request has a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf

from ..deadline_queue import DeadlineQueue
from ..errors import PenstockError
from .binding import Binding, Worker
from .hopes import Hopes, patience
from .picker import Picker
from .quarantine import Quarantine
from .question import Question
from .refusals import Key, Outlook, Refusals
from .retry import RetryBudget
from .suspects import Suspects

_SWEEP = 1.0
"""Seconds after which what has expired is looked for although no worker can be sent to."""


class Waiting:
    """What waits. A lane, apart from what its workers tell it.

    Args:
        key: model and version.
        late: bind late, against credit. Else the picker's choice is sent at once.
        budget: for retries; the model's.
        quarantine: of the gateway.
        outlook: of versions without a worker.
        max_queued: requests that may wait.
    """

    def __init__(
        self,
        key: Key,
        late: bool,
        budget: RetryBudget,
        quarantine: Quarantine,
        outlook: Outlook,
        max_queued: int = 4096,
    ) -> None:
        self.key = key
        self.budget = budget
        self.picker: Picker[Worker] | None = None
        """Over the workers that are ready; None if none is."""
        self.used_at = -inf
        """When it was asked for last, in the loop's time."""
        self._ready = 0
        self._late = late
        self._quarantine = quarantine
        self._outlook = outlook
        self._refusals = Refusals(key)
        self._max_queued = max_queued
        self._loop = asyncio.get_running_loop()
        self._queue: DeadlineQueue[Question] = DeadlineQueue()
        self._binding = Binding(self._queue, self._send, self._expire)
        self._suspects: Suspects[Worker] = Suspects()
        self._hopes = Hopes()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue) + len(self._suspects)

    @property
    def is_stranded(self) -> bool:
        """Requests wait, and there is no worker."""
        return self.waiting > 0 and not self._binding.openings

    @property
    def needs_worker(self) -> bool:
        """Requests wait, and there is no worker, or only such as will end."""
        return self.waiting > 0 and not self._ready

    @property
    def is_busy(self) -> bool:
        """A worker has a request."""
        return any(worker.in_flight for worker in self._binding.openings)

    def _enqueue(self, question: Question, now: float) -> None:
        """Let one wait, if it must."""
        question.holder = self
        if question.suspect:
            self._suspects.add(question)
        else:
            self._queue.add(question)
        if self._binding.openings:
            self._pump(now)
        else:
            self._hope(question, now)
            self._schedule(now)

    def abandon(self, question: Question) -> None:
        """Its caller has gone."""
        if not self._queue.remove(question):
            self._suspects.remove(question)
        self._hopes.trim(self.waiting, self._waits)

    # Sending

    def _pump(self, now: float) -> None:
        """Send what may be sent."""
        if self._suspects:
            self._send_suspects(now)
        if self._late:
            self._binding.pump(now)
        else:
            while (question := self._queue.first()) is not None:
                worker = self._picked(question.tried, now)
                if worker is None:
                    break
                self._send(worker, self._queue.pop(), now)
        self._schedule(now)

    def _picked(self, tried: Sequence[Worker], now: float) -> Worker | None:
        return self.picker.pick(tried, now) if self.picker is not None else None

    def _send(self, worker: Worker, question: Question, now: float) -> None:
        question.tried = (*question.tried, worker) if question.tried else (worker,)
        worker.send(question, now)

    def _send_suspects(self, now: float) -> None:
        """Each alone, and not two at a time to one worker."""
        openings = self._binding.openings
        for question in self._suspects:
            busy = self._suspects.busy
            avoided = (*question.tried, *busy)
            worker = openings.best(now, avoided) if self._late else self._picked(avoided, now)
            if worker is None or worker in busy:
                return
            if worker in question.tried and any(other not in question.tried for other in openings):
                continue  # perhaps it is about to go: the other one will be free in a moment
            if not self._quarantine.deaths(self.key, question.request, now):
                self._suspects.remove(question)
                question.suspect = False  # its twin has been answered
                self._queue.add(question)
                continue
            self._suspects.test(worker, question)
            self._send(worker, question, now)
            openings.changed(worker, now)

    # Time

    def _schedule(self, now: float) -> None:
        """Wake up when something may have to be done although nothing happens."""
        at = min(self._binding.next_at(now), self._hopes.next_end())
        if self._queue or self._suspects:
            at = min(at, now + _SWEEP)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at  # uvloop's own handle cannot say it, and may be early by half a millisecond
        self._timer = self._loop.call_at(at, self._wake) if at < now + 2 * _SWEEP else None

    def _wake(self) -> None:
        self._timer = None
        now = max(self._loop.time(), self._timer_at)  # timers may be early by their resolution
        for question in self._hopes.given_up(now):
            if question.holder is self:
                self.abandon(question)
                self._fail(question, self._outlook.why(self.key))
        while (first := self._queue.first()) is not None and first.deadline <= now:
            self._expire(self._queue.pop())
        for question in self._suspects:
            if question.deadline <= now:
                self._suspects.remove(question)
                self._expire(question)
        self._pump(now)

    def _hope(self, question: Question, now: float) -> None:
        """Let it wait a moment for a worker, if one is to be expected."""
        seconds = 0.0
        if self._outlook.is_expected(self.key):
            on_demand = self._outlook.is_on_demand(self.key)
            seconds = patience(question.deadline - now, on_demand=on_demand)
            if on_demand:
                self._outlook.ask_for(self.key)
        self._hopes.add(question, now + seconds)
        self._hopes.trim(self.waiting, self._waits)

    def _waits(self, question: Question) -> bool:
        return question.holder is self

    def _expire(self, question: Question) -> None:
        self._fail(question, self._refusals.expired())

    def _fail(self, question: Question, error: PenstockError) -> None:
        question.holder = None
        question.failed(error.with_metadata(**self._refusals.facts))

    def close(self) -> None:
        """No timer is left behind; what waits is told."""
        for question in (*self._queue, *self._suspects):
            self.abandon(question)
            self._fail(question, self._outlook.why(self.key))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
