from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from penstock.errors import LeaseFenced, WorkerLost
from penstock.exchange.grpc_link import EXCHANGE, connect_grpc, serve_grpc
from penstock.exchange.link import Link, LinkHandler, MakeHandler
from penstock.rpc.call import Call
from penstock.rpc.channel import connect
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.rpc.service import raw
from penstock.testing.links import Recorder
from penstock.v1 import worker_pb2

WORKER = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"]


class Worker:
    """Serves Exchange with a handler."""

    def __init__(self, make_handler: MakeHandler) -> None:
        self.make_handler = make_handler
        self.calls: list[Call] = []

    async def predict(self, request: Any, call: Call) -> Any:
        raise AssertionError

    async def generate(self, request: Any, call: Call) -> AsyncIterator[Any]:
        yield await self.predict(request, call)

    @raw
    def exchange(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        self.calls.append(call)
        return serve_grpc(requests, call, self.make_handler)


@asynccontextmanager
async def serving(make_handler: MakeHandler) -> AsyncIterator[tuple[grpc.aio.Channel, grpc.aio.Server, Worker]]:
    worker = Worker(make_handler)
    server = build(CallInterceptor(), [(WORKER, worker)])
    port = bind(server, "127.0.0.1:0", "--port")
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        yield await stack.enter_async_context(connect(f"127.0.0.1:{port}")), server, worker


def echo() -> Recorder:
    return Recorder(lambda link, message: link.write(message))


async def test_messages_go_there_and_back_with_the_metadata() -> None:
    near, far = Recorder(), echo()
    async with serving(far) as (channel, _, worker):
        link = await connect_grpc(channel, near, (("x-penstock-epoch", "3"),))
        assert (link.carrier, link.memory) == ("grpc", None)
        messages = [b"x", bytes(5000), bytes(3_000_000)]
        for message in messages:
            link.write(message)
        await near.until(lambda near: len(near.messages) == 3)
        assert near.messages == messages
        assert worker.calls[0].text("x-penstock-epoch") == "3"
        link.close()
        await near.until(lambda near: near.closed)


async def test_one_message_is_under_way_at_a_time_on_both_sides() -> None:
    near, far = Recorder(), echo()
    async with serving(far) as (channel, *_):
        link = await connect_grpc(channel, near)
        for number in range(1, 4):
            link.write(b"x")
            assert near.times_writable == number - 1
            await near.until(lambda near: near.times_writable == number and len(near.messages) == number)  # noqa: B023
            await far.until(lambda far: far.times_writable == number)  # noqa: B023
        link.close()
        await near.until(lambda near: near.closed)


async def test_a_gateway_that_closes_is_heard_of_after_everything_it_wrote() -> None:
    near, far = Recorder(), Recorder()
    async with serving(far) as (channel, *_):
        link = await connect_grpc(channel, near)
        for message in (b"1", b"2", b"3"):
            link.write(message)
        link.close()
        link.write(b"4")
        await far.until(lambda far: far.closed)
        await near.until(lambda near: near.closed)
        assert far.messages == [b"1", b"2", b"3"]
        assert far.closed == near.closed == [None]


async def test_a_worker_that_closes_is_heard_of_after_everything_it_wrote() -> None:
    def answer_and_close(link: Link, message: bytes) -> None:
        link.write(b"1")
        link.write(b"2")
        link.close()

    near, far = Recorder(), Recorder(answer_and_close)
    async with serving(far) as (channel, *_):
        (await connect_grpc(channel, near)).write(b"hello")
        await near.until(lambda near: near.closed)
        await far.until(lambda far: far.closed)
        assert near.messages == [b"1", b"2"]
        assert far.closed == near.closed == [None]


async def test_the_gateway_hears_why_the_worker_closed() -> None:
    near = Recorder()
    far = Recorder(lambda link, message: link.close(LeaseFenced("epoch 3 is over")))
    async with serving(far) as (channel, *_):
        (await connect_grpc(channel, near)).write(b"hello")
        await near.until(lambda near: near.closed)
        assert isinstance(near.closed[0], LeaseFenced)
        assert near.closed[0].message == "epoch 3 is over"


async def test_a_worker_that_refuses_the_stream_is_heard_of_by_the_handler() -> None:
    def refuse(link: Link) -> LinkHandler:
        raise LeaseFenced("epoch 3 is over")

    near = Recorder()
    async with serving(refuse) as (channel, *_):
        await connect_grpc(channel, near)
        await near.until(lambda near: near.closed)
        assert isinstance(near.closed[0], LeaseFenced)


async def test_a_worker_that_stops_is_lost() -> None:
    near, far = Recorder(), echo()
    async with serving(far) as (channel, server, _):
        (await connect_grpc(channel, near)).write(b"hello")
        await near.until(lambda near: near.messages)
        await server.stop(0)
        await near.until(lambda near: near.closed)
        await far.until(lambda far: far.closed)
        assert isinstance(near.closed[0], WorkerLost)
        assert isinstance(far.closed[0], WorkerLost)


async def test_a_gateway_that_goes_without_a_word_is_lost() -> None:
    near, far = Recorder(), echo()
    async with serving(far) as (channel, *_):
        (await connect_grpc(channel, near)).write(b"hello")
        await near.until(lambda near: near.messages)
        await channel.close()
        await near.until(lambda near: near.closed)
        await far.until(lambda far: far.closed)
        assert isinstance(near.closed[0], WorkerLost)
        assert isinstance(far.closed[0], WorkerLost)


async def test_a_closed_link_does_not_wait_for_one_who_does_not_read() -> None:
    near, far = Recorder(), Recorder()
    async with serving(far) as (channel, *_):
        stream: Any = channel.stream_stream(EXCHANGE)
        call = stream()
        await far.until(lambda far: far.links)
        far.link.write(bytes(30_000_000))
        far.link.close()
        await far.until(lambda far: far.closed)
        call.cancel()
    assert near.closed == []


async def test_where_nobody_listens_connecting_fails() -> None:
    async with connect("127.0.0.1:1") as channel:
        with pytest.raises(WorkerLost):
            await connect_grpc(channel, Recorder())


async def test_connecting_can_be_given_up() -> None:
    async with serving(echo()) as (channel, *_):
        connecting = asyncio.create_task(connect_grpc(channel, Recorder()))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_a_handler_that_cannot_be_made_is_the_callers_error() -> None:
    def fail(link: Link) -> LinkHandler:
        raise ValueError("no")

    async with serving(echo()) as (channel, *_):
        with pytest.raises(ValueError, match="no"):
            await connect_grpc(channel, fail)
