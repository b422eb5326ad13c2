"""What cannot be answered, through a real gateway: each with its code, its reason and its details."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from penstock import errors
from penstock.gateway.admission import AdmissionLimits
from penstock.gateway.wire import wrap
from penstock.rpc.channel import client_options

from .conftest import PREDICT, World, ask, details, refuse, request


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
