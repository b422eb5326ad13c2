"""Questions and answers through a real gateway, between a fake registry and fake workers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from penstock.gateway.wire import wrap
from penstock.v1 import model_pb2, predict_pb2, predict_pb2_grpc

from .conftest import NOT_SERVING, World, details, request


async def test_bytes_pass_untouched_both_ways(world: World) -> None:
    gateway, worker = await world.served()
    message = request() + wrap(2, b"\x0a\x01x") + wrap(1000, b"a field of tomorrow")

    async def answer(seen: bytes, context: Any) -> bytes:
        assert seen == message
        return wrap(500, b"another") + wrap(1, b"")

    worker.behaviour = answer
    assert await gateway.predict(message) == wrap(500, b"another") + wrap(1, b"")


async def test_an_empty_answer_is_an_answer(world: World) -> None:
    gateway, worker = await world.served()

    async def nothing(seen: bytes, context: Any) -> bytes:
        return b""

    worker.behaviour = nothing
    assert await gateway.predict() == b""


async def test_a_given_request_id_is_used_everywhere(world: World) -> None:
    gateway, worker = await world.served()
    call = gateway.predict(metadata=[("x-request-id", "mine-1")])
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"
    assert worker.seen[0]["x-request-id"] == "mine-1"


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, '"}{'])
async def test_a_request_id_that_could_spoil_a_log_is_replaced(world: World, given: str) -> None:
    gateway, worker = await world.served()
    call = gateway.predict(metadata=[("x-request-id", given)])
    await call
    minted = dict(await call.trailing_metadata())["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", minted)
    assert worker.seen[0]["x-request-id"] == minted


async def test_an_error_carries_its_request_id_twice(world: World) -> None:
    gateway, _ = await world.served()
    call = gateway.predict(request("nothere"), metadata=[("x-request-id", "mine-2")])
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    trailers = await call.trailing_metadata()
    info = error_details_pb2.ErrorInfo()
    details(trailers)["ErrorInfo"].Unpack(info)
    assert dict(trailers)["x-request-id"] == info.metadata["requestId"] == "mine-2"


async def test_headers_of_our_own_processes_are_not_taken_from_callers(world: World) -> None:
    gateway, worker = await world.served()
    forged = {"x-penstock-epoch": "99", "x-penstock-principal": "root", "grpc-previous-rpc-attempts": "5"}
    await gateway.predict(metadata=[*forged.items(), ("authorization", "Bearer x"), ("cookie", "c")])
    (seen,) = worker.seen
    assert seen["x-penstock-epoch"] == "7"
    assert not {"x-penstock-principal", "grpc-previous-rpc-attempts", "authorization", "cookie"} & seen.keys()


async def test_a_worker_that_is_lost_is_replaced_by_another_within_the_call(world: World) -> None:
    gateway, worker = await world.served(balancer="round_robin")
    other = await world.worker(worker_id="w2")

    stopping: list[asyncio.Task[None]] = []

    async def dies(seen: bytes, context: Any) -> bytes:
        stopping.append(asyncio.create_task(worker.stop()))
        await asyncio.Event().wait()
        return b""

    worker.behaviour = dies
    while not (worker.seen and other.seen):
        assert await gateway.predict() == request()
    await asyncio.gather(*stopping)


async def test_one_stream_carries_many_questions(world: World) -> None:
    gateway, worker = await world.served()
    stub = predict_pb2_grpc.PredictServiceStub(gateway.channel)
    spec = model_pb2.ModelSpec(name="digits")

    def question(number: int, name: str = "digits") -> predict_pb2.PredictStreamRequest:
        asked = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=name))
        return predict_pb2.PredictStreamRequest(request_id=str(number), request=asked)

    asked = iter([*(question(n) for n in range(200)), question(200, "nothere")])
    call: Any = stub.PredictStream(asked)
    answers = {answer.request_id: answer async for answer in call}
    assert len(answers) == 201
    assert answers["200"].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert answers["17"].response.model_spec == spec
    assert len({seen["x-request-id"] for seen in worker.seen}) == 200


async def test_when_it_stops_health_says_so_and_calls_in_flight_finish(world: World) -> None:
    gateway, worker = await world.served(lame_duck=0.2)
    begun, free = asyncio.Event(), asyncio.Event()

    async def slow(seen: bytes, context: Any) -> bytes:
        begun.set()
        await free.wait()
        return b"done"

    worker.behaviour = slow
    call = asyncio.ensure_future(gateway.predict())
    await asyncio.wait_for(begun.wait(), 5)
    gateway.stop.request()
    await asyncio.gather(*(gateway.until(NOT_SERVING, name) for name in ("", "models/digits")))
    free.set()
    assert await call == b"done"
    assert await asyncio.wait_for(asyncio.shield(gateway.task), 10) == 0
