"""Where calls come in when there are several registries: served here if this one leads, else passed on to who does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from ..errors import RegistryUnavailable
from ..rpc.call import Call, Gate, current_call
from ..rpc.channel import connect
from ..rpc.forwarding import UNREACHABLE, answered, unreachable_or, uploaded
from .audit import PRINCIPAL_KEY
from .servicer import SERVICE

PASSED_ON = "x-penstock-passed-on"
"""With calls from another registry: they go no further, or two that each believe in the other would never stop."""
_SENT_ON = ("authorization", PRINCIPAL_KEY)
_TIMEOUT_S = 30.0

Requests = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Leading:
    """What serves while this registry leads."""

    handlers: Mapping[str, Any]
    """By the methods' names."""
    holds: Callable[[], bool]
    """Whether it still does, by the clock: one that was frozen must not answer as if nothing had happened."""
    gate: Gate | None
    """Who may call; None: everybody. Of a call that is passed on the other registry asks."""


class Door:
    """At first nobody leads."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        """Set when it was known for the first time who leads."""
        self._leading: Leading | None = None
        self._channel: grpc.aio.Channel | None = None
        self._address = ""

    async def lead(self, leading: Leading) -> None:
        """Serve here."""
        await self.follow("")
        self._leading = leading
        self.known.set()

    async def follow(self, address: str) -> None:
        """Pass on to there; empty: to nobody."""
        self._leading = None
        if address == self._address:
            return
        gone, self._channel, self._address = self._channel, None, address
        if address:
            self._channel = connect(address)
            self.known.set()
        if gone is not None:
            await gone.close()

    def gate(self, call: Call) -> None:
        """See rpc.call.Gate. Of what is to be passed on nothing is asked here."""
        leading = self._leading
        if leading is not None and leading.gate is not None:
            leading.gate(call)

    def handler(self) -> grpc.GenericRpcHandler:
        """Handlers of all methods of the registry."""
        methods: dict[str, Any] = {}
        for method in SERVICE.methods:
            path = f"/{SERVICE.full_name}/{method.name}"
            if method.server_streaming:
                methods[method.name] = grpc.unary_stream_rpc_method_handler(self._unary_stream(method.name, path))
            elif method.client_streaming:
                methods[method.name] = grpc.stream_unary_rpc_method_handler(self._stream_unary(method.name, path))
            else:
                methods[method.name] = grpc.unary_unary_rpc_method_handler(self._unary_unary(method.name, path))
        return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)

    def _unary_unary(self, name: str, path: str) -> Any:
        async def serve(request: bytes, context: object) -> bytes:
            with self._handler(name) as here:
                if here is not None:
                    answer = await here.unary_unary(here.request_deserializer(request), context)
                    return here.response_serializer(answer)  # type: ignore[no-any-return]
                return await answered(self._there().unary_unary(path)(request, **_options(_TIMEOUT_S)))

        return serve

    def _stream_unary(self, name: str, path: str) -> Any:
        async def serve(requests: Requests, context: object) -> bytes:
            with self._handler(name) as here:
                if here is not None:
                    parsed = (here.request_deserializer(request) async for request in requests)
                    answer = await here.stream_unary(parsed, context)
                    return here.response_serializer(answer)  # type: ignore[no-any-return]
                return await uploaded(self._there().stream_unary(path), requests, **_options())

        return serve

    def _unary_stream(self, name: str, path: str) -> Any:
        async def serve(request: bytes, context: object) -> Requests:
            with self._handler(name) as here:
                if here is not None:
                    async for answer in here.unary_stream(here.request_deserializer(request), context):
                        yield here.response_serializer(answer)
                    return
                call = self._there().unary_stream(path)(request, **_options())
                try:
                    async for message in call:
                        yield message
                except grpc.aio.AioRpcError as error:
                    raise unreachable_or(error) from error
                finally:
                    call.cancel()

        return serve

    def _handler(self, name: str) -> _Serving:
        leading = self._leading
        if leading is not None and not leading.holds():
            raise RegistryUnavailable("this registry leads no longer; ask again")
        if leading is not None and leading.gate is not None:
            leading.gate(current_call.get())  # again: who came while it did not lead has shown no key here
        return _Serving(leading, name)

    def _there(self) -> Any:
        if self._channel is None or PASSED_ON in current_call.get().metadata:
            raise RegistryUnavailable("no registry leads at the moment; ask again")
        return self._channel


class _Serving:
    """One call, here (its handler) or elsewhere (None). What becomes of it if the lead is lost meanwhile is said."""

    def __init__(self, leading: Leading | None, name: str) -> None:
        self._leading = leading
        self._name = name

    def __enter__(self) -> Any:
        return self._leading.handlers[self._name] if self._leading else None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or not task.cancelling()):
            raise RegistryUnavailable(UNREACHABLE) from error  # the channel was closed: another one leads
        if isinstance(error, Exception) and self._leading is not None and not self._leading.holds():
            raise RegistryUnavailable("this registry leads no longer; ask again") from error


def _options(timeout_s: float = math.inf) -> dict[str, Any]:
    call = current_call.get()
    left = min(call.time_remaining(), timeout_s)
    sent = tuple((key, call.metadata[key]) for key in _SENT_ON if key in call.metadata)
    metadata = (*sent, ("x-request-id", call.request_id), (PASSED_ON, "1"))
    return {"timeout": None if math.isinf(left) else left, "metadata": metadata}
