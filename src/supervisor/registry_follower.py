"""What the supervisor hears from the registry, and says to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
import grpc.aio

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..lineage import Lineage
from ..rpc.following import follow
from ..rpc.registries import Registries
from .plan import Want

_TIMEOUT = 2.0

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
    """Follows the watch stream until cancelled; keeps the last known wishes when the registry is gone.

    A registry that does not know what was known before (see lineage) may ask for more workers, and ends none.
    """

    def __init__(self, registries: Registries, api_key: str, random: Random | None = None) -> None:
        self._registries = registries
        self._random = random or Random()
        self._api_key = api_key
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._models: dict[str, pb.ModelRecord] = {}
        self._workers: dict[str, pb.WorkerRecord] = {}
        self._leased: set[str] = set()
        self._disowned: set[str] = set()
        self._lineage = Lineage()
        self._listener: Callable[[], None] = lambda: None
        self.known = False
        """Whether the registry was ever heard."""

    @property
    def may_stop(self) -> bool:
        """Whether what the registry does not ask for is not wanted: it knows all that was known before."""
        return self._lineage.believed

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call this after every change."""
        self._listener = listener

    async def run(self) -> None:
        """Watch for ever."""
        await follow(self._registries, self._api_key, self._random, take=self.apply, lost=_log_lost)

    def apply(self, change: pb.WatchResponse) -> None:
        """Take in what the registry says."""
        believed, before = self.may_stop, self._lineage.registry_id
        confirmed = self._lineage.heard(
            change.registry_id, change.revision, snapshot=change.snapshot, confirmed=change.confirmed_revision
        )
        if change.snapshot:
            self._models, self._workers = {}, {}
        self._models |= {model.name: model for model in change.models}
        self._workers |= {worker.worker_id: worker for worker in change.workers}
        for worker_id in change.removed_workers:
            self._workers.pop(worker_id, None)
        if confirmed and before != self._lineage.registry_id:
            self._disowned |= self._leased - self._workers.keys()
        self._leased |= {worker.worker_id for worker in change.workers if worker.epoch}
        if believed and not self.may_stop:
            log.error("the registry has lost what it knew, or is another one: no worker is stopped for its sake")
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
            return worker_id in self._leased and self.may_stop
        return worker.state == model_pb2.MODEL_STATE_UNLOADING

    def is_disowned(self, worker_id: str) -> bool:
        """Whether a worker is another registry's, and that one is gone for good: an operator has confirmed it."""
        return worker_id in self._disowned

    async def revoke(self, worker_id: str) -> None:
        """A worker's process is gone: its lease need not be waited for."""
        self._leased.discard(worker_id)
        self._disowned.discard(worker_id)
        request = pb.RevokeLeaseRequest(worker_id=worker_id)
        await self._say(self._stub.RevokeLease(request, timeout=_TIMEOUT, metadata=self._metadata))

    async def report_failure(self, worker_id: str, name: str, version: int, failure: Failure) -> None:
        """A load failed, or a version is given up: what the worker could not say itself."""
        worker = pb.WorkerRecord(worker_id=worker_id, name=name, version=version, state=model_pb2.MODEL_STATE_END)
        request = pb.ReportLoadRequest(worker=worker, error=failure.error, tries=failure.tries)
        if failure.next_in is not None:
            request.next.FromMilliseconds(round((time.time() + failure.next_in) * 1000))
        await self._say(self._stub.ReportLoad(request, timeout=_TIMEOUT, metadata=self._metadata))

    @property
    def _stub(self) -> RegistryServiceStub:
        return RegistryServiceStub(self._registries.channel)

    async def _say(self, call: Any) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            log.warning("the registry did not hear it (%s); leases end by themselves", error.code().name)


def _log_lost(why: str) -> None:
    log.warning("the registry cannot be followed (%s)", why)
