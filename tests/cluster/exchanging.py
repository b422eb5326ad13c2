"""The worker's side of the exchange, for workers that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.rpc import status_pb2

from penstock.exchange.link import Link
from penstock.exchange.outbox import Outbox
from penstock.rpc.errors import DETAILS_KEY
from penstock.v1 import worker_pb2 as pb

CREDIT = 10_000
Answer = Callable[[bytes, Any], Awaitable[bytes]]


class Aborted(Exception):
    """What a behaviour ended its call with."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class Context:
    """What a behaviour sees of a question; as far as needed, what it would see of a gRPC call."""

    def __init__(self, question: pb.ExchangeQuestion, epoch: int) -> None:
        self._question = question
        self._epoch = epoch

    def invocation_metadata(self) -> list[tuple[str, str]]:
        asked = self._question
        pairs = [("x-request-id", asked.request_id), ("x-penstock-epoch", str(self._epoch))]
        if asked.traceparent:
            pairs.append(("traceparent", asked.traceparent))
        if asked.timings:
            pairs.append(("x-penstock-timings", "on"))
        return pairs

    def time_remaining(self) -> float:
        return self._question.timeout_us / 1e6

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any = ()) -> None:
        raise Aborted(status_pb2.Status.FromString(dict(trailers)[DETAILS_KEY]))


class Exchanging:
    """The handler of one link."""

    def __init__(self, link: Link, answer: Answer, questions: list[pb.ExchangeQuestion]) -> None:
        self._link = link
        self._answer = answer
        self._questions = questions
        self._epoch = 0
        self._outbox: Outbox[pb.ExchangeResponse] = Outbox(pb.ExchangeResponse)
        self._outbox.attach(link)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def on_message(self, message: bytes) -> None:
        request = pb.ExchangeRequest.FromString(message)
        if request.HasField("hello"):
            self._epoch = request.hello.epoch
            if request.hello.stream == 0:
                self._outbox.message.welcome.max_batch_size = 16
                self._outbox.message.credits = CREDIT
                self._outbox.touch()
        for question in request.questions:
            self._questions.append(question)
            self._tasks[question.id] = asyncio.create_task(self._run(question))
        for id_ in request.cancels:
            if id_ in self._tasks:
                self._tasks.pop(id_).cancel()
        for offset in request.released:
            assert self._link.memory is not None
            self._link.memory.mine.release(offset)

    def on_writable(self) -> None:
        self._outbox.on_writable()

    def on_closed(self, error: Exception | None) -> None:
        self._outbox.detach()
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, question: pb.ExchangeQuestion) -> None:
        answer = pb.ExchangeAnswer(id=question.id)
        try:
            response = await self._answer(self._request(question), Context(question, self._epoch))
            block = self._link.memory.mine.put(response) if self._link.memory and len(response) > 65536 else None
            if block:
                answer.block.offset, answer.block.size = block
            else:
                answer.response = response
        except Aborted as aborted:
            answer.error.CopyFrom(aborted.status)
        except Exception:
            answer.error.code = grpc.StatusCode.UNKNOWN.value[0]
        if question.timings:
            answer.timings.queue_us, answer.timings.compute_us, answer.timings.batch_rows = 11, 22, 3
        self._tasks.pop(question.id, None)
        message = self._outbox.message
        message.answers.append(answer)
        message.credits += question.rows
        self._outbox.touch(len(answer.response))

    def _request(self, question: pb.ExchangeQuestion) -> bytes:
        if not question.HasField("block"):
            return question.request
        assert self._link.memory is not None
        request = bytes(self._link.memory.theirs.read(question.block.offset, question.block.size))
        self._outbox.message.released.append(question.block.offset)
        self._outbox.touch()
        return request
