"""The generator against a server that does what a test says, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from penstock.bench.generator import generate
from penstock.bench.plan import Plan
from penstock.bench.samples import Samples
from penstock.bench.statistics import summarise
from penstock.errors import QueueFull
from penstock.rpc.channel import server_options
from penstock.rpc.errors import to_status, to_trailers
from penstock.v1 import model_pb2
from penstock.v1 import predict_pb2 as pb

Answer = Callable[[bytes, Any], Awaitable[bytes]]
REFUSAL = QueueFull("no room")
BODY = pb.PredictRequest(model_spec=model_pb2.ModelSpec(name="echo")).SerializeToString()
SHORT: dict[str, Any] = {"duration": 0.3, "warmup": 0.1, "connections": 2, "bodies": (BODY,)}


class Server:
    """Answers unary calls as told, and messages of streams each with one message."""

    def __init__(self) -> None:
        self.unary: Answer = self.echo
        self.messages: list[pb.PredictStreamRequest] = []
        self.refuse: set[int] = set()
        self.metadata: list[dict[str, Any]] = []

    async def echo(self, request: bytes, context: Any) -> bytes:
        self.metadata.append(dict(context.invocation_metadata()))
        return request

    async def predict(self, request: bytes, context: Any) -> bytes:
        return await self.unary(request, context)

    async def predict_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            asked = pb.PredictStreamRequest.FromString(message)
            self.messages.append(asked)
            made = [self._answer(question.request_id) for question in (asked, *asked.more)]
            made[0].more.extend(made[1:])
            yield made[0].SerializeToString()

    def _answer(self, request_id: str) -> pb.PredictStreamResponse:
        if int(request_id, 16) in self.refuse:
            return pb.PredictStreamResponse(request_id=request_id, error=to_status(REFUSAL))
        return pb.PredictStreamResponse(request_id=request_id, response=pb.PredictResponse())


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    methods: dict[str, Any] = {
        "Predict": grpc.unary_unary_rpc_method_handler(server.predict),
        "PredictStream": grpc.stream_stream_rpc_method_handler(server.predict_stream),
    }
    listening = grpc.aio.server(options=server_options())
    listening.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("penstock.v1.PredictService", methods)])
    port = listening.add_insecure_port("127.0.0.1:0")
    await listening.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await listening.stop(0)


async def run(server: Server, **more: Any) -> Samples:
    async with serving(server) as address:
        return await generate(Plan(address=address, **SHORT, **more))


@pytest.mark.parametrize("lane", ["unary", "stream"])
async def test_an_open_loop_sends_what_was_drawn_and_all_of_it_is_answered(lane: str) -> None:
    samples = await run(Server(), rate=200, lane=lane, seed=3)
    assert summarise(samples).outcomes == {"OK": summarise(samples).requests}
    assert list(samples.due) == sorted(samples.due)
    assert min(samples.late) >= 0
    assert all(took >= late for took, late in zip(samples.took, samples.late, strict=True))


@pytest.mark.parametrize("lane", ["unary", "stream"])
async def test_a_closed_loop_keeps_so_many_in_flight_and_no_more(lane: str) -> None:
    samples = await run(Server(), concurrency=3, lane=lane)
    done = sorted(due + took for due, took in zip(samples.due, samples.took, strict=True))
    for number, due in enumerate(samples.due[3:]):
        assert due >= done[number] - 1e-6  # the fourth is sent when the first has its answer
    assert set(samples.kinds) == {0}


async def test_questions_that_are_due_together_leave_in_one_message() -> None:
    server = Server()
    await run(server, concurrency=8, lane="stream")
    assert max(len(message.more) for message in server.messages) > 1
    assert {q.request.model_spec.name for message in server.messages for q in message.more} == {"echo"}


@pytest.mark.parametrize("lane", ["unary", "stream"])
async def test_refusals_are_counted_by_code_and_reason(lane: str) -> None:
    server = Server()
    server.refuse = set(range(10_000))

    async def refuse(request: bytes, context: Any) -> bytes:
        await context.abort(REFUSAL.code, REFUSAL.message, to_trailers(REFUSAL))
        raise AssertionError

    server.unary = refuse
    samples = await run(server, rate=100, lane=lane)
    assert set(summarise(samples).outcomes) == {"RESOURCE_EXHAUSTED QUEUE_FULL"}


async def test_deadlines_count_from_the_scheduled_arrival_and_go_with_the_question() -> None:
    server = Server()
    await run(server, rate=200, lane="stream", deadline=0.5)
    times = [q.timeout.ToMicroseconds() for message in server.messages for q in (message, *message.more)]
    assert times
    assert all(0 < time <= 500_000 for time in times)


async def test_callers_that_give_up_cancel_their_calls() -> None:
    server = Server()
    cancelled = 0

    async def never(request: bytes, context: Any) -> bytes:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1
        raise AssertionError

    server.unary = never
    samples = await run(server, rate=50, cancel_share=1.0, cancel_within=0.02)
    assert set(summarise(samples).outcomes) == {"CANCELLED by the caller"}
    assert cancelled > 0


async def test_a_stream_that_is_ended_fails_what_was_open_on_it_and_another_is_opened() -> None:
    server = Server()
    calls = 0

    async def once(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        nonlocal calls
        calls += 1
        async for message in requests:
            if calls == 1:
                return
            yield server._answer(pb.PredictStreamRequest.FromString(message).request_id).SerializeToString()

    server.predict_stream = once  # type: ignore[method-assign]
    async with serving(server) as address:
        plan = Plan(address=address, **{**SHORT, "connections": 1}, concurrency=1, lane="stream")
        outcomes = [(await generate(plan)).names]
    assert calls == 2
    assert outcomes == [["OK", "UNAVAILABLE the stream was ended"]]


async def test_headers_go_with_every_call() -> None:
    server = Server()
    await run(server, rate=50, headers=(("authorization", "Bearer k"),))
    assert {metadata["authorization"] for metadata in server.metadata} == {"Bearer k"}
