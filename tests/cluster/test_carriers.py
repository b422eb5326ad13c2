"""How the gateway reaches its workers: which carrier, what takes which way, and what a broken connection leads to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock import errors
from penstock.gateway.wire import wrap
from penstock.v1 import model_pb2, model_status_pb2, predict_pb2, predict_pb2_grpc

from .conftest import NOT_SERVING, SERVING, Gateway, World, ask, echo, model, refuse, request

BLOCK, LARGE = 100_000, 1_000_000


async def carrier(gateway: Gateway) -> str:
    """As `status` shows it."""
    send: Any = gateway.channel.unary_unary("/penstock.v1.ModelStatusService/GetModelStatus")
    spec = model_pb2.ModelSpec(name="digits")
    answer = await send(model_status_pb2.GetModelStatusRequest(model_spec=spec).SerializeToString())
    (version,) = model_status_pb2.GetModelStatusResponse.FromString(answer).model.versions
    return version.instances[0].carrier


@pytest.mark.parametrize(
    ("local", "wanted", "expected"),
    [
        (True, "auto", "unix+shm"),
        (False, "auto", "grpc"),
        (True, "grpc", "grpc"),
        (True, "unix", "unix+shm"),
    ],
)
async def test_the_carrier_is_the_best_there_is_or_the_one_that_is_demanded(
    world: World, local: bool, wanted: str, expected: str
) -> None:
    gateway, worker = await world.served(local, carrier=wanted)
    assert await gateway.predict() == request()
    assert await carrier(gateway) == expected
    assert len(worker.exchanged) == 1


@pytest.mark.parametrize("wanted", ["unix", "grpc"])
@pytest.mark.parametrize("size", [0, 8_000, 9_000, 60_000, BLOCK, LARGE])
async def test_bytes_of_every_size_pass_both_ways(world: World, wanted: str, size: int) -> None:
    gateway, _ = await world.served(True, carrier=wanted)
    message = request() + wrap(2, bytes(size))
    assert await gateway.predict(message) == message


async def test_great_tensors_lie_in_shared_memory_and_go_alone_over_grpc(world: World) -> None:
    gateway, worker = await world.served(True)
    message = request() + wrap(2, bytes(BLOCK))
    for _ in range(1000):  # 100 MB through 64 MiB: what is read is given back
        assert len(await gateway.predict(message)) == len(message)
    assert len(worker.exchanged) == 1000
    assert all(question.HasField("block") for question in worker.exchanged)


async def test_over_grpc_great_tensors_have_a_call_of_their_own(world: World) -> None:
    gateway, worker = await world.served()
    small = request() + wrap(2, bytes(60_000))
    await gateway.predict(request() + wrap(2, bytes(BLOCK)), metadata=[("x-request-id", "great")])
    await gateway.predict(small)
    assert len(worker.seen) == 2
    assert [question.request for question in worker.exchanged] == [small]
    assert worker.seen[0]["x-request-id"] == "great"
    assert worker.seen[0]["x-penstock-epoch"] == "7"


async def test_errors_of_great_ones_are_the_workers_own(world: World) -> None:
    gateway, worker = await world.served()

    async def invalid(seen: bytes, context: Any) -> bytes:
        return await refuse(context, errors.InvalidTensor("x has the wrong shape"))  # type: ignore[no-any-return]

    worker.behaviour = invalid
    with pytest.raises(errors.InvalidTensor, match="x has the wrong shape"):
        await ask(gateway.predict(request() + wrap(2, bytes(BLOCK))))


async def test_without_its_socket_a_local_worker_is_reached_by_grpc(world: World) -> None:
    world.registry.publish(models=[model()])
    worker = await world.worker(local=True)
    assert worker.local_server is not None
    worker.local_server.stop_listening()
    gateway = await world.gateway()
    await gateway.until(SERVING)
    assert await carrier(gateway) == "grpc"


async def test_a_demanded_carrier_that_is_not_there_leaves_the_worker_unready(world: World) -> None:
    world.registry.publish(models=[model()])
    await world.worker()
    gateway = await world.gateway(carrier="unix")
    await gateway.until(NOT_SERVING)
    with pytest.raises(errors.NoLiveWorker):
        await ask(gateway.predict(timeout=1))


@pytest.mark.parametrize("local", [True, False])
async def test_a_worker_that_dies_is_replaced_within_the_call(world: World, local: bool) -> None:
    gateway, worker = await world.served(local)
    begun = asyncio.Event()

    async def hangs(seen: bytes, context: Any) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    worker.behaviour = hangs
    asking = asyncio.ensure_future(gateway.predict())
    await asyncio.wait_for(begun.wait(), 5)
    other = await world.worker(worker_id="w2", local=local)
    await worker.stop()
    assert await asyncio.wait_for(asking, 10) == request()
    assert other.exchanged[0].suspect


async def test_a_request_that_two_workers_die_of_is_not_run_again(world: World) -> None:
    gateway, worker = await world.served(True)
    stopping: list[asyncio.Task[None]] = []

    def deadly(one: Any) -> Any:
        async def dies(seen: bytes, context: Any) -> bytes:
            stopping.append(asyncio.create_task(one.stop()))
            await asyncio.Event().wait()
            return b""

        return dies

    other = await world.worker(worker_id="w2", local=True)
    worker.behaviour, other.behaviour = deadly(worker), deadly(other)
    with pytest.raises(errors.PoisonRequest):
        await ask(gateway.predict())
    await asyncio.gather(*stopping)
    third = await world.worker(worker_id="w3", local=True)
    assert await gateway.predict(request(version=1)) == request(version=1)  # waits for it
    with pytest.raises(errors.PoisonRequest):
        await ask(gateway.predict())
    assert [question.request for question in third.exchanged] == [request(version=1)]


@pytest.mark.parametrize("local", [True, False])
async def test_what_a_worker_has_not_begun_is_asked_again_after_a_broken_connection(world: World, local: bool) -> None:
    gateway, worker = await world.served(local)

    async def cut(seen: bytes, context: Any) -> bytes:
        worker.behaviour = echo
        for link in worker.links:
            link.close(errors.WorkerLost("cut"))
        await asyncio.Event().wait()
        return b""

    worker.behaviour = cut
    call = gateway.predict()
    assert await call == request()
    first, second = worker.exchanged
    assert (first.request_id, first.suspect) == (second.request_id, second.suspect) == (first.request_id, False)


@pytest.mark.parametrize("local", [True, False])
async def test_timings_come_back_to_those_who_ask(world: World, local: bool) -> None:
    gateway, _ = await world.served(local)
    call = gateway.predict(metadata=[("x-penstock-timings", "on")])
    await call
    trailers = dict(await call.trailing_metadata())
    assert trailers["x-penstock-queue-us"] == "11"
    assert trailers["x-penstock-batch-size"] == "3"
    assert trailers["x-penstock-worker"] == "w1"


async def test_a_stream_that_joins_questions_gets_joined_answers(world: World) -> None:
    gateway, worker = await world.served(True)
    stub = predict_pb2_grpc.PredictServiceStub(gateway.channel)
    asked = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="digits"))
    questions = [predict_pb2.PredictStreamRequest(request_id=str(n), request=asked) for n in range(100)]
    first = questions[0]
    first.more.extend(questions[1:])
    call: Any = stub.PredictStream(iter([first]))
    messages = [answer async for answer in call]
    assert len(messages) < 50
    answers = [answer for message in messages for answer in (message, *message.more)]
    assert {answer.request_id for answer in answers} == {str(n) for n in range(100)}
    assert len(worker.exchanged) == 100
