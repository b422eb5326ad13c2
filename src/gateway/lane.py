"""Where the requests of one model version wait until they are bound to a worker, and come back to when that fails.

Whatever may change what can be sent (an arrival, a credit, a report of load, a worker that comes or goes, the time)
leads to `_pump`. No request has a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from ..deadline_queue import DeadlineQueue
from ..errors import PenstockError
from .binding import Binding, Worker
from .hopes import Hopes, patience
from .late_binding import is_hopeless
from .picker import Picker
from .quarantine import Quarantine, is_poison
from .question import Question
from .refusals import Key, Outlook, Refusals
from .retry import RetryBudget, costs_budget, may_retry
from .suspects import Suspects

_SWEEP = 1.0
"""Seconds after which what has expired is looked for although no worker can be sent to."""


class Lane:
    """One version's requests. Belongs to the event loop; the balancer makes it and gives it its workers.

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

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue) + len(self._suspects)

    # Workers

    def set_workers(self, workers: Sequence[Worker], picker: Picker[Worker] | None, ready: int) -> None:
        """These can be sent to from now on; `ready` of them are not draining."""
        now = self._loop.time()
        self.picker, self._ready = picker, ready
        self._binding.set_workers(workers, now)
        if workers:
            self._hopes.clear()
            self._pump(now)
        else:
            for question in (*self._queue, *self._suspects):
                self._hope(question, now)
            self._schedule(now)

    def changed(self, worker: Worker) -> None:
        """It has granted credit, or said how busy it is."""
        now = self._loop.time()
        self._binding.openings.changed(worker, now)
        if self._queue or self._suspects:
            self._pump(now)

    # Arrivals and departures

    def submit(self, question: Question) -> None:
        """Take a question that has just arrived.

        Raises:
            PenstockError: it is refused at once; nothing is told to the question then.
        """
        now = self._loop.time()
        self.budget.on_request(now)
        if self._quarantine:
            self._inspect(question, now)
        if question.deadline <= now:
            raise self._refusals.over()
        if not self._binding.openings:
            if not self._outlook.is_expected(self.key):
                raise self._outlook.why(self.key)
        elif self._late and not question.suspect:
            self._refuse_if_hopeless(question, now)
            if self._binding.sent_at_once(question, now):
                return
        if self.waiting >= self._max_queued:
            raise self._refusals.full(self.waiting)
        self._enqueue(question, now)

    def _inspect(self, question: Question, now: float) -> None:
        deaths = self._quarantine.deaths(self.key, question.request, now)
        if is_poison(deaths):
            raise self._refusals.poison()
        question.suspect = deaths > 0

    def _refuse_if_hopeless(self, question: Question, now: float) -> None:
        """What cannot be answered in time need not wait to learn that."""
        ahead = self._queue.rows_ahead(question.order)
        done, full = self._binding.predicted(question, ahead, now)
        if is_hopeless(done, question.deadline, full):
            raise self._refusals.late(ahead, done - question.deadline)

    def _enqueue(self, question: Question, now: float) -> None:
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
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._wake) if at < now + 2 * _SWEEP else None

    def _wake(self) -> None:
        timer, self._timer = self._timer, None
        now = self._loop.time()
        if timer is not None:
            now = max(now, timer.when())  # timers may be early by their resolution
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
        expected = self._outlook.is_expected(self.key)
        self._hopes.add(question, now + (patience(question.deadline - now) if expected else 0.0))

    def _expire(self, question: Question) -> None:
        self._fail(question, self._refusals.expired())

    # What workers tell of the questions that they were sent

    def failed(self, worker: Worker, question: Question, error: PenstockError) -> None:
        """A worker did not answer it: try again, elsewhere if possible, or give up."""
        if question.suspect:
            self.tested(worker, question, True)
        self._again_or_fail(question, error)

    def _again_or_fail(self, question: Question, error: PenstockError) -> None:
        now = self._loop.time()
        attempts = question.attempts = question.attempts.after(error)
        question.holder = None
        allowed = may_retry(error, attempts, self._ready - attempts.count)
        if not allowed or (costs_budget(error) and not self.budget.take(now)):
            self._fail(question, error)
        elif question.deadline <= now:
            self._fail(question, self._refusals.over())
        else:
            self._enqueue(question, now)

    def returned(self, worker: Worker, questions: Iterable[Question]) -> None:
        """A worker has not begun these and will not: as if they had not been sent."""
        now = self._loop.time()
        for question in questions:
            self._suspects.ended(worker, question)
            question.tried = question.tried[:-1]
            self._enqueue(question, now)

    def died(self, worker: Worker, questions: Iterable[Question]) -> None:
        """A worker has gone while it had these: one of them may have killed it."""
        now = self._loop.time()
        self._suspects.ended(worker)
        for question in questions:
            if is_poison(self._quarantine.died(worker.name, self.key, question.request, now)):
                self._fail(question, self._refusals.poison())
                continue
            question.suspect = True
            self._again_or_fail(question, self._refusals.lost())

    def tested(self, worker: Worker, question: Question, lives: bool) -> None:
        """A suspect has ended, whatever way, or was abandoned. If the worker lives through its end it is innocent."""
        self._suspects.ended(worker, question)
        if lives:
            self._quarantine.survived(self.key, question.request)
            question.suspect = False
        if self._suspects:
            self._pump(self._loop.time())

    def _fail(self, question: Question, error: PenstockError) -> None:
        question.holder = None
        question.failed(error.with_metadata(**self._refusals.facts))

    def close(self) -> None:
        """No timer is left behind; what waits is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
