"""A server whose answers are simple to foresee, and both clients under one set of tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from penstock import errors
from penstock.client import AsyncClient, Client
from penstock.rpc.call import Call
from penstock.rpc.errors import to_status
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.v1 import model_pb2, model_status_pb2, predict_pb2

PREDICT = predict_pb2.DESCRIPTOR.services_by_name["PredictService"]
STATUS = model_status_pb2.DESCRIPTOR.services_by_name["ModelStatusService"]


class Echo:
    """A model that gives back its inputs as version 3; what is put into `fail` is raised instead, one for each call."""

    def __init__(self) -> None:
        """`answers` of a generator come before `broken` is raised; `deaf` never ends; `open` counts generators.

        On streams, `messages` says how many questions were in each, `coalesces` puts answers together as well, and
        what is in `refuse` is the answer to one question each.
        """
        self.fail: list[errors.PenstockError] = []
        self.calls: list[Call] = []
        self.requests: list[predict_pb2.PredictRequest] = []
        self.answers = 1
        self.broken: errors.PenstockError | None = None
        self.deaf = False
        self.open = 0
        self.hold = 1
        self.asked = 0
        self.refuse: list[errors.PenstockError] = []
        self.breaks = 1_000
        self.coalesces = False
        self.messages: list[int] = []
        self.timeouts: list[float] = []

    def _answer(self, request: Any, call: Call) -> Any:
        self.calls.append(call)
        self.requests.append(request)
        if self.fail:
            raise self.fail.pop(0)
        spec = model_pb2.ModelSpec(name=request.model_spec.name, version=3)
        wanted = [t for t in request.inputs if not request.output_names or t.name in request.output_names]
        return predict_pb2.PredictResponse(model_spec=spec, outputs=wanted)

    async def predict(self, request: predict_pb2.PredictRequest, call: Call) -> predict_pb2.PredictResponse:
        if call.metadata.get("x-penstock-timings") == "on":
            times = {"queue-us": "1500", "compute-us": "250000", "batch-size": "8", "worker": "w1"}
            call.trailers.extend((f"x-penstock-{key}", value) for key, value in times.items())
        if self.deaf:
            await asyncio.Event().wait()
        answer: predict_pb2.PredictResponse = self._answer(request, call)
        return answer

    async def generate(
        self, request: predict_pb2.GenerateRequest, call: Call
    ) -> AsyncIterator[predict_pb2.GenerateResponse]:
        self.open += 1
        try:
            for _ in range(self.answers):
                answer = self._answer(request, call)
                yield predict_pb2.GenerateResponse(model_spec=answer.model_spec, outputs=answer.outputs)
            if self.broken:
                raise self.broken
            if self.deaf:
                await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def predict_stream(
        self, requests: AsyncIterator[predict_pb2.PredictStreamRequest], call: Call
    ) -> AsyncIterator[predict_pb2.PredictStreamResponse]:
        """Answers in reverse, `hold` at a time. An input called `bad` is refused, `gone` breaks the stream (at most
        `breaks` times), `end` ends it.
        """
        held: list[predict_pb2.PredictStreamResponse] = []
        async for message in requests:
            self.messages.append(1 + len(message.more))
            for request in (message, *message.more):
                self.asked += 1
                self.timeouts.append(request.timeout.ToNanoseconds() / 1e9)
                names = {tensor.name for tensor in request.request.inputs}
                if "gone" in names and self.breaks:
                    self.breaks -= 1
                    raise errors.WorkerDraining("this server is stopping")
                if "end" in names:
                    return
                if "mute" not in names:
                    held.append(self._one(request, call, "bad" in names))
            if len(held) >= self.hold:
                for answer in self._joined(held, call):
                    yield answer
                held.clear()
        for answer in self._joined(held, call):
            yield answer

    def _joined(
        self, answers: list[predict_pb2.PredictStreamResponse], call: Call
    ) -> list[predict_pb2.PredictStreamResponse]:
        """In reverse; in one message if this server does that."""
        assert call.text("x-penstock-coalesce") == "on"
        answers = answers[::-1]
        if not self.coalesces or not answers:
            return answers
        answers[0].more.extend(answers[1:])
        return answers[:1]

    def _one(
        self, request: predict_pb2.PredictStreamRequest, call: Call, bad: bool
    ) -> predict_pb2.PredictStreamResponse:
        answer = predict_pb2.PredictStreamResponse(request_id=request.request_id)
        if self.refuse:
            answer.error.CopyFrom(to_status(self.refuse.pop(0)))
        elif bad:
            answer.error.CopyFrom(to_status(errors.InvalidTensor("no input is called 'bad'")))
        else:
            answer.response.CopyFrom(self._answer(request.request, call))
        return answer


class Statuses:
    """Says what it is told to; a watch gives `changes` one after another, and ends with `fail` or never."""

    def __init__(self) -> None:
        self.models: list[model_status_pb2.ModelStatus] = []
        self.changes: list[model_status_pb2.WatchModelStatusResponse] = []
        self.metadata = model_status_pb2.GetModelMetadataResponse()
        self.fail: list[errors.PenstockError] = []
        self.watched: list[str] = []

    async def get_model_status(
        self, request: model_status_pb2.GetModelStatusRequest, call: Call
    ) -> model_status_pb2.GetModelStatusResponse:
        name = request.model_spec.name
        for model in self.models:
            if model.name == name:
                return model_status_pb2.GetModelStatusResponse(model=model)
        raise errors.ModelNotFound(f"there is no model {name!r}", resource=("model", name))

    async def list_models(
        self, request: model_status_pb2.ListModelsRequest, call: Call
    ) -> model_status_pb2.ListModelsResponse:
        at = int(request.page_token or 0)
        token = str(at + 1) if at + 1 < len(self.models) else ""
        return model_status_pb2.ListModelsResponse(models=self.models[at : at + 1], next_page_token=token)

    async def get_model_metadata(
        self, request: model_status_pb2.GetModelMetadataRequest, call: Call
    ) -> model_status_pb2.GetModelMetadataResponse:
        return self.metadata

    async def watch_model_status(
        self, request: model_status_pb2.WatchModelStatusRequest, call: Call
    ) -> AsyncIterator[model_status_pb2.WatchModelStatusResponse]:
        self.watched.append(request.model_spec.name)
        if self.fail:
            raise self.fail.pop(0)
        for change in self.changes:
            yield change
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Served:
    """A running server: its address and what answers."""

    address: str
    echo: Echo
    statuses: Statuses


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    echo, statuses = Echo(), Statuses()
    server = build(CallInterceptor(), [(PREDICT, echo), (STATUS, statuses)])
    port = bind(server, "127.0.0.1:0", "--grpc-port")
    await server.start()
    yield Served(f"127.0.0.1:{port}", echo, statuses)
    await server.stop(None)


class InThread:
    """The blocking client with the methods of the awaiting one, each step of it in a thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client = Client(*args, **kwargs)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name in ("generate", "predict_many", "watch_status"):
            return lambda *args, **kwargs: _steps(method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)


async def _steps(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    end = object()
    try:
        while (item := await asyncio.to_thread(next, iterator, end)) is not end:
            yield item
    finally:
        await asyncio.to_thread(iterator.close)  # type: ignore[attr-defined]


@pytest.fixture(params=[InThread, AsyncClient], ids=["blocking", "awaiting"])
async def connect(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of either kind, of this server unless told; they are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(address: str | None = served.address, **kwargs: Any) -> Any:
            client = request.param(address, **kwargs)
            close: Callable[[], Awaitable[None]] = client.close
            stack.push_async_callback(close)
            return client

        yield make


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    return connect()
