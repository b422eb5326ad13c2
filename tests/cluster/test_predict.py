from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from penstock import errors
from penstock.gateway.admission import AdmissionLimits
from penstock.gateway.wire import wrap
from penstock.rpc.channel import client_options
from penstock.rpc.errors import DETAILS_KEY
from penstock.v1 import model_pb2, predict_pb2, predict_pb2_grpc

from .conftest import NOT_SERVING, PREDICT, World, ask, refuse, request


def details(trailers: Any) -> dict[str, Any]:
    """The error's details by the name of their type."""
    status = status_pb2.Status.FromString(dict(trailers)[DETAILS_KEY])
    return {detail.TypeName().rpartition(".")[2]: detail for detail in status.details}


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


async def test_an_unknown_model_is_told_with_its_details(world: World) -> None:
    gateway, _ = await world.served()
    call = gateway.predict(request("digitz"))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert "digits" in str(failed.value.details())
    found = details(await call.trailing_metadata())
    info, resource = error_details_pb2.ErrorInfo(), error_details_pb2.ResourceInfo()
    found["ErrorInfo"].Unpack(info)
    found["ResourceInfo"].Unpack(resource)
    assert (info.reason, info.domain, info.metadata["model"]) == ("MODEL_NOT_FOUND", "penstock.dev", "digitz")
    assert (resource.resource_type, resource.resource_name) == ("model", "digitz")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (request(alias="beta"), errors.AliasNotFound),
        (request(version=9), errors.VersionNotFound),
        (request("../etc"), errors.InvalidArgument),
        (b"", errors.InvalidArgument),
        (b"\xff\xff\xff", errors.MalformedRequest),
        (wrap(1, b"\xff"), errors.MalformedRequest),
    ],
)
async def test_a_request_that_nothing_can_answer_reaches_no_worker(
    world: World, message: bytes, error: type[errors.PenstockError]
) -> None:
    gateway, worker = await world.served()
    with pytest.raises(error) as failed:
        await ask(gateway.predict(message))
    assert failed.value.reason == error.reason
    assert failed.value.request_id
    assert not worker.seen


async def test_a_malformed_message_of_another_service_is_our_error_too(world: World) -> None:
    gateway, _ = await world.served()
    send: Any = gateway.channel.unary_unary("/penstock.v1.ModelStatusService/GetModelStatus")
    with pytest.raises(errors.MalformedRequest) as failed:
        await ask(send(b"\xff\xff"))
    assert failed.value.reason == "MALFORMED_REQUEST"


async def test_an_unknown_method_is_unimplemented_with_a_reason(world: World) -> None:
    gateway, _ = await world.served()
    send: Any = gateway.channel.unary_unary("/penstock.v1.PredictService/Preditc")
    with pytest.raises(errors.Unimplemented) as failed:
        await ask(send(b""))
    assert failed.value.reason == "UNIMPLEMENTED"


async def test_a_message_above_the_limit_is_refused(world: World) -> None:
    gateway, worker = await world.served(max_message_bytes=10_000)
    with pytest.raises(errors.ResourceExhausted):
        await ask(gateway.predict(request() + wrap(2, bytes(20_000))))
    assert not worker.seen


async def test_what_passes_the_door_passes_the_inner_one(world: World) -> None:
    gateway, _ = await world.served(max_message_bytes=1_000_000)
    message = request() + wrap(2, bytes(990_000))
    assert await gateway.predict(message) == message


async def test_a_workers_own_error_passes_unchanged(world: World) -> None:
    gateway, worker = await world.served()
    violations = [errors.Violation("inputs[0].shape", "wrong")]

    async def invalid(seen: bytes, context: Any) -> bytes:
        return await refuse(context, errors.InvalidTensor("x has the wrong shape", violations=violations))  # type: ignore[no-any-return]

    worker.behaviour = invalid
    with pytest.raises(errors.InvalidTensor, match="x has the wrong shape") as failed:
        await ask(gateway.predict())
    assert failed.value.violations == tuple(violations)
    assert failed.value.metadata["model"] == "digits"


async def test_no_text_of_a_workers_exception_leaves(world: World) -> None:
    gateway, worker = await world.served()

    async def broken(seen: bytes, context: Any) -> bytes:
        raise ValueError("secret")

    worker.behaviour = broken
    call = gateway.predict()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in repr(failed.value) + repr(await call.trailing_metadata())


async def test_the_deadline_is_the_workers_too(world: World) -> None:
    gateway, worker = await world.served()
    await gateway.predict(timeout=7)
    (remaining,) = worker.remaining
    assert remaining is not None
    assert 5 < remaining < 7.5


async def test_a_deadline_that_passes_cancels_the_workers_call(world: World) -> None:
    gateway, worker = await world.served()
    cancelled = asyncio.Event()

    async def slow(seen: bytes, context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    worker.behaviour = slow
    with pytest.raises(errors.DeadlineExceeded):
        await ask(gateway.predict(timeout=0.3))
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_caller_that_cancels_cancels_the_workers_call(world: World) -> None:
    gateway, worker = await world.served()
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(seen: bytes, context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    worker.behaviour = slow
    call = gateway.predict()
    waiting = asyncio.ensure_future(call)
    await asyncio.wait_for(begun.wait(), 5)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_caller_that_leaves_a_generator_cancels_it(world: World) -> None:
    gateway, worker = await world.served()
    cancelled = asyncio.Event()
    answers = iter(range(1, 2))

    async def endless(seen: bytes, context: Any) -> bytes:
        if next(answers, None):
            return wrap(1, b"")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    worker.behaviour = endless
    send: Any = gateway.channel.unary_stream("/penstock.v1.PredictService/Generate")
    call = send(request())
    assert await call.read() == wrap(1, b"")
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)


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


async def test_four_thousand_calls_at_once_are_each_answered_with_a_reason(world: World) -> None:
    gateway, _ = await world.served()
    options = [*client_options(), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(gateway.address, options=options) for _ in range(4)]
    sends: list[Any] = [channel.unary_unary(PREDICT) for channel in channels]
    calls = [ask(send(request(), timeout=60)) for _ in range(1000) for send in sends]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    reasons = {(type(error), getattr(error, "reason", None)) for error in refused}
    assert reasons <= {(errors.ConcurrencyLimit, "CONCURRENCY_LIMIT")}
    assert len(outcomes) - len(refused) >= 1000
    await asyncio.gather(*(channel.close() for channel in channels))


async def test_what_is_above_the_bound_is_refused_with_a_pushback(world: World) -> None:
    gateway, worker = await world.served(limits=AdmissionLimits(max_requests=1))
    begun, free = asyncio.Event(), asyncio.Event()

    async def slow(seen: bytes, context: Any) -> bytes:
        begun.set()
        await free.wait()
        return b""

    worker.behaviour = slow
    first = asyncio.ensure_future(gateway.predict())
    await asyncio.wait_for(begun.wait(), 5)
    call = gateway.predict()
    with pytest.raises(errors.ConcurrencyLimit):
        await ask(call)
    assert dict(await call.trailing_metadata())["grpc-retry-pushback-ms"] == "100"
    free.set()
    assert await first == b""


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
