"""The control service through the gateway: one address is enough for a person. Bytes go on untouched, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from penstock.v1 import registry_pb2

from ..errors import RegistryUnavailable
from ..rpc.call import Call, current_call
from ..rpc.forwarding import answered, uploaded
from ..rpc.registries import Registries

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
    "GetModel",
    "SetPolicy",
    "ListAudit",
    "ConfirmRemovals",
    "SetSplit",
    "SetShadow",
    "StartCanary",
    "StopCanary",
    "GetTraffic",
    "PrepareUpload",
    "DeleteVersion",
    "CollectGarbage",
)
"""What operators call. The rest is for Penstock's own processes, which go to the registry itself."""

_TIMEOUT = 30.0
_UPLOAD_TIMEOUT = 24 * 3600.0


def forwarder(registries: Registries, api_key: str) -> grpc.GenericRpcHandler:
    """Handlers that send RegistryService's control methods on to the registry.

    Args:
        registries: owned by the caller.
        api_key: the gateway's own. The caller's rights were checked at the door, and its name is sent along.
    """
    methods: dict[str, Any] = {}
    for name in FORWARDED:
        method = SERVICE.methods_by_name[name]
        path = f"/{SERVICE.full_name}/{name}"
        if method.client_streaming:
            methods[name] = grpc.stream_unary_rpc_method_handler(_stream_unary(registries, path, api_key))
        else:
            methods[name] = grpc.unary_unary_rpc_method_handler(_unary_unary(registries, path, api_key))
    return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


def _unary_unary(registries: Registries, path: str, api_key: str) -> Callable[[bytes, object], Any]:
    async def forward(request: bytes, _context: object) -> bytes:
        call = current_call.get()
        channel = await registries.connected()
        send: Any = channel.unary_unary(path)
        options = {"timeout": _timeout(call, _TIMEOUT), "metadata": _metadata(call, api_key)}
        with _moving_on(registries, channel):
            return await answered(send(request, **options))

    return forward


def _stream_unary(registries: Registries, path: str, api_key: str) -> Callable[[AsyncIterator[bytes], object], Any]:
    async def forward(requests: AsyncIterator[bytes], _context: object) -> bytes:
        call = current_call.get()
        channel = await registries.connected()
        options = {"timeout": _timeout(call, _UPLOAD_TIMEOUT), "metadata": _metadata(call, api_key)}
        with _moving_on(registries, channel):
            return await uploaded(channel.stream_unary(path), requests, **options)

    return forward


@contextmanager
def _moving_on(registries: Registries, channel: grpc.aio.Channel) -> Iterator[None]:
    """Whoever asks next asks the next registry, if this one is not there or knows of none that leads."""
    try:
        yield
    except RegistryUnavailable:
        registries.failed(channel)
        raise


def _timeout(call: Call, default: float) -> float:
    return min(call.time_remaining(), default)


def _metadata(call: Call, api_key: str) -> tuple[tuple[str, str], ...]:
    own = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    return (*own, ("x-request-id", call.request_id), ("x-penstock-principal", call.principal.name))
