"""Questions that go to a worker by a gRPC call of their own: great tensors, and those with many answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import grpc.aio

from ..errors import DeadlineExceeded, EmptyResponse, Internal, PenstockError, WorkerDraining, WorkerLost
from ..rpc.errors import from_rpc_error
from .question import Pairs, Question

_PREDICT = "/penstock.v1.WorkerService/Predict"
_GENERATE = "/penstock.v1.WorkerService/Generate"
Settled = Callable[[Question, bytes, Pairs, PenstockError | None], None]


class SingleCalls:
    """The calls to one worker. A task for each: what they carry costs far more.

    Args:
        channel: to the worker; owned by the caller.
        epoch: the worker's.
        settled: told how each question ended, unless it was cancelled.
    """

    def __init__(self, channel: grpc.aio.Channel, epoch: int, settled: Settled) -> None:
        self._predict: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_PREDICT)
        self._generate: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_GENERATE)
        self._epoch = ("x-penstock-epoch", str(epoch))
        self._settled = settled
        self._tasks: dict[Question, asyncio.Task[None]] = {}

    def __contains__(self, question: object) -> bool:
        return question in self._tasks

    def ask(self, question: Question, timeout: float) -> None:
        """Send a question's bytes."""
        self._tasks[question] = asyncio.create_task(self._ask(question, timeout))

    def cancel(self, question: Question) -> bool:
        """Forget a question; False: it is none of these."""
        task = self._tasks.pop(question, None)
        if task is None:
            return False
        task.cancel()
        return True

    def give_up(self) -> None:
        """Forget all: the worker cannot be reached, and who waits for a connection to a frozen one waits long."""
        for question in list(self._tasks):
            self.cancel(question)

    async def _ask(self, question: Question, timeout: float) -> None:
        response: bytes = b""
        trailers: Pairs = ()
        error: PenstockError | None = None
        try:
            response, trailers = await self._answer(question, timeout)
        except grpc.aio.AioRpcError as failure:
            error = _translated(failure)
        except PenstockError as failure:
            error = failure
        if self._tasks.pop(question, None) is not None:
            self._settled(question, response, trailers, error)

    async def _answer(self, question: Question, timeout: float) -> tuple[bytes, Pairs]:
        call: Any = self._predict(question.request, timeout=max(timeout, 0.0), metadata=self._metadata(question))
        response = await call
        if response is None:
            raise EmptyResponse("the worker answered without a message")
        trailers = await call.trailing_metadata() if question.timings else ()
        return response, tuple(pair for pair in trailers if pair[0].startswith("x-penstock-"))

    def _metadata(self, question: Question) -> Pairs:
        metadata: list[tuple[str, str | bytes]] = [self._epoch, ("x-request-id", question.request_id)]
        if question.traceparent:
            metadata.append(("traceparent", question.traceparent))
        if question.timings:
            metadata.append(("x-penstock-timings", "on"))
        if question.priority:
            metadata.append(("x-penstock-priority", "high" if question.priority > 0 else "low"))
        if question.suspect:
            metadata.append(("x-penstock-suspect", "on"))
        return tuple(metadata)

    async def generate(self, request: bytes, timeout: float, metadata: Pairs) -> AsyncGenerator[bytes, None]:
        """Send a request's bytes and give on each answer's bytes."""
        call = self._generate(request, timeout=timeout, metadata=(self._epoch, *metadata))
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        finally:
            call.cancel()


def _translated(error: grpc.aio.AioRpcError) -> PenstockError:
    known = from_rpc_error(error)
    if known.reason:
        return known  # the worker's own: it passes through unchanged
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        return WorkerLost("the connection to the worker broke while it held the request")
    if code is grpc.StatusCode.CANCELLED:  # not by us: a stopping server cancels what it has not begun
        return WorkerDraining("the worker ended before it ran the request")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the deadline passed before the worker answered")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return known  # a message above the limit, in the library's words
    return Internal(f"the worker answered {code.name} without a reason")
