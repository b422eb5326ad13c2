"""A server with one service, whose concerns, gates and answers a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from penstock.rpc.call import Call, Concern, Gate
from penstock.rpc.channel import connect
from penstock.rpc.errors import from_rpc_error
from penstock.rpc.interceptor import CallInterceptor
from penstock.rpc.server import bind, build
from penstock.rpc.service import raw
from penstock.v1 import predict_pb2

PREDICT = predict_pb2.DESCRIPTOR.services_by_name["PredictService"]
METHOD = "/penstock.v1.PredictService/"


class Echo:
    """Gives back what it is sent; does first what the request's text names."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.errors: dict[bytes, Exception] = {}
        self.cancelled = asyncio.Event()
        self.begun = asyncio.Event()

    async def _answer(self, request: bytes, call: Call) -> bytes:
        self.calls.append(call)
        self.begun.set()
        if request in self.errors:
            raise self.errors[request]
        if request == b"wait":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return request

    @raw
    async def predict(self, request: bytes, call: Call) -> bytes:
        call.trailers.append(("x-penstock-told", "yes"))
        return await self._answer(request, call)

    @raw
    async def generate(self, request: bytes, call: Call) -> AsyncIterator[bytes]:
        yield b"first"
        yield await self._answer(request, call)

    @raw
    async def predict_stream(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await self._answer(request, call)


async def ask(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


class Caller:
    """Sends bytes to one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def predict(self, request: bytes = b"x", method: str = METHOD + "Predict", **options: Any) -> Any:
        send: Any = self.channel.unary_unary(method)
        return send(request, **options)

    def generate(self, request: bytes = b"x", **options: Any) -> Any:
        send: Any = self.channel.unary_stream(METHOD + "Generate")
        return send(request, **options)


@asynccontextmanager
async def serving(
    servicer: object,
    gates: Sequence[Gate] = (),
    concerns: Sequence[Concern] = (),
    prepare: Callable[[grpc.aio.Server], object] = lambda server: None,
) -> AsyncIterator[Caller]:
    server = build(CallInterceptor(gates, concerns), [(PREDICT, servicer)])
    prepare(server)
    port = bind(server, "127.0.0.1:0", "--port")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as channel:
            yield Caller(channel)
    finally:
        await server.stop(0)
