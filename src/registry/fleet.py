"""The workers: those that load, which only memory knows, and those with a lease, which the store knows, too."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import InvalidArgument, NotFound, StorageFull, Unavailable, Violation
from .leases import Leases
from .names import quoted, refuse, worker_id_violations
from .state import LoadReport, State, Worker
from .store import Store
from .watch import Hub, Kind

LOAD_TTL_S = 600.0
"""After so long without a word a load counts as dead, for the case that its supervisor died with it."""
MAX_ERROR = 2000
_MOST_PATH = 107

log = logging.getLogger("penstock.registry")


class Fleet:
    """All workers, and why the last load of a version failed. `now` is in monotonic seconds."""

    def __init__(self, store: Store, hub: Hub, leases: Leases) -> None:
        self._store = store
        self._hub = hub
        self._leases = leases
        self._leased: dict[str, Worker] = {}
        self._loads: dict[str, tuple[Worker, float]] = {}
        self._errors: dict[tuple[str, int], str] = {}

    @property
    def ttl_s(self) -> float:
        """How long a lease lasts without being renewed."""
        return self._leases.ttl_s

    def restore(self, workers: Iterable[Worker], now: float) -> None:
        """Take those that had a lease when the registry ended; each has a whole TTL to show up."""
        for worker in workers:
            self._leases.grant(worker.worker_id, worker.epoch, now, drain=worker.state is State.UNLOADING)
            self._put(worker)

    def states(self, name: str) -> dict[int, list[State]]:
        """The states of a model's workers, by version."""
        found: dict[int, list[State]] = {}
        for worker in (*self._leased.values(), *(load for load, _ in self._loads.values())):
            if worker.name == name:
                found.setdefault(worker.version, []).append(worker.state)
        return found

    def load_error(self, name: str, version: int) -> str:
        """Why the last load failed; empty if it did not, or if another has begun."""
        return self._errors.get((name, version), "")

    def report_load(self, worker: Worker, error: str, now: float) -> None:
        """Note how a load goes, or that it failed.

        Raises:
            InvalidArgument: it is neither LOADING nor END with an error.
        """
        refuse(worker_id_violations("worker.worker_id", worker.worker_id))
        if error:
            self._loads.pop(worker.worker_id, None)
            self._errors[worker.name, worker.version] = error[:MAX_ERROR]
            if worker.worker_id not in self._leased:
                self._hub.remove(Kind.WORKER, worker.worker_id)
            return
        if worker.state is not State.LOADING:
            raise InvalidArgument("a load is LOADING, or END with an error", violations=[_BAD_STATE])
        if worker.worker_id in self._leased:
            return  # a report that was overtaken by the registration
        if worker.worker_id not in self._loads:
            self._errors.pop((worker.name, worker.version), None)
        worker = replace(worker, epoch=0, progress=_share(worker.progress))
        self._loads[worker.worker_id] = (worker, now)
        self._hub.put(Kind.WORKER, worker.worker_id, worker)

    def check(self, worker: Worker) -> None:
        """Refuse what cannot be registered.

        Raises:
            InvalidArgument: no id or no address.
        """
        violations = worker_id_violations("worker.worker_id", worker.worker_id)
        if not 1 <= len(worker.address) <= 1024:
            violations.append(Violation("worker.address", "must say where gateways reach the worker, as a gRPC target"))
        if len(worker.local_address) > _MOST_PATH:
            violations.append(
                Violation("worker.local_address", f"the path of a unix socket has at most {_MOST_PATH} bytes")
            )
        refuse(violations)

    async def register(self, worker: Worker, now: float) -> Worker:
        """Give a lease to a worker that `check` found to be right; the worker with its epoch."""
        worker = await self._store.grant(replace(worker, state=State.AVAILABLE, stage="", progress=0.0))
        self._leases.grant(worker.worker_id, worker.epoch, now)
        self._loads.pop(worker.worker_id, None)
        self._errors.pop((worker.name, worker.version), None)
        self._put(worker)
        return worker

    def renew(self, worker_id: str, epoch: int, report: LoadReport, now: float) -> tuple[Worker, bool]:
        """Prolong a lease; the worker, and whether it is to drain. Raises LeaseFenced. Writes nothing to the store."""
        lease = self._leases.renew(worker_id, epoch, now)
        worker = replace(self._leased[worker_id], report=report)
        self._put(worker)
        return worker, lease.drain

    async def note_draining(self, worker: Worker) -> Sequence[Worker]:
        """A worker with a lease has begun to drain by itself; the worker, if that is news."""
        known = self._leased.get(worker.worker_id)
        if known is None or known.epoch != worker.epoch or known.state is State.UNLOADING:
            return ()  # while it waited for its turn the lease has ended, or a successor has taken the name
        worker = replace(worker, state=State.UNLOADING)
        try:
            await self._store.save_worker(worker)
        except (StorageFull, Unavailable):
            text = "the store takes nothing: that %s drains is known only until the registry ends"
            log.warning(text, worker.worker_id)
        self._leases.drain(worker.worker_id)
        self._put(worker)
        return (worker,)

    async def drain(self, worker_id: str) -> Sequence[Worker]:
        """Tell a worker, at its next renewal, to drain and end; that one.

        Raises:
            NotFound: no such worker has a lease.
        """
        worker = self._leased.get(worker_id)
        if worker is None:
            text = f"there is no worker {quoted(worker_id)} with a lease; `penstock status` lists those there are"
            raise NotFound(text, resource=("worker", quoted(worker_id)))
        worker = replace(worker, state=State.UNLOADING)
        await self._store.save_worker(worker)
        self._leases.drain(worker_id)
        self._put(worker)
        return (worker,)

    async def revoke(self, worker_id: str) -> Sequence[Worker]:
        """End a lease or a load; the worker that it was, if any."""
        load, _ = self._loads.get(worker_id, (None, 0.0))
        worker = self._leased.get(worker_id, load)
        self._leases.revoke(worker_id)
        await self._forget([worker_id])
        return () if worker is None else (worker,)

    async def expire(self, now: float) -> list[Worker]:
        """End what was not renewed in time; the workers that they were."""
        over = self._leases.expire(now)
        silent = [worker_id for worker_id, (_, heard) in self._loads.items() if now - heard >= LOAD_TTL_S]
        gone = [self._leased[worker_id] for worker_id in over] + [self._loads[worker_id][0] for worker_id in silent]
        await self._forget([*over, *silent])
        return gone

    def prolong(self, seconds: float) -> None:
        """Do not hold against the workers that the registry itself stood still."""
        self._leases.prolong(seconds)

    def _put(self, worker: Worker) -> None:
        self._leased[worker.worker_id] = worker
        self._hub.put(Kind.WORKER, worker.worker_id, worker)

    async def _forget(self, worker_ids: Sequence[str]) -> None:
        """First in the store, so that all that followers hear of it they hear at once."""
        try:
            if leased := [worker_id for worker_id in worker_ids if worker_id in self._leased]:
                await self._store.drop_workers(leased)
        except (StorageFull, Unavailable):
            # They come back with the next start of the registry, for one TTL: that is no reason to list the dead now.
            log.warning("the store takes nothing: leases that ended are still in it")
        for worker_id in worker_ids:
            self._leased.pop(worker_id, None)
            self._loads.pop(worker_id, None)
            self._hub.remove(Kind.WORKER, worker_id)


_BAD_STATE = Violation("worker.state", "must be MODEL_STATE_LOADING, or MODEL_STATE_END together with `error`")


def _share(progress: float) -> float:
    return 0.0 if math.isnan(progress) else min(max(progress, 0.0), 1.0)
