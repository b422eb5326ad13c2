"""The control service through the gateway: one address is enough for a person. Bytes go on untouched, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from penstock.v1 import registry_pb2

from ..errors import Internal, PenstockError, RegistryUnavailable
from ..rpc.call import Call, current_call
from ..rpc.errors import from_rpc_error

SERVICE = registry_pb2.DESCRIPTOR.services_by_name["RegistryService"]
FORWARDED = (
    "Publish",
    "Deploy",
    "Undeploy",
    "SetAlias",
    "DeleteAlias",
    "RollbackAlias",
    "ListAliasChanges",
    "DrainWorker",
    "CreateKey",
    "ListKeys",
    "RevokeKey",
    "PrepareUpload",
    "DeleteVersion",
    "CollectGarbage",
)
"""What operators call. The rest is for Penstock's own processes, which go to the registry itself."""

_TIMEOUT = 30.0
_UPLOAD_TIMEOUT = 24 * 3600.0


def forwarder(channel: grpc.aio.Channel, api_key: str) -> grpc.GenericRpcHandler:
    """Handlers that send RegistryService's control methods on to the registry.

    Args:
        channel: to the registry; owned by the caller.
        api_key: the gateway's own. The caller's rights were checked at the door, and its name is sent along.
    """
    methods: dict[str, Any] = {}
    for name in FORWARDED:
        method = SERVICE.methods_by_name[name]
        path = f"/{SERVICE.full_name}/{name}"
        if method.client_streaming:
            methods[name] = grpc.stream_unary_rpc_method_handler(_stream_unary(channel.stream_unary(path), api_key))
        else:
            methods[name] = grpc.unary_unary_rpc_method_handler(_unary_unary(channel.unary_unary(path), api_key))
    return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


def _unary_unary(send: Any, api_key: str) -> Callable[[bytes, object], Any]:
    async def forward(request: bytes, _context: object) -> bytes:
        call = current_call.get()
        return await _answer(send(request, timeout=_timeout(call, _TIMEOUT), metadata=_metadata(call, api_key)))

    return forward


def _stream_unary(send: Any, api_key: str) -> Callable[[AsyncIterator[bytes], object], Any]:
    async def forward(requests: AsyncIterator[bytes], _context: object) -> bytes:
        call = current_call.get()
        header: list[bytes] = []
        options = {"timeout": _timeout(call, _UPLOAD_TIMEOUT), "metadata": _metadata(call, api_key)}
        try:
            return await _answer(send(_keep_first(requests, header), **options))
        except Internal as error:
            if error.reason or not header:
                raise
            # The registry answers as soon as it has the header if it needs no more; grpc.aio, when that comes in the
            # middle of its own write, says INTERNAL instead of the answer. The header alone is answered in the same
            # way.
            return await _answer(send(_keep_first(_each(header), []), **options))

    return forward


async def _keep_first(requests: AsyncIterator[bytes], first: list[bytes]) -> AsyncIterator[bytes]:
    async for request in requests:
        if not first:
            first.append(request)
        yield request


async def _each(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


async def _answer(call: Any) -> bytes:
    try:
        return await call  # type: ignore[no-any-return]
    except grpc.aio.AioRpcError as error:
        known: PenstockError = from_rpc_error(error)
        if known.reason or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise known from error
        raise RegistryUnavailable("the registry cannot be reached; predictions go on, changes do not") from error


def _timeout(call: Call, default: float) -> float:
    return min(call.time_remaining(), default)


def _metadata(call: Call, api_key: str) -> tuple[tuple[str, str], ...]:
    own = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    return (*own, ("x-request-id", call.request_id), ("x-penstock-principal", call.principal.name))
