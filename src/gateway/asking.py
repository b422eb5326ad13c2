"""What one worker is asked, and what it answers: the way of every request, which is as short as it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import count
from math import inf

from penstock.v1 import worker_pb2 as pb

from ..errors import PenstockError, WorkerLost
from ..exchange.pace import BRIEF, Pace
from .connection import Connection
from .endpoint import Endpoint
from .exchanged import Owner, put_cancel, put_question, taken, timings, worker_error
from .late_binding import Forecast
from .question import Pairs, Question
from .session import Session
from .single import SingleCalls
from .watchdog import Watchdog


class Asking:
    """One worker, to which there is a connection.

    Args:
        endpoint: the worker.
        owner: hears of credit and failures.
        connection: to the worker, up or down.
        on_silence: called now and then while questions wait and nothing is heard of the worker.
        pace: the connection's; told when an answer should be here.
    """

    def __init__(
        self, endpoint: Endpoint, owner: Owner, connection: Connection, on_silence: Callable[[], None], pace: Pace
    ) -> None:
        self.endpoint = endpoint
        self.forecast = Forecast()
        self._pace = pace
        self._owner = owner
        self._connection = connection
        self._single = SingleCalls(connection.channel, endpoint.epoch, self._settled)
        self._session = Session(endpoint.epoch, self._single)
        self._questions = self._session.questions
        self._ids = count(1)
        self._generating = 0
        self._told = 0
        self._loop = asyncio.get_running_loop()
        self._watchdog = Watchdog(self._questions, on_silence)

    @property
    def name(self) -> str:
        """No other worker's, ever."""
        return f"{self.endpoint.worker_id}/{self.endpoint.epoch}"

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return len(self._questions) + self._generating

    def predicted(self, now: float) -> float:
        """When one more row would be done."""
        self.forecast.advance(now)
        return self.forecast.completion(1, now)

    def send(self, question: Question, now: float) -> None:
        """Bind a question to this worker. It must be ready."""
        question.holder = self
        question.id = next(self._ids)
        forecast = self.forecast
        forecast.sent(question.rows, question.deadline, now, question.id)
        # Twice the lag: under load it is longer than it was, and to wait in vain costs a message more.
        self._pace.answer_at = forecast.free_at + forecast.lag if forecast.full <= BRIEF else -inf
        if not self._questions:
            self._watchdog.heard = now
        self._questions[question.id] = question
        if not self._watchdog.runs:
            self._watchdog.start()
        if not put_question(self._connection, question, now):
            self._single.ask(question, question.deadline - now)

    def demand(self, rows: int) -> None:
        """Say how many rows wait for this worker and its like."""
        box = self._connection.small
        if rows != self._told and box is not None:
            self._told = rows
            box.message.waiting_rows = rows
            box.touch()

    def abandon(self, question: Question) -> None:
        """Nobody wants the answer any more."""
        if self._questions.pop(question.id, None) is None:
            return
        self._left(question)
        if question.suspect:
            self._owner.tested(self, question, False)
        if self._single.cancel(question):
            self.forecast.credit += question.rows
            self._owner.changed(self)
        else:
            put_cancel(self._connection, question)

    async def generate(self, request: bytes, timeout: float, metadata: Pairs) -> AsyncGenerator[bytes, None]:
        """Send a request's bytes and give on each answer's bytes.

        Raises:
            PenstockError: the worker's own error, or WorkerLost, WorkerDraining, DeadlineExceeded.
        """
        self._generating += 1
        try:
            async for response in self._single.generate(request, timeout, metadata):
                yield response
        finally:
            self._generating -= 1

    def _answer(self, answer: pb.ExchangeAnswer) -> None:
        response = answer.response
        if not response and answer.HasField("block"):
            response = taken(self._connection, answer.block)
        question = self._questions.pop(answer.id, None)
        if question is None:
            return  # abandoned meanwhile
        self._left(question)
        if not response and answer.HasField("error"):
            self._owner.failed(self, question, worker_error(answer.error))
            return
        if question.suspect:
            self._owner.tested(self, question, True)
        question.answered(response, timings(answer, self.endpoint.worker_id) if question.timings else ())

    def _settled(self, question: Question, response: bytes, trailers: Pairs, error: PenstockError | None) -> None:
        """A call of its own has ended; the worker knows nothing of its credit."""
        if self._questions.pop(question.id, None) is None:
            return
        self._left(question)
        self.forecast.credit += question.rows
        if isinstance(error, WorkerLost):
            self._owner.died(self, (question,))
        elif error is not None:
            self._owner.failed(self, question, error)
        else:
            if question.suspect:
                self._owner.tested(self, question, True)
            question.answered(response, trailers)
        self._owner.changed(self)

    def _left(self, question: Question) -> None:
        question.holder = None
        if not self._questions:
            self._session.emptied.set()
