"""Where the requests of one model version arrive, and come back to when a worker fails them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import PenstockError
from .binding import Worker
from .hopes import MAX_FOR_LOAD
from .late_binding import is_hopeless
from .picker import Picker
from .quarantine import is_poison, is_verdict
from .question import Question
from .retry import costs_budget, may_retry
from .waiting import Waiting


class Lane(Waiting):
    """One version's requests and workers. Belongs to the event loop; the balancer makes it and gives it its workers.

    See Waiting for the arguments.
    """

    def submit(self, question: Question) -> None:
        """Take a question that has just arrived.

        Raises:
            PenstockError: it is refused at once; nothing is told to the question then.
        """
        now = self._loop.time()
        self.budget.on_request(now)
        self.used_at = now
        if self._quarantine:
            self._inspect(question, now)
        if question.deadline <= now:
            raise self._refusals.over()
        most = self._max_queued
        if not self._binding.openings:
            if not self._outlook.is_expected(self.key):
                raise self._outlook.why(self.key)
            if self._outlook.is_on_demand(self.key):
                most = min(most, MAX_FOR_LOAD)
        elif self._late and not question.suspect:
            self._refuse_if_hopeless(question, now)
            if self._binding.sent_at_once(question, now):
                return
        if self.waiting >= most:
            raise self._refusals.full(self.waiting)
        self._enqueue(question, now)

    def _inspect(self, question: Question, now: float) -> None:
        deaths = self._quarantine.deaths(self.key, question.request, now)
        if is_poison(deaths):
            raise self._refusals.poison()
        question.suspect = deaths > 0

    def _refuse_if_hopeless(self, question: Question, now: float) -> None:
        """What cannot be answered in time need not wait to learn that."""
        if not self._queue and self._binding.is_idle:
            return  # which may prove the prediction wrong
        ahead = self._queue.rows_ahead(question.order)
        done, full = self._binding.predicted(question, ahead, now)
        if is_hopeless(done, question.deadline, full):
            raise self._refusals.late(ahead, done - question.deadline)

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

    # What workers tell of the questions that they were sent

    def failed(self, worker: Worker, question: Question, error: PenstockError) -> None:
        """A worker did not answer it: try again, elsewhere if possible, or give up."""
        if question.suspect:
            self.tested(worker, question, is_verdict(error))
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
        """A worker has gone while it had these: one of them may have killed it.

        A great one is told of first, and alone: the worker that had it must not be given another suspect then.
        """
        now = self._loop.time()
        for question in questions:
            self._suspects.ended(worker, question)
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
