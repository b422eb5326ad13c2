"""The registry itself: each change is decided by the rules, written to the store, then known and told to followers.

Changes take turns and run to their end: two callers never see or make half of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any

from ..signature import Signature
from .budget import Budget
from .catalogue import Catalogue
from .demand import Use
from .fleet import Fleet
from .keyring import Keyring
from .leases import TTL_S, Leases
from .names import known_version
from .placement import KEEP_WARM_S
from .rules import check_loaded
from .state import (
    AliasChange,
    Audit,
    Draft,
    Key,
    LoadFailure,
    LoadReport,
    Manifest,
    Model,
    ModelView,
    ServingPolicy,
    State,
    Version,
    Worker,
)
from .store import Store, Stored
from .traffic_control import Traffic
from .turns import Turns
from .watch import Hub

UNBOUNDED = Budget()
REVISIONS_PER_RUN = 2**32
"""Revisions begin anew, and higher, with each run, so that they grow for ever without a write for each."""


class Registry:
    """Models, aliases, workers and keys. Belongs to the event loop; raises errors of `penstock.errors`. See `opened`.

    Args:
        store: what outlives this object; the caller closes it.
        run: the store's count of starts.
        stored: what it held.
        lease_ttl_s: a worker that is silent for so long is gone.
        keep_warm_s: how long a version stays loaded after the last alias has left it.
        budget: what all workers together may have.
        wall: unix seconds, for what people read and what must outlive the process.
        monotonic: seconds, for leases.
    """

    def __init__(
        self,
        store: Store,
        run: int,
        stored: Stored,
        *,
        lease_ttl_s: float = TTL_S,
        keep_warm_s: float = KEEP_WARM_S,
        budget: Budget = UNBOUNDED,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._wall = wall
        self._monotonic = monotonic
        self._ticked = monotonic()
        self._turns = Turns()
        self.hub = Hub(run * REVISIONS_PER_RUN, stored.registry_id)
        self.fleet = Fleet(store, self.hub, Leases(lease_ttl_s))
        self.keyring = Keyring(store, self.hub, wall, stored.keys)
        self.fleet.restore(stored.workers, self._ticked)
        clocks = wall, monotonic
        self._catalogue = Catalogue(store, self.hub, self.fleet, keep_warm_s, budget, *clocks, stored.models)
        self.traffic = Traffic(self._catalogue, self._turns, wall, monotonic)

    # Models; see Catalogue

    def model(self, name: str) -> ModelView:
        """A model as it is now. Raises ModelNotFound."""
        return self._catalogue.view(name)

    def models(self) -> list[ModelView]:
        """All models as they are now."""
        return self._catalogue.views()

    def published(self, draft: Draft) -> Version | None:
        """See `Catalogue.published`."""
        return self._catalogue.published(draft)

    def alias_changes(self, name: str, alias: str) -> list[AliasChange]:
        """The changes of an alias (empty: all), the newest first, at most a thousand."""
        return self._catalogue.alias_changes(name, alias)

    async def publish(self, draft: Draft, principal: str) -> Version:
        """Add a version whose draft is checked, whose files are in place and which `published` found to be new."""
        return await self._turns.take(self._catalogue.publish(draft, principal))

    def stored(self, name: str) -> Model | None:
        """A model whole, as an archive has it; None: there is none."""
        return self._catalogue.stored(name)

    def all_stored(self) -> list[Model]:
        """All models, by name."""
        return self._catalogue.all_stored()

    async def restore(self, model: Model) -> ModelView:
        """Put back a model that is checked and whose files are in place. Raises Conflict: there is one of its name."""
        return await self._turns.take(self._catalogue.restore(model))

    def digests(self) -> set[str]:
        """Of all files of all versions, as they are now."""
        return self._catalogue.digests()

    async def delete_version(self, name: str, number: int) -> tuple[ModelView, Version]:
        """See `deletion.delete`; the model, and what was deleted."""
        return await self._turns.take(self._catalogue.delete_version(name, number))

    async def deploy(self, name: str, number: int, instances: int, device: str) -> ModelView:
        """See `placement.deploy`."""
        return await self._turns.take(self._catalogue.deploy(name, number, instances, device))

    async def undeploy(self, name: str, number: int) -> ModelView:
        """See `placement.undeploy`."""
        return await self._turns.take(self._catalogue.undeploy(name, number))

    async def set_policy(self, name: str, policy: ServingPolicy, fields: Collection[str]) -> ModelView:
        """See `serving_policy.with_policy`."""
        return await self._turns.take(self._catalogue.set_policy(name, policy, fields))

    async def set_alias(
        self, name: str, alias: str, number: int, expected: int | None, principal: str
    ) -> tuple[ModelView, int]:
        """See `rules.set_alias`; the model, and what the alias meant before (0: nothing)."""
        return await self._turns.take(self._catalogue.set_alias(name, alias, number, expected, principal))

    async def delete_alias(self, name: str, alias: str, principal: str) -> ModelView:
        """See `rules.delete_alias`."""
        return await self._turns.take(self._catalogue.delete_alias(name, alias, principal))

    async def rollback_alias(
        self, name: str, alias: str, principal: str, expected: int | None = None
    ) -> tuple[ModelView, int, int]:
        """Turn an alias (empty: `stable`) back; the model, what the alias means now, and what it meant until now."""
        return await self._turns.take(self._catalogue.rollback_alias(name, alias, principal, expected))

    # Keys

    async def create_key(self, name: str, scopes: Sequence[str]) -> tuple[str, Key]:
        """See `Keyring.create`."""
        return await self._turns.take(self.keyring.create(name, scopes))

    async def revoke_key(self, key_id: str) -> None:
        """See `Keyring.revoke`."""
        await self._turns.take(self.keyring.revoke(key_id))

    # The log of control calls; see `audit`

    async def note(self, audit: Audit) -> None:
        """Add a line, of a call that changed nothing."""
        await self._turns.take(self._store.save_audit(audit))

    async def audit(self, subject: str, since: float, before_id: int, limit: int) -> list[Audit]:
        """See `Store.list_audit`."""
        return await self._turns.take(self._store.list_audit(subject, since, before_id, limit))

    # Workers

    def report_load(self, worker: Worker, failure: LoadFailure | None = None) -> None:
        """See `Fleet.report_load`."""
        known_version(self._catalogue.known(worker.name), worker.version)
        self.fleet.report_load(worker, failure, self._monotonic())
        self._catalogue.show(worker.name)

    async def register_worker(
        self, worker: Worker, signature: Signature | None, loaded: Manifest | None = None
    ) -> Worker:
        """Give a lease, and note what is learned of the version; the worker with its epoch.

        Raises:
            FailedPrecondition: it has `loaded` something else than what is published; it comes from another registry.
        """
        check_loaded(known_version(self._catalogue.known(worker.name), worker.version).manifest, loaded)
        self.fleet.check(worker)
        return await self._turns.take(self._register(worker, signature))

    async def _register(self, worker: Worker, signature: Signature | None) -> Worker:
        await self._catalogue.learn(worker.name, worker.version, signature, worker.report.memory)
        registered = await self.fleet.register(worker, self._monotonic())
        self._catalogue.show(worker.name)  # without awaiting: followers hear of both together
        return registered

    def use(self, uses: Iterable[Use]) -> None:
        """See `Catalogue.use`. It waits for no other change and for no store."""
        self._catalogue.use(uses)

    async def renew_lease(self, worker_id: str, epoch: int, report: LoadReport, draining: bool) -> bool:
        """Prolong a lease; whether the worker is to drain. Raises LeaseFenced.

        It waits for no other change and for no store, unless the worker says for the first time that it drains.
        """
        worker, drain = self.fleet.renew(worker_id, epoch, report, self._monotonic())
        if draining and worker.state is not State.UNLOADING:
            await self._turns.take(self._shown(self.fleet.note_draining(worker)))
        return drain

    async def drain_worker(self, worker_id: str) -> Worker:
        """See `Fleet.drain`."""
        [worker] = await self._turns.take(self._shown(self.fleet.drain(worker_id)))
        return worker

    async def revoke_lease(self, worker_id: str) -> None:
        """See `Fleet.revoke`."""
        await self._turns.take(self._shown(self.fleet.revoke(worker_id)))

    async def tick(self) -> None:
        """Do what time alone brings about; to be called every second or so."""
        now = self._monotonic()
        stood_still = now - self._ticked
        if stood_still > self.fleet.ttl_s / 2:  # stopped or starved: nobody could renew meanwhile
            self.fleet.prolong(stood_still)
        self._ticked = now
        await self._turns.take(self._shown(self.fleet.expire(now)))
        self._catalogue.show_due(self._wall())
        await self.traffic.tick()

    async def _shown(self, change: Coroutine[Any, Any, Sequence[Worker]]) -> Sequence[Worker]:
        """Change workers, and tell what their models have become without awaiting: followers hear of both together."""
        changed = await change
        for name in {worker.name for worker in changed}:
            self._catalogue.show(name)
        return changed


async def opened(
    store: Store,
    *,
    lease_ttl_s: float = TTL_S,
    keep_warm_s: float = KEEP_WARM_S,
    budget: Budget = UNBOUNDED,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Registry:
    """A registry of what the store holds. See Registry for the arguments."""
    run = await store.begin_run()
    return Registry(
        store,
        run,
        await store.load(),
        lease_ttl_s=lease_ttl_s,
        keep_warm_s=keep_warm_s,
        budget=budget,
        wall=wall,
        monotonic=monotonic,
    )
