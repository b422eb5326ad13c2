"""grpc.health.v1: the process (""), each service, and each model under `models/NAME`."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health, health_pb2

from .balancer import Balancer
from .directory import Directory
from .peek import DEFAULT_ALIAS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ModelHealth(health.aio.HealthServicer):
    """The library's servicer, kept in step with the directory; and List, which the library does not have.

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

    async def List(self, _request: Any, _context: object) -> Any:
        """All statuses at once."""
        messages: Any = health_pb2  # the published type stubs do not know List yet
        statuses = {name: health_pb2.HealthCheckResponse(status=s) for name, s in self._statuses.items()}
        return messages.HealthListResponse(statuses=statuses)
