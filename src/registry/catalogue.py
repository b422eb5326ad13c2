"""All models: what is published, what each alias means, what should be loaded. Writes to the store, then tells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from ..errors import Conflict
from ..signature import Signature
from . import audit, deletion, placement, rules, serving_policy
from .budget import Budget, Key
from .demand import Use
from .differences import differences
from .fleet import Fleet
from .ledger import Ledger
from .lifecycle import version_state
from .loads import Loads
from .names import known_model, known_version, name_violations, refuse
from .state import STABLE, AliasChange, Draft, Model, ModelView, ServingPolicy, State, Version, VersionView
from .store import Store
from .watch import Hub, Kind


class Catalogue:
    """The registry's models. A method that changes something must be given its turn (see `turns`).

    Args:
        store: what outlives this object.
        hub: whom every change is told to.
        fleet: which workers there are.
        keep_warm_s: how long a version stays loaded after the last alias has left it.
        budget: what all workers together may have.
        wall: unix seconds.
        monotonic: seconds.
        models: those that the store held at start.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        fleet: Fleet,
        keep_warm_s: float,
        budget: Budget,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        models: Iterable[Model],
    ) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._wall = wall
        self._due: dict[str, float] = {}
        self._deployments: dict[Key, int] = {}
        self._began = hub.revision
        self._models = {model.name: model for model in models}
        self._loads = Loads(self._models, fleet, budget, keep_warm_s, wall, monotonic)
        self._loads.settle()
        self.ledger = Ledger(self._models.values())
        """What was counted of their traffic."""
        for name in self._models:
            self._put(name)

    def known(self, name: str) -> Model:
        """A model. Raises ModelNotFound."""
        return known_model(self._models, name)

    def find(self, name: str) -> Model | None:
        """A model, if there is one of that name."""
        return self._models.get(name)

    def models(self) -> list[Model]:
        """All there are."""
        return list(self._models.values())

    def view(self, name: str) -> ModelView:
        """A model as it is now. Raises ModelNotFound."""
        return self._view(self.known(name))

    def views(self) -> list[ModelView]:
        """All models as they are now."""
        return [self._view(model) for model in self._models.values()]

    def published(self, draft: Draft) -> Version | None:
        """The version that a draft is already; None: it is new.

        Raises:
            VersionExists: the number is taken by other content.
            InvalidArgument: the policy for a new model cannot be like this.
            MemoryBudgetExceeded: there is no room for it.
        """
        model = self._models.get(draft.name)
        known = rules.published(model, draft)
        if known is None:
            serving_policy.check_policy(draft.serving)
            self._loads.check(model, rules.publish(model, draft, self._wall(), "").model)
        return known

    def alias_changes(self, name: str, alias: str) -> list[AliasChange]:
        """The changes of an alias (empty: all), the newest first, at most a thousand."""
        model = self.known(name)
        refuse(name_violations("alias", alias) if alias else ())
        chosen = [change for change in reversed(model.changes) if alias in ("", change.alias)]
        return chosen[: rules.MAX_CHANGES]

    async def publish(self, draft: Draft, principal: str) -> Version:
        """Add a version whose draft is checked, whose files are in place and which `published` found to be new."""
        before = self._models.get(draft.name)
        decision = rules.publish(before, draft, self._wall(), principal)
        await self._apply(before, decision)
        return decision.model.versions[-1]

    def stored(self, name: str) -> Model | None:
        """A model whole, as an archive has it; None: there is none."""
        return self._models.get(name)

    def all_stored(self) -> list[Model]:
        """All models, by name."""
        return sorted(self._models.values(), key=lambda model: model.name)

    async def restore(self, model: Model) -> ModelView:
        """Put back a model that is checked and whose files are in place.

        Raises:
            Conflict: there is one of its name.
        """
        if model.name in self._models:
            raise Conflict(f"a model {model.name!r} was published meanwhile; import it again")
        return await self._apply(None, rules.Decision(model, model.changes))

    def digests(self) -> set[str]:
        """Of all files of all versions."""
        versions = (version for model in self._models.values() for version in model.versions)
        return {file.sha256 for version in versions for file in version.manifest.files}

    async def delete_version(self, name: str, number: int) -> tuple[ModelView, Version]:
        """See `deletion.delete`; the model, and what was deleted."""
        model = self.known(name)
        workers = self._fleet.states(name).get(number, ())
        decision = rules.Decision(deletion.delete(model, number, workers))
        return await self._apply(model, decision), known_version(model, number)

    async def deploy(self, name: str, number: int, instances: int, device: str) -> ModelView:
        """See `placement.deploy`."""
        model = self.known(name)
        after = placement.deploy(model, number, instances, device)
        await self._apply(model, rules.Decision(after))
        for deployed in [number] if number else [version.number for version in after.versions]:
            self._deployments[name, deployed] = self._hub.revision
            self._fleet.failures.forget((name, deployed))
        return self.show(name)

    async def undeploy(self, name: str, number: int) -> ModelView:
        """See `placement.undeploy`."""
        model = self.known(name)
        return await self._apply(model, rules.Decision(placement.undeploy(model, number)))

    async def set_policy(self, name: str, policy: ServingPolicy, fields: Collection[str]) -> ModelView:
        """See `serving_policy.with_policy`."""
        model = self.known(name)
        return await self._apply(model, rules.Decision(serving_policy.with_policy(model, policy, fields)))

    def use(self, uses: Iterable[Use]) -> None:
        """See `Loads.use`; what does not exist is passed over."""
        woken = set()
        for use in uses:
            name, number = use.key
            model = self._models.get(name)
            if model and number in placement.on_demand(model):
                self._loads.use(use)
                if use.waiting:
                    woken.add(name)
        if woken:
            self._put_all(woken | self._loads.settle())

    async def set_alias(
        self, name: str, alias: str, number: int, expected: int | None, principal: str
    ) -> tuple[ModelView, int]:
        """See `rules.set_alias`; the model, and what the alias meant before (0: nothing)."""
        model = self.known(name)
        available = {v.version.number for v in self._view(model).versions if v.state is State.AVAILABLE}
        decision = rules.set_alias(model, alias, number, expected, available, self._wall(), principal)
        return await self._apply(model, decision), model.aliases.get(alias, 0)

    async def delete_alias(self, name: str, alias: str, principal: str) -> ModelView:
        """See `rules.delete_alias`."""
        model = self.known(name)
        return await self._apply(model, rules.delete_alias(model, alias, self._wall(), principal))

    async def rollback_alias(
        self, name: str, alias: str, principal: str, expected: int | None
    ) -> tuple[ModelView, int, int]:
        """Turn an alias (empty: `stable`) back; the model, what the alias means now, and what it meant until now.

        `expected` as for `rules.set_alias`.
        """
        alias = alias or STABLE
        target = rules.rollback_target(self.known(name), alias)
        model, previous = await self.set_alias(name, alias, target, expected, principal)
        return model, target, previous

    async def learn(self, name: str, number: int, signature: Signature | None, memory: int) -> None:
        """Note what a version takes and gives, and how much memory, if that was not known.

        Args:
            name: the model.
            number: the version.
            signature: None: the worker does not say.
            memory: bytes of the worker that has just loaded it; 0: it does not say.
        """
        model = self.known(name)
        version = known_version(model, number)
        self._loads.loaded((name, number), memory)
        learned = replace(version, signature=version.signature or signature, memory=version.memory or memory)
        if learned != version:
            await self._apply(model, rules.Decision(rules.with_version(model, learned)))

    async def settle(self, decision: rules.Decision) -> ModelView:
        """Make a model that is known what a rule has made of it."""
        return await self._apply(self.known(decision.model.name), decision)

    def show_due(self, now: float) -> None:
        """Tell what time alone has changed; `now` in unix seconds."""
        self._put_all({name for name, due in self._due.items() if due <= now} | self._loads.settle())

    def show(self, name: str) -> ModelView:
        """Tell followers a model as it is now, unless they know; and what that means for others."""
        self._put_all(self._loads.settle() - {name})
        return self._put(name)

    def _put_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._put(name)

    def _put(self, name: str) -> ModelView:
        model = self._models[name]
        due = self._loads.next_change(model)
        if due is None:
            self._due.pop(name, None)
        else:
            self._due[name] = due
        view = self._view(model)
        self._hub.put(Kind.MODEL, name, view)
        return view

    async def _apply(self, before: Model | None, decision: rules.Decision) -> ModelView:
        after = decision.model
        if after != before:
            self._loads.check(before, after)
            line = audit.line(after.name, differences(before, after))
            await self._store.save_model(before, after, decision.changes, line)
            self._models[after.name] = after
            for number in self._fleet.states(after.name):  # loaded for another reason until now, perhaps: it has its
                self._loads.loaded((after.name, number))  # time to be used before it is idle
        return self.show(after.name)

    def _view(self, model: Model) -> ModelView:
        desired, warm = self._loads.desired(model), self._loads.only_warm(model)
        states, memory, failures = self._fleet.states(model.name), self._fleet.memory(), self._fleet.failures
        on_demand = placement.on_demand(model)

        def view(version: Version) -> VersionView:
            number, key = version.number, (model.name, version.number)
            wanted, waits, failure = desired.get(number, 0), self._loads.waits(*key), failures.last(key)
            if failure and not wanted:
                failure = replace(failure, next=0.0)  # nobody will try
            return VersionView(
                version,
                wanted,
                version_state(wanted, states.get(number, ()), failures.error(key), waits=bool(waits)),
                failures.error(key),
                serving_policy.device(model, version),
                warm.get(number, 0.0) if wanted else 0.0,
                failure,
                self._deployments.get(key, self._began),  # who gave it up tells a registry that has forgotten why
                waits,
                memory.get(key, version.memory),
                number in on_demand,
            )

        return ModelView(model.name, tuple(map(view, model.versions)), model.aliases, self.ledger.shown(model))
