"""What goes between the gateway and one worker: questions out against credit, answers, credit and load in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from itertools import count

from penstock.v1 import worker_pb2 as pb

from ..errors import DeadlineExceeded, Internal, PenstockError, WorkerLost
from .connection import SMALL_BYTES, STREAM_BYTES, Connection, Endpoint, User
from .exchanged import Owner, put_question, timings, worker_error
from .late_binding import Forecast
from .question import Pairs, Question
from .single import SingleCalls

_SILENCE = 2.0
"""Seconds without a word, with its gRPC channel down as well, after which a worker is given up."""
_TICK = 0.25
_CLOSE_TIMEOUT = 30.0


class Subchannel:
    """One worker. Owned by the balancer, which closes it.

    Args:
        endpoint: the worker.
        owner: hears of credit and failures.
        on_change: called when `ready` or `draining` has changed.
        carrier: `auto`, `unix` or `grpc`.
        make_connection: connects to it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        owner: Owner,
        on_change: Callable[[], None],
        carrier: str = "auto",
        make_connection: Callable[[Endpoint, str, User], Connection] = Connection,
    ) -> None:
        self.endpoint = endpoint
        self.forecast = Forecast()
        self.in_flight = 0
        self.ready = False
        self._owner = owner
        self._on_change = on_change
        self._says_draining = False
        self._session = int.from_bytes(os.urandom(8))
        self._ids = count(1)
        self._questions: dict[int, Question] = {}
        self._told = 0
        self._heard = 0.0
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._connection = make_connection(endpoint, carrier, self)
        self._single = SingleCalls(self._connection.channel, endpoint.epoch, self._settled)

    @property
    def name(self) -> str:
        """No other worker's, ever."""
        return f"{self.endpoint.worker_id}/{self.endpoint.epoch}"

    @property
    def draining(self) -> bool:
        """It still answers, but nothing new should be sent while there is another."""
        return self.endpoint.draining or self._says_draining

    @property
    def carrier(self) -> str:
        """How it is reached: `unix+shm`, `unix`, `grpc`; empty: it is not."""
        return self._connection.carrier if self.ready else ""

    def predicted(self, now: float) -> float:
        """When one more row would be done."""
        self.forecast.advance(now)
        return self.forecast.completion(1, now)

    # Out

    def send(self, question: Question, now: float) -> None:
        """Bind a question to this worker. It must be ready."""
        self.forecast.sent(question.rows, question.deadline, now)
        if not self.in_flight:
            self._heard = now
        self.in_flight += 1
        question.holder = self
        question.id = next(self._ids)
        self._questions[question.id] = question
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(_TICK, self._watch)
        request, connection = question.request, self._connection
        size = len(request)
        box, block = connection.small, None
        if size > SMALL_BYTES:
            box = connection.medium
            if size > STREAM_BYTES and connection.memory is not None:
                block = connection.memory.mine.put(request)
            if size > STREAM_BYTES and block is None and connection.carrier != "unix":
                box = None
        if box is None:
            self._single.ask(question, question.deadline - now)
            return
        put_question(box, question, block, now)

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
            return
        connection = self._connection
        box = connection.small if len(question.request) <= SMALL_BYTES else connection.medium
        if box is not None:  # the one that it went by, so that it does not arrive after this
            box.message.cancels.append(question.id)
            box.touch()

    async def generate(self, request: bytes, timeout: float, metadata: Pairs) -> AsyncGenerator[bytes, None]:
        """Send a request's bytes and give on each answer's bytes.

        Raises:
            PenstockError: the worker's own error, or WorkerLost, WorkerDraining, DeadlineExceeded.
        """
        self.in_flight += 1
        try:
            async for response in self._single.generate(request, timeout, metadata):
                yield response
        finally:
            self.in_flight -= 1

    # In

    def received(self, response: pb.ExchangeResponse) -> bool:
        """See connection.User."""
        now = self._heard = self._loop.time()
        welcome = response.HasField("welcome")
        if welcome:
            self._welcome(response.welcome)
        for answer in response.answers:
            self._answer(answer)
        if response.released and (memory := self._connection.memory) is not None:
            for offset in response.released:
                memory.mine.release(offset)
        forecast = self.forecast
        forecast.credit += response.credits
        if response.HasField("load"):
            load = response.load
            forecast.reported(now, load.free_us / 1e6, load.one_us / 1e6, load.full_us / 1e6, load.waiting_rows)
        if welcome or (response.draining and not self._says_draining):
            self._says_draining = response.draining
            self.ready = True
            self._on_change()
        else:
            self._owner.changed(self)
        return welcome

    def _answer(self, answer: pb.ExchangeAnswer) -> None:
        response = answer.response
        if not response and answer.HasField("block"):
            response = self._take(answer.block)
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

    def _take(self, block: pb.SharedBlock) -> bytes:
        """Copy an answer out of the worker's memory, and let the worker use it again."""
        connection = self._connection
        if connection.memory is None or connection.small is None:
            raise Internal("the worker named shared memory where there is none")
        response = bytes(connection.memory.theirs.read(block.offset, block.size))
        connection.small.message.released.append(block.offset)
        connection.small.touch()
        return response

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
        self.in_flight -= 1
        if not self._questions:
            self._emptied.set()

    # The connection

    def hello(self, stream: int) -> pb.ExchangeHello:
        """See connection.User."""
        unanswered = self._exchanged() if stream == 0 else ()
        return pb.ExchangeHello(
            session=self._session,
            epoch=self.endpoint.epoch,
            stream=stream,
            unanswered=[question.id for question in unanswered],
        )

    def _welcome(self, welcome: pb.ExchangeWelcome) -> None:
        """The worker knows which of the old questions it had begun; the others are as if they had not been sent."""
        self.forecast.batch = max(welcome.max_batch_size, 1)
        self.forecast.credit = 0
        self._told = 0
        begun = set(welcome.started)
        old = self._exchanged()
        self._forget(old)
        self._owner.returned(self, [question for question in old if question.id not in begun])
        for question in old:
            if question.id in begun:
                error = WorkerLost("the connection to the worker broke while it held the request")
                self._owner.failed(self, question, error)

    def down(self) -> None:
        """See connection.User."""
        self.ready = False
        self._on_change()

    def lost(self) -> None:
        """See connection.User."""
        gone = self._exchanged()
        self._forget(gone)
        if gone:
            self._owner.died(self, gone)

    def _exchanged(self) -> Sequence[Question]:
        return [question for question in self._questions.values() if question not in self._single]

    def _forget(self, questions: Iterable[Question]) -> None:
        for question in questions:
            del self._questions[question.id]
            self._left(question)

    def _watch(self) -> None:
        """While there are questions: is the worker there, and has it perhaps forgotten one?"""
        now = self._loop.time()
        self._watchdog = None
        for question in [q for q in self._questions.values() if q.deadline + _SILENCE < now]:
            self.abandon(question)
            question.failed(DeadlineExceeded("the deadline passed before the worker answered"))
        if not self._questions:
            return
        self._watchdog = self._loop.call_later(_TICK, self._watch)
        if self.ready and now - self._heard > _SILENCE and not self._connection.channel_ready:
            self._connection.give_up()
            self.lost()

    async def close(self) -> None:
        """End the connection once what is in flight is answered."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                while self._questions:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            pass
        await self._connection.close(_CLOSE_TIMEOUT)
        self.ready = False
        self.lost()
        if self._watchdog is not None:
            self._watchdog.cancel()

    def __repr__(self) -> str:
        endpoint = self.endpoint
        state = f"ready over {self.carrier}" if self.ready else "connecting"
        return f"<Subchannel {endpoint.worker_id} epoch {endpoint.epoch} {state}, {self.in_flight} in flight>"
