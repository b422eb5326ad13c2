"""The registry itself: each change is decided by the rules, written to the store, then known and told to followers.

Every method runs to its end without awaiting: two callers never see or make half of a change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..signature import Signature
from . import placement, rules
from .fleet import Fleet
from .keyring import Keyring
from .leases import TTL_S, Leases
from .lifecycle import version_state
from .names import known_model, known_version, name_violations, refuse
from .placement import KEEP_WARM_S
from .state import STABLE, AliasChange, Draft, LoadReport, Model, ModelView, State, Version, VersionView, Worker
from .store import Store
from .watch import Hub, Kind

REVISIONS_PER_RUN = 2**32
"""Revisions begin anew, and higher, with each run, so that they grow for ever without a write for each."""


class Registry:
    """Models, aliases, workers and keys. All methods belong to one thread, and raise errors of `penstock.errors`.

    Args:
        store: what outlives this object; the caller closes it.
        lease_ttl_s: a worker that is silent for so long is gone.
        keep_warm_s: how long a version stays loaded after the last alias has left it.
        wall: unix seconds, for what people read and what must outlive the process.
        monotonic: seconds, for leases.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_ttl_s: float = TTL_S,
        keep_warm_s: float = KEEP_WARM_S,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._keep_warm_s = keep_warm_s
        self._wall = wall
        self._monotonic = monotonic
        self._ticked = monotonic()
        self._due: dict[str, float] = {}
        self.hub = Hub(store.begin_run() * REVISIONS_PER_RUN)
        self.fleet = Fleet(store, self.hub, Leases(lease_ttl_s))
        stored = store.load()
        self._models = {model.name: model for model in stored.models}
        self.keyring = Keyring(store, self.hub, wall, stored.keys)
        self.fleet.restore(stored.workers, self._ticked)
        for name in self._models:
            self._show(name)

    # Models

    def model(self, name: str) -> ModelView:
        """A model as it is now. Raises ModelNotFound."""
        return self._view(known_model(self._models, name))

    def published(self, draft: Draft) -> Version | None:
        """The version that a draft is already; None: it is new. Raises VersionExists."""
        return rules.published(self._models.get(draft.name), draft)

    def publish(self, draft: Draft, principal: str) -> Version:
        """Add a version whose draft is checked, whose files are in place and which `published` found to be new."""
        before = self._models.get(draft.name)
        decision = rules.publish(before, draft, self._wall(), principal)
        self._apply(before, decision)
        return decision.model.versions[-1]

    def deploy(self, name: str, number: int, instances: int, device: str) -> ModelView:
        """See `placement.deploy`."""
        model = known_model(self._models, name)
        return self._apply(model, rules.Decision(placement.deploy(model, number, instances, device)))

    def undeploy(self, name: str, number: int) -> ModelView:
        """See `placement.undeploy`."""
        model = known_model(self._models, name)
        return self._apply(model, rules.Decision(placement.undeploy(model, number)))

    def set_alias(
        self, name: str, alias: str, number: int, expected: int | None, principal: str
    ) -> tuple[ModelView, int]:
        """See `rules.set_alias`; the model, and what the alias meant before (0: nothing)."""
        model = known_model(self._models, name)
        available = {v.version.number for v in self._view(model).versions if v.state is State.AVAILABLE}
        decision = rules.set_alias(model, alias, number, expected, available, self._wall(), principal)
        return self._apply(model, decision), model.aliases.get(alias, 0)

    def delete_alias(self, name: str, alias: str, principal: str) -> ModelView:
        """See `rules.delete_alias`."""
        model = known_model(self._models, name)
        return self._apply(model, rules.delete_alias(model, alias, self._wall(), principal))

    def rollback_alias(self, name: str, alias: str, principal: str) -> tuple[ModelView, int, int]:
        """Turn an alias (empty: `stable`) back; the model, what the alias means now, and what it meant until now."""
        alias = alias or STABLE
        target = rules.rollback_target(known_model(self._models, name), alias)
        model, previous = self.set_alias(name, alias, target, None, principal)
        return model, target, previous

    def alias_changes(self, name: str, alias: str) -> list[AliasChange]:
        """The changes of an alias (empty: all), the newest first, at most a thousand."""
        model = known_model(self._models, name)
        refuse(name_violations("alias", alias) if alias else ())
        chosen = [change for change in reversed(model.changes) if alias in ("", change.alias)]
        return chosen[: rules.MAX_CHANGES]

    # Workers

    def report_load(self, worker: Worker, error: str) -> None:
        """See `Fleet.report_load`."""
        known_version(known_model(self._models, worker.name), worker.version)
        self.fleet.report_load(worker, error, self._monotonic())
        self._show(worker.name)

    def register_worker(self, worker: Worker, signature: Signature | None) -> Worker:
        """Give a lease, and note what the version takes and gives if that was not known; the worker with its epoch."""
        model = known_model(self._models, worker.name)
        version = known_version(model, worker.version)
        registered = self.fleet.register(worker, self._monotonic())
        if version.signature is None and signature is not None:
            self._apply(model, rules.Decision(rules.with_version(model, replace(version, signature=signature))))
        self._show(worker.name)
        return registered

    def renew_lease(self, worker_id: str, epoch: int, report: LoadReport, draining: bool) -> bool:
        """Prolong a lease; whether the worker is to drain. Raises LeaseFenced."""
        worker, drain = self.fleet.renew(worker_id, epoch, report, draining, self._monotonic())
        if draining:
            self._show(worker.name)
        return drain

    def drain_worker(self, worker_id: str) -> Worker:
        """See `Fleet.drain`."""
        worker = self.fleet.drain(worker_id)
        self._show(worker.name)
        return worker

    def revoke_lease(self, worker_id: str) -> None:
        """See `Fleet.revoke`."""
        worker = self.fleet.revoke(worker_id)
        if worker is not None:
            self._show(worker.name)

    def tick(self) -> None:
        """Do what time alone brings about; to be called every second or so."""
        now, wall = self._monotonic(), self._wall()
        stood_still = now - self._ticked
        if stood_still > self.fleet.ttl_s / 2:  # stopped or starved: nobody could renew meanwhile
            self.fleet.prolong(stood_still)
        self._ticked = now
        names = {worker.name for worker in self.fleet.expire(now)}
        for name in names | {name for name, due in self._due.items() if due <= wall}:
            self._show(name)

    # Inside

    def _apply(self, before: Model | None, decision: rules.Decision) -> ModelView:
        after = decision.model
        if after != before:
            self._store.save_model(before, after, decision.changes)
            self._models[after.name] = after
        return self._show(after.name)

    def _show(self, name: str) -> ModelView:
        model = self._models[name]
        due = placement.next_change(model, self._wall(), self._keep_warm_s)
        if due is None:
            self._due.pop(name, None)
        else:
            self._due[name] = due
        view = self._view(model)
        self.hub.put(Kind.MODEL, name, view)
        return view

    def _view(self, model: Model) -> ModelView:
        desired = placement.desired_instances(model, self._wall(), self._keep_warm_s)
        states = self.fleet.states(model.name)

        def view(version: Version) -> VersionView:
            number = version.number
            error = self.fleet.load_error(model.name, number)
            state = version_state(desired[number], states.get(number, ()), error)
            return VersionView(version, desired[number], state, error)

        return ModelView(model.name, tuple(map(view, model.versions)), model.aliases)
