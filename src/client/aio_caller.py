"""The connection of the awaiting client, and one call on it: its attempts, their deadline, and what it raises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Self

import grpc
import grpc.aio

from penstock.v1 import model_status_pb2_grpc as status_rpc

from ..errors import PenstockError
from .aio_shared import SharedLane
from .connection import Headers, Priority, connection, failure
from .methods import Methods
from .prediction import Metadata
from .retry import Attempts


class AsyncCaller:
    """A channel with the settings of a client; what the arguments mean is said at `AsyncClient`."""

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = 30.0,
        retries: int = 0,
        metadata: Iterable[tuple[str, str | bytes]] = (),
        channel_options: Iterable[tuple[str, Any]] = (),
        coalesce: bool = False,
    ) -> None:
        self._own = own = connection(address, api_key, timeout, retries, metadata, channel_options)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(own.address, options=own.options)
        else:
            self._channel = grpc.aio.secure_channel(own.address, credentials, options=own.options)
        self._methods = Methods(self._channel)
        self._statuses = status_rpc.ModelStatusServiceStub(self._channel)
        self._coalesce = coalesce
        self._lanes: dict[Priority, SharedLane] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection. Calls still in flight are cancelled."""
        await asyncio.gather(*(lane.aclose() for lane in self._lanes.values()))
        await self._channel.close()

    def _lane(self, priority: Priority) -> SharedLane:
        """The stream for questions of one priority."""
        if priority not in self._lanes:
            self._own.stream_headers("", priority)  # raises for what is none

            def open_call(request_id: str) -> Any:
                return self._methods.predict_stream(metadata=self._own.stream_headers(request_id, priority))

            self._lanes[priority] = SharedLane(open_call)
        return self._lanes[priority]

    async def _shared(self, message: bytes, attempts: Attempts, lane: SharedLane, split_key: str) -> tuple[Any, str]:
        """Ask on a shared stream; gives the answer and its request id, or raises the last attempt's error."""
        while True:
            try:
                return await lane.ask(message, attempts.timeout(time.monotonic()), split_key)
            except PenstockError as error:
                delay = attempts.delay(error, time.monotonic())
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    async def _unary(self, method: Any, message: object, attempts: Attempts, headers: Headers) -> tuple[Any, Metadata]:
        """Call a method that answers once; gives the answer and its trailers, or raises the last attempt's error."""
        while True:
            try:
                call = method(message, timeout=attempts.timeout(time.monotonic()), metadata=headers)
                return await call, await call.trailing_metadata()
            except grpc.RpcError as error:
                await _pause(attempts, error)

    async def _streamed(
        self, method: Any, message: object, attempts: Attempts, headers: Headers
    ) -> AsyncGenerator[Any, None]:
        """Call a method that answers many times; tried again only while there was no answer. Closing it cancels."""
        begun = False
        while True:
            call = method(message, timeout=attempts.timeout(time.monotonic()), metadata=headers)
            try:
                async for answer in call:
                    begun = True
                    yield answer
                return
            except grpc.RpcError as error:
                await _pause(attempts, error, final=begun)
            finally:
                call.cancel()


async def _pause(attempts: Attempts, error: grpc.RpcError, final: bool = False) -> None:
    """Wait for the next attempt; raise if there is none."""
    known = failure(error)
    delay = None if final else attempts.delay(known, time.monotonic())
    if delay is None:
        raise known from error
    await asyncio.sleep(delay)
