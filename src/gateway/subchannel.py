"""One connection to one worker: sends bytes, counts what is in flight, knows whether it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from ..errors import DeadlineExceeded, EmptyResponse, Internal, PenstockError, WorkerDraining, WorkerLost
from ..rpc.channel import connect
from ..rpc.errors import from_rpc_error

_PREDICT = "/penstock.v1.WorkerService/Predict"
_GENERATE = "/penstock.v1.WorkerService/Generate"
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A worker as the registry knows it. A worker that registers anew (a greater epoch) is another endpoint."""

    worker_id: str
    epoch: int
    name: str
    version: int
    address: str
    draining: bool
    """It still answers, but nothing new should be sent while there is another."""


class Subchannel:
    """Owned by the balancer, which closes it. `on_change` is called when `ready` has changed."""

    def __init__(self, endpoint: Endpoint, on_change: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.in_flight = 0
        self.ready = False
        self._on_change = on_change
        self._channel = connect(endpoint.address)
        self._predict: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_PREDICT)
        self._generate: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(_GENERATE)
        self._watching = asyncio.create_task(self._watch())

    async def predict(self, request: bytes, timeout: float | None, metadata: Metadata) -> tuple[bytes, Metadata]:
        """Send a request's bytes; returns the answer's bytes and the worker's trailers. Cancelling it cancels the call.

        Raises:
            PenstockError: the worker's own error, or WorkerLost, WorkerDraining, DeadlineExceeded, EmptyResponse.
        """
        self.in_flight += 1
        try:
            call = self._predict(request, timeout=timeout, metadata=self._epoch(metadata))
            response = await call
            trailers = await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        finally:
            self.in_flight -= 1
        if response is None:
            raise EmptyResponse("the worker answered without a message")
        return response, tuple(trailers)

    async def generate(self, request: bytes, timeout: float | None, metadata: Metadata) -> AsyncGenerator[bytes, None]:
        """Send a request's bytes and give on each answer's bytes. Raises as `predict` does."""
        call = self._generate(request, timeout=timeout, metadata=self._epoch(metadata))
        self.in_flight += 1
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        finally:
            call.cancel()
            self.in_flight -= 1

    def _epoch(self, metadata: Metadata) -> Metadata:
        return (("x-penstock-epoch", str(self.endpoint.epoch)), *metadata)

    def _translated(self, error: grpc.aio.AioRpcError) -> PenstockError:
        known = from_rpc_error(error)
        if known.reason:
            return known  # the worker's own: it passes through unchanged
        code = error.code()
        if code is grpc.StatusCode.UNAVAILABLE:
            return WorkerLost("the connection to the worker broke while it held the request")
        if code is grpc.StatusCode.CANCELLED:  # not by us: a stopping server cancels what it has not begun
            return WorkerDraining("the worker ended before it ran the request")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the deadline passed before the worker answered")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return known  # a message above the limit, in the library's words
        return Internal(f"the worker answered {code.name} without a reason")

    async def _watch(self) -> None:
        """Follow the connection, and keep it up."""
        while True:
            state = self._channel.get_state(try_to_connect=True)
            self._set_ready(state is grpc.ChannelConnectivity.READY)
            await self._channel.wait_for_state_change(state)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._on_change()

    async def close(self) -> None:
        """End the connection once what is in flight is answered."""
        self._watching.cancel()
        await self._channel.close(grace=30)

    def __repr__(self) -> str:
        endpoint = self.endpoint
        state = "ready" if self.ready else "connecting"
        return f"<Subchannel {endpoint.worker_id} epoch {endpoint.epoch} {state}, {self.in_flight} in flight>"
