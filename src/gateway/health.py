"""grpc.health.v1: the process (""), each service, and each model under `models/NAME`."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from .balancer import Balancer
from .directory import Directory
from .peek import DEFAULT_ALIAS
from .wire import wrap

HEALTH = "grpc.health.v1.Health"

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ModelHealth(health.aio.HealthServicer):
    """The library's servicer, kept in step with the directory; and List, which old releases of the library lack.

    A model is SERVING when a worker of the version that its alias `stable` means is connected.
    """

    def __init__(self, directory: Directory, balancer: Balancer, services: list[str]) -> None:
        super().__init__()
        self._directory = directory
        self._balancer = balancer
        self._services = ["", *services]
        self._statuses: dict[str, Any] = {}
        self._draining = False

    async def start(self) -> None:
        """From now on the process and its services are SERVING."""
        for service in self._services:
            await self._note(service, SERVING)
        await self.refresh()

    async def refresh(self) -> None:
        """Bring every model up to date; cheap where nothing changed."""
        for name, route in self._directory.routes.items():
            version = route.aliases.get(DEFAULT_ALIAS, 0)
            serving = version and self._balancer.ready((name, version))
            await self._note(f"models/{name}", SERVING if serving else NOT_SERVING)

    async def drain(self) -> None:
        """Everything is NOT_SERVING from now on, so that watching clients go elsewhere."""
        self._draining = True
        for service in self._statuses:
            self._statuses[service] = NOT_SERVING
        await self.enter_graceful_shutdown()

    async def _note(self, service: str, status: Any) -> None:
        if not self._draining and self._statuses.get(service) != status:
            self._statuses[service] = status
            await self.set(service, status)

    async def list_all(self, _request: bytes, _context: object) -> bytes:
        """All statuses at once, as the bytes of a HealthListResponse: a map of HealthCheckResponse in field 1."""
        statuses = ((name, health_pb2.HealthCheckResponse(status=s)) for name, s in self._statuses.items())
        entries = (wrap(1, name.encode()) + wrap(2, message.SerializeToString()) for name, message in statuses)
        return b"".join(wrap(1, entry) for entry in entries)


def health_handler(servicer: ModelHealth) -> grpc.GenericRpcHandler:
    """Check, Watch and List of grpc.health.v1."""
    read = health_pb2.HealthCheckRequest.FromString
    write = health_pb2.HealthCheckResponse.SerializeToString
    methods: dict[str, Any] = {
        "Check": grpc.unary_unary_rpc_method_handler(servicer.Check, read, write),
        "Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, read, write),
        "List": grpc.unary_unary_rpc_method_handler(servicer.list_all),
    }
    return grpc.method_handlers_generic_handler(HEALTH, methods)
