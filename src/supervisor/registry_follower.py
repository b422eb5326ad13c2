"""What the supervisor hears from the registry, and says to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from .plan import Want

_TIMEOUT = 2.0
_RECONNECT = 0.2
"""Seconds: the registry is a child on the same host, and is back at once."""

log = logging.getLogger("penstock.supervisor")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a supervisor knows of a load that failed."""

    error: str
    """Empty: the worker has said it itself."""
    tries: int
    """So many have failed in a row."""
    next_in: float | None
    """Seconds to the next one; None: there is none."""


class RegistryFollower:
    """Follows the watch stream until cancelled; keeps the last known wishes when the registry is gone."""

    def __init__(self, channel: grpc.aio.Channel, api_key: str) -> None:
        self._stub = RegistryServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._models: dict[str, pb.ModelRecord] = {}
        self._workers: dict[str, pb.WorkerRecord] = {}
        self._leased: set[str] = set()
        self._listener: Callable[[], None] = lambda: None
        self.known = False
        """Whether the registry was ever heard."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call this after every change."""
        self._listener = listener

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                async for change in self._stub.Watch(pb.WatchRequest(), metadata=self._metadata):
                    self._apply(change)
            except grpc.aio.AioRpcError as error:
                log.warning("the registry cannot be followed (%s)", error.code().name)
            await asyncio.sleep(_RECONNECT)

    def _apply(self, change: pb.WatchResponse) -> None:
        if change.snapshot:
            self._models, self._workers = {}, {}
        self._models |= {model.name: model for model in change.models}
        self._workers |= {worker.worker_id: worker for worker in change.workers}
        for worker_id in change.removed_workers:
            self._workers.pop(worker_id, None)
        self._leased |= {worker.worker_id for worker in change.workers if worker.epoch}
        self.known = True
        self._listener()

    def wants(self) -> list[Want]:
        """Every version of which there should be a worker."""
        return [
            Want(name, version.manifest.version, version.desired_instances, version.device, version.deployment)
            for name, model in self._models.items()
            for version in model.versions
            if version.desired_instances
        ]

    def is_leaving(self, worker_id: str) -> bool:
        """Whether a worker drains, or had a lease and has it no longer: it gave it back, or does not move."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return worker_id in self._leased
        return worker.state == model_pb2.MODEL_STATE_UNLOADING

    async def revoke(self, worker_id: str) -> None:
        """A worker's process is gone: its lease need not be waited for."""
        self._leased.discard(worker_id)
        await self._say(
            self._stub.RevokeLease(
                pb.RevokeLeaseRequest(worker_id=worker_id), timeout=_TIMEOUT, metadata=self._metadata
            )
        )

    async def report_failure(self, worker_id: str, name: str, version: int, failure: Failure) -> None:
        """A load failed, or a version is given up: what the worker could not say itself."""
        worker = pb.WorkerRecord(worker_id=worker_id, name=name, version=version, state=model_pb2.MODEL_STATE_END)
        request = pb.ReportLoadRequest(worker=worker, error=failure.error, tries=failure.tries)
        if failure.next_in is not None:
            request.next.FromMilliseconds(round((time.time() + failure.next_in) * 1000))
        await self._say(self._stub.ReportLoad(request, timeout=_TIMEOUT, metadata=self._metadata))

    async def _say(self, call: Awaitable[object]) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            log.warning("the registry did not hear it (%s); leases end by themselves", error.code().name)
