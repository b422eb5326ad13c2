"""A real worker on real sockets, and a gateway that exchanges with it over either carrier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import errors
from penstock.exchange.grpc_link import connect_grpc
from penstock.exchange.link import Link
from penstock.exchange.unix import connect_unix
from penstock.rpc.channel import connect
from penstock.signature import DType
from penstock.tensors import encode
from penstock.testing.links import Recorder
from penstock.v1 import predict_pb2
from penstock.v1 import worker_pb2 as pb

from .served import Worker, ready

Connect = Callable[[Worker, Recorder], Any]


@asynccontextmanager
async def over_unix(worker: Worker, heard: Recorder) -> AsyncIterator[Link]:
    link = await connect_unix(worker.registry.registered[0].worker.local_address, heard)
    yield link
    await ended(link, heard)


@asynccontextmanager
async def over_grpc(worker: Worker, heard: Recorder) -> AsyncIterator[Link]:
    async with connect(worker.registry.registered[0].worker.address) as channel:
        link = await connect_grpc(channel, heard, (("x-penstock-epoch", str(worker.epoch)),))
        yield link
        await ended(link, heard)


async def ended(link: Link, heard: Recorder) -> None:
    link.close()
    await until(heard, lambda heard: heard.closed)


async def until(heard: Recorder, condition: Callable[[Recorder], object]) -> None:
    await asyncio.wait_for(heard.until(condition), 20)


@pytest.fixture(params=[over_unix, over_grpc], ids=["unix", "grpc"])
def connected(request: pytest.FixtureRequest) -> Connect:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with ready(tmp_path) as worker:
        yield worker


def request(rows: int, value: float) -> bytes:
    tensor = encode("x", np.full((rows, 2), value, np.float32), DType.FP32)
    return predict_pb2.PredictRequest(inputs=[tensor], output_names=["y"]).SerializeToString()


def y(response: bytes) -> list[float]:
    [tensor] = predict_pb2.PredictResponse.FromString(response).outputs
    return np.frombuffer(tensor.raw, "<f4").tolist()  # type: ignore[no-any-return]


def answers(heard: Recorder) -> dict[int, pb.ExchangeAnswer]:
    said = [pb.ExchangeResponse.FromString(message) for message in heard.messages]
    return {answer.id: answer for one in said for answer in one.answers}


def answered(count: int) -> Callable[[Recorder], bool]:
    return lambda heard: len(answers(heard)) == count


def hello(worker: Worker, **more: Any) -> bytes:
    return pb.ExchangeRequest(hello=pb.ExchangeHello(session=1, epoch=worker.epoch), **more).SerializeToString()


async def test_a_model_answers_over_the_exchange(worker: Worker, connected: Connect) -> None:
    heard = Recorder()
    async with connected(worker, heard) as link:
        link.write(hello(worker))
        await until(heard, lambda heard: heard.messages)
        welcome = pb.ExchangeResponse.FromString(heard.messages[0])
        assert welcome.welcome.max_batch_size == 64
        assert welcome.credits >= 64
        assert welcome.load.one_us > 0
        questions = [
            pb.ExchangeQuestion(id=id_, rows=id_, request=request(id_, id_), timeout_us=20_000_000, timings=True)
            for id_ in range(1, 40)
        ]
        questions.append(pb.ExchangeQuestion(id=40, rows=1, request=request(1, -1.0), request_id="r40"))
        for question in questions:
            link.write(pb.ExchangeRequest(questions=[question]).SerializeToString())
            await until(heard, lambda heard: heard.link.writable)
        await until(heard, answered(40))
        for id_ in range(1, 40):
            answer = answers(heard)[id_]
            assert y(answer.response) == [2.0 * id_] * 2 * id_
            assert answer.timings.compute_us > 0
            assert answer.timings.batch_rows >= id_
        assert "negative" in answers(heard)[40].error.message


async def test_great_tensors_travel_in_shared_memory_both_ways(worker: Worker) -> None:
    heard = Recorder()
    async with over_unix(worker, heard) as link:
        assert link.memory is not None
        link.write(hello(worker))
        for id_ in range(1, 4):
            place = link.memory.mine.put(request(20_000, id_))
            assert place is not None
            block = pb.SharedBlock(offset=place[0], size=place[1])
            question = pb.ExchangeQuestion(id=id_, rows=20_000, block=block)
            link.write(pb.ExchangeRequest(questions=[question]).SerializeToString())
            await until(heard, answered(id_))
        for id_, answer in answers(heard).items():
            with link.memory.theirs.read(answer.block.offset, answer.block.size) as response:
                assert y(bytes(response)) == [2.0 * id_] * 40_000
        said = [pb.ExchangeResponse.FromString(message) for message in heard.messages]
        assert len([offset for one in said for offset in one.released]) == 3


async def test_a_gateway_that_means_another_worker_is_fenced(worker: Worker, connected: Connect) -> None:
    heard = Recorder()
    async with connected(worker, heard) as link:
        wrong = pb.ExchangeHello(session=1, epoch=worker.epoch + 1)
        link.write(pb.ExchangeRequest(hello=wrong).SerializeToString())
        await until(heard, lambda heard: heard.closed)
        assert isinstance(heard.closed[0], errors.LeaseFenced)


async def test_what_was_asked_before_a_drain_is_answered(worker: Worker, connected: Connect) -> None:
    heard = Recorder()
    async with connected(worker, heard) as link:
        link.write(hello(worker, questions=[pb.ExchangeQuestion(id=1, rows=1, request=request(1, 1.0))]))
        await until(heard, lambda heard: heard.messages)
        worker.stop.request()
        await until(heard, lambda heard: heard.closed)
        assert y(answers(heard)[1].response) == [2.0, 2.0]
        assert heard.closed == [None]
        assert any(pb.ExchangeResponse.FromString(message).draining for message in heard.messages)
        assert await worker.ended() == 0


async def test_a_worker_on_tcp_has_a_local_socket_too(tmp_path: Path) -> None:
    async with ready(tmp_path, listen="127.0.0.1:0") as worker:
        record = worker.registry.registered[0].worker
        assert record.address.startswith("127.0.0.1:")
        heard = Recorder()
        async with over_unix(worker, heard) as link:
            link.write(hello(worker, questions=[pb.ExchangeQuestion(id=1, rows=1, request=request(1, 1.0))]))
            await until(heard, answers)
    assert not Path(record.local_address).parent.exists()
