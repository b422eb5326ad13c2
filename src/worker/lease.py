"""Keep the lease: renew it, take a new one when it was lost, hear when to drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from penstock.v1 import model_pb2
from penstock.v1 import registry_pb2 as pb

from ..errors import LeaseFenced, PenstockError
from ..rpc.backoff import Backoff
from ..signature import Signature
from .registry_client import RegistryClient

log = logging.getLogger("penstock.worker")


class Lease:
    """The right to be sent requests.

    A registry that cannot be reached does not stop the worker: it goes on answering with its old epoch and tries again
    (static stability). Only a registry that answers LEASE_FENCED makes it take a new lease, with a greater epoch.

    Args:
        registry: where the lease is.
        worker: what to register; its `epoch` is kept up to date here.
        signature: of the loaded model.
        manifest: of the version that is loaded.
        report: makes the figures for each renewal.
        on_epoch: told the epoch of each lease.
        on_drain: called when the registry wants the worker to drain.
    """

    def __init__(
        self,
        registry: RegistryClient,
        worker: pb.WorkerRecord,
        signature: Signature,
        manifest: model_pb2.Manifest,
        *,
        report: Callable[[], pb.LoadReport],
        on_epoch: Callable[[int], None],
        on_drain: Callable[[], None],
        random: Random,
    ) -> None:
        self._registry = registry
        self._worker = worker
        self._signature = signature
        self._manifest = manifest
        self._report = report
        self._on_epoch = on_epoch
        self._on_drain = on_drain
        self._random = random
        self._ttl = 10.0
        self._draining = False

    async def take(self) -> None:
        """Register, again and again until the registry answers; one that has lost its data knows no such version."""
        backoff = Backoff(self._random)
        while True:
            try:
                registration = await self._registry.register(self._worker, self._signature, self._manifest)
                break
            except PenstockError as error:
                log.warning("cannot register with the registry: %s", error)
                await self._registry.pause(backoff.next())
        self._worker.epoch = registration.epoch
        self._ttl = registration.ttl
        self._on_epoch(registration.epoch)

    async def keep(self) -> None:
        """Renew every third of the TTL, with jitter so that workers do not march in step, until cancelled.

        A worker that drains does not take a new lease for the one that it has lost: this returns.
        """
        while True:
            await asyncio.sleep(self._ttl / 3 * self._random.uniform(0.9, 1.1))
            try:
                if await self._renew():
                    self._on_drain()
            except LeaseFenced:
                if self._draining:
                    return
                log.warning("the lease of epoch %d is lost; taking a new one", self._worker.epoch)
                await self.take()
            except PenstockError as error:
                log.warning("cannot renew the lease, and go on without: %s", error)

    async def announce_drain(self) -> None:
        """Tell gateways, through the registry, to send nothing new; every later renewal says so again."""
        self._draining = True
        try:
            await self._renew()
        except PenstockError as error:
            log.warning("cannot announce the drain: %s", error)

    async def _renew(self) -> bool:
        worker_id, epoch = self._worker.worker_id, self._worker.epoch
        return await self._registry.renew(worker_id, epoch, self._report(), draining=self._draining)
