"""grpc.health.v1 for every server: Check, Watch and List over a table of statuses.

Of our own, because the library's aio servicer forgets the other watchers of a service when one of them leaves, waits
for the slowest watcher before anything else may change, and has no List.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2 as pb

from ..errors import NotFound
from .call import Call, current_call

HEALTH = "grpc.health.v1.Health"
MODELS = "models/"
"""In front of a model's name, where a model is asked for."""

_SERVING = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)
_NOT_SERVING = pb.HealthCheckResponse(status=pb.HealthCheckResponse.NOT_SERVING)
_UNKNOWN = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)


class Health:
    """The statuses of a process (""), of its services and of what else has a name. Used on the event loop."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._draining = False
        self._changed = asyncio.Event()

    def update(self, statuses: dict[str, bool]) -> None:
        """Replace the table: what is not in it is unknown from now on."""
        if statuses != self._serving and not self._draining:
            self._replace(dict(statuses))

    def drain(self) -> None:
        """Everything is NOT_SERVING from now on, so that watching clients go elsewhere."""
        self._replace(dict.fromkeys(self._serving, False))
        self._draining = True

    def _replace(self, statuses: dict[str, bool]) -> None:
        self._serving = statuses
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> pb.HealthCheckResponse:
        serving = self._serving.get(service)
        if serving is None:
            return _UNKNOWN
        return _SERVING if serving else _NOT_SERVING

    async def check(self, request: pb.HealthCheckRequest, _call: Call) -> pb.HealthCheckResponse:
        """The status now."""
        if request.service not in self._serving:
            text = f"there is nothing here called {request.service[:160]!a}"
            raise NotFound(text, resource=("service", request.service[:160]))
        return self._status(request.service)

    async def watch(self, request: pb.HealthCheckRequest, _call: Call) -> AsyncIterator[pb.HealthCheckResponse]:
        """The status now and after each change; a slow reader misses what lay in between."""
        last = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status is not last:
                yield status
                last = status
            await changed.wait()

    async def list_all(self, _request: bytes, call: Call) -> bytes:
        """All statuses, as the bytes of a HealthListResponse (old releases of the library lack the class).

        Of models only those whose status the caller may see.
        """
        may = call.principal.may
        shown = (n for n in self._serving if not n.startswith(MODELS) or may("status", n.removeprefix(MODELS)))
        return b"".join(_field(1, _entry(name, self._status(name))) for name in shown)

    def handler(self) -> grpc.GenericRpcHandler:
        """For a server."""
        read, write = pb.HealthCheckRequest.FromString, pb.HealthCheckResponse.SerializeToString
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(lambda r, _: self.check(r, current_call.get()), read, write),
            "Watch": grpc.unary_stream_rpc_method_handler(lambda r, _: self.watch(r, current_call.get()), read, write),
            "List": grpc.unary_unary_rpc_method_handler(lambda r, _: self.list_all(r, current_call.get())),
        }
        return grpc.method_handlers_generic_handler(HEALTH, methods)


def _entry(name: str, status: pb.HealthCheckResponse) -> bytes:
    """A map's entry: key in field 1, value in field 2."""
    return _field(1, name.encode()) + _field(2, status.SerializeToString())


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field, of at most 16,383 bytes: a name is short."""
    size = len(content)
    length = bytes((size,)) if size < 128 else bytes((size & 0x7F | 0x80, size >> 7))
    return bytes((number << 3 | 2,)) + length + content
