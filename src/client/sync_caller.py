"""The connection of the blocking client, and one call on it: its attempts, their deadline, and what it raises."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from typing import Any, Self

import grpc

from penstock.v1 import model_status_pb2_grpc as status_rpc

from .connection import Headers, connection, failure
from .methods import Methods
from .prediction import Metadata
from .retry import Attempts


class Caller:
    """A channel with the settings of a client; what the arguments mean is said at `Client`."""

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
    ) -> None:
        self._own = own = connection(address, api_key, timeout, retries, metadata, channel_options)
        if credentials is None:
            self._channel = grpc.insecure_channel(own.address, options=own.options)
        else:
            self._channel = grpc.secure_channel(own.address, credentials, options=own.options)
        self._methods = Methods(self._channel)
        self._statuses = status_rpc.ModelStatusServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Calls still in flight raise Cancelled."""
        self._channel.close()

    def _unary(self, method: Any, message: object, attempts: Attempts, headers: Headers) -> tuple[Any, Metadata]:
        """Call a method that answers once; gives the answer and its trailers, or raises the last attempt's error."""
        while True:
            try:
                answer, call = method.with_call(message, timeout=attempts.timeout(time.monotonic()), metadata=headers)
                return answer, call.trailing_metadata()
            except grpc.RpcError as error:
                _pause(attempts, error)

    def _streamed(
        self, method: Any, message: object, attempts: Attempts, headers: Headers
    ) -> Generator[Any, None, None]:
        """Call a method that answers many times; tried again only while there was no answer. Closing it cancels."""
        begun = False
        while True:
            call = method(message, timeout=attempts.timeout(time.monotonic()), metadata=headers)
            try:
                for answer in call:
                    begun = True
                    yield answer
                return
            except grpc.RpcError as error:
                _pause(attempts, error, final=begun)
            finally:
                call.cancel()


def _pause(attempts: Attempts, error: grpc.RpcError, final: bool = False) -> None:
    """Wait for the next attempt; raise if there is none."""
    known = failure(error)
    delay = None if final else attempts.delay(known, time.monotonic())
    if delay is None:
        raise known from error
    time.sleep(delay)
