"""All models: what is published, what each alias means, what should be loaded. Writes to the store, then tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import Conflict
from ..signature import Signature
from . import deletion, placement, rules
from .fleet import Fleet
from .lifecycle import version_state
from .names import known_model, known_version, name_violations, refuse
from .state import STABLE, AliasChange, Draft, Model, ModelView, State, Version, VersionView
from .store import Store
from .watch import Hub, Kind


class Catalogue:
    """The registry's models. A method that changes something must be given its turn (see `turns`).

    Args:
        store: what outlives this object.
        hub: whom every change is told to.
        fleet: which workers there are.
        keep_warm_s: how long a version stays loaded after the last alias has left it.
        wall: unix seconds.
        models: those that the store held at start.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        fleet: Fleet,
        keep_warm_s: float,
        wall: Callable[[], float],
        models: Iterable[Model],
    ) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._keep_warm_s = keep_warm_s
        self._wall = wall
        self._due: dict[str, float] = {}
        self._models = {model.name: model for model in models}
        for name in self._models:
            self.show(name)

    def known(self, name: str) -> Model:
        """A model. Raises ModelNotFound."""
        return known_model(self._models, name)

    def view(self, name: str) -> ModelView:
        """A model as it is now. Raises ModelNotFound."""
        return self._view(self.known(name))

    def published(self, draft: Draft) -> Version | None:
        """The version that a draft is already; None: it is new. Raises VersionExists."""
        return rules.published(self._models.get(draft.name), draft)

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
        return await self._apply(model, rules.Decision(placement.deploy(model, number, instances, device)))

    async def undeploy(self, name: str, number: int) -> ModelView:
        """See `placement.undeploy`."""
        model = self.known(name)
        return await self._apply(model, rules.Decision(placement.undeploy(model, number)))

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

    async def rollback_alias(self, name: str, alias: str, principal: str) -> tuple[ModelView, int, int]:
        """Turn an alias (empty: `stable`) back; the model, what the alias means now, and what it meant until now."""
        alias = alias or STABLE
        target = rules.rollback_target(self.known(name), alias)
        model, previous = await self.set_alias(name, alias, target, None, principal)
        return model, target, previous

    async def learn_signature(self, name: str, number: int, signature: Signature) -> None:
        """Note what a version takes and gives, if that was not known."""
        model = self.known(name)
        version = known_version(model, number)
        if version.signature is None:
            decision = rules.Decision(rules.with_version(model, replace(version, signature=signature)))
            await self._apply(model, decision)

    def show_due(self, now: float) -> None:
        """Tell what time alone has changed; `now` in unix seconds."""
        for name in [name for name, due in self._due.items() if due <= now]:
            self.show(name)

    def show(self, name: str) -> ModelView:
        """Tell followers a model as it is now, unless they know."""
        model = self._models[name]
        due = placement.next_change(model, self._wall(), self._keep_warm_s)
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
            await self._store.save_model(before, after, decision.changes)
            self._models[after.name] = after
        return self.show(after.name)

    def _view(self, model: Model) -> ModelView:
        desired = placement.desired_instances(model, self._wall(), self._keep_warm_s)
        states = self._fleet.states(model.name)

        def view(version: Version) -> VersionView:
            number = version.number
            error = self._fleet.load_error(model.name, number)
            state = version_state(desired[number], states.get(number, ()), error)
            return VersionView(version, desired[number], state, error)

        return ModelView(model.name, tuple(map(view, model.versions)), model.aliases, model.settings)
