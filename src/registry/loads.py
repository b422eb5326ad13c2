"""What may be loaded now, of all models together: what the models wish, what the fleet has, and a bound.

Without a bound every wish is granted, and a change of one model costs nothing for the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from . import placement, serving_policy
from .budget import NO_ROOM, Allotment, Budget, Held, Key, Wish, allot, check_room
from .demand import Demand, Use
from .fleet import Fleet
from .state import Model, State

log = logging.getLogger("penstock.registry")


class Loads:
    """Decides again whenever something has changed. Belongs to the catalogue.

    Args:
        models: by name; the catalogue's own, which changes.
        fleet: which workers there are.
        budget: the bound.
        keep_warm_s: how long a version stays loaded after the last alias has left it, where its model does not say so.
        wall: unix seconds.
        monotonic: seconds, for uses.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        fleet: Fleet,
        budget: Budget,
        keep_warm_s: float,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._models = models
        self._fleet = fleet
        self._budget = budget
        self._keep_warm_s = keep_warm_s
        self._wall = wall
        self._monotonic = monotonic
        self._allotment = Allotment(set(fleet.held()), {})
        self._demand = Demand()
        known = (version.memory for model in models.values() for version in model.versions if version.memory)
        self._least = min(known, default=0)
        for key in fleet.held():  # who used them is not known any more: they are given the benefit of the doubt
            self.loaded(key)

    def desired(self, model: Model) -> dict[int, int]:
        """How many workers should hold each version now; those that are not named: none."""
        wishes = self._wishes_of(model)
        granted = self._allotment.granted
        bounded = self._budget.bounded
        return {n: wish.instances for n, wish in wishes.items() if not bounded or (model.name, n) in granted}

    def next_change(self, model: Model) -> float | None:
        """See `placement.next_change`."""
        return placement.next_change(model, self._wall(), self._keep_warm_s, self._ages(model))

    def loaded(self, key: Key, memory: int = 0) -> None:
        """A worker of so many bytes (0: not known) holds it, for whatever reason: that counts as a use."""
        self._demand.wake(key, self._monotonic())
        if memory:
            self._least = min(memory, self._least or memory)

    def use(self, use: Use) -> None:
        """A gateway says that a version was asked for."""
        now = self._monotonic()
        if use.waiting:
            self._demand.asked(use.key, now)
        else:
            self._demand.used(use.key, now - use.ago)

    def waits(self, name: str, number: int) -> str:
        """Why a version is not loaded although it should be; empty: it is, or should not."""
        return self._allotment.waits.get((name, number), "")

    def only_warm(self, model: Model) -> dict[int, float]:
        """See `placement.only_warm`."""
        return placement.only_warm(model, self._wall(), self._keep_warm_s)

    def settle(self) -> set[str]:
        """Decide anew; the models for which that makes a difference."""
        if not self._budget.bounded:
            return set()
        held, wishes = self._fleet.held(), self._wishes(self._models)
        before, failures = self._allotment, self._fleet.failures
        failed = {key for key in wishes if failures.error(key)}
        after = allot(wishes, held, self._needs(wishes, held), self._budget, before.granted - failed, failed)
        self._put_to_sleep(after, wishes)
        self._allotment = after
        for key, why in after.waits.items():
            if before.waits.get(key) != why:
                log.warning("%s:%d is not loaded: %s", *key, why)
        told_before, told_after = set(before.waits.items()), set(after.waits.items())
        changed = (before.granted ^ after.granted) | {key for key, _ in told_before ^ told_after}
        return {name for name, _ in changed}

    def _put_to_sleep(self, found: Allotment, wishes: Mapping[Key, Wish]) -> None:
        """What was loaded on demand and gives way, or finds no room and is not waited for any more, is not wished."""
        now = self._monotonic()
        for key in [key for key in found.waits if not wishes[key].needed]:
            lazy = self._models[key[0]].settings.serving.lazy
            if lazy and found.waits[key] == NO_ROOM and not self._demand.is_waited_for(key, now):
                self._demand.sleep(key)
                del found.waits[key]

    def check(self, before: Model | None, after: Model) -> None:
        """Refuse a change of a model for which there is no room. Raises MemoryBudgetExceeded."""
        if not self._budget.bounded:
            return
        others = self._wishes({name: model for name, model in self._models.items() if name != after.name})
        now, then = (self._wishes({after.name: model} if model else {}) for model in (before, after))
        needs = self._needs({**others, **now, **then}, {}, {after.name: after})
        check_room(after.name, others, now, then, needs, self._budget)

    def _wishes(self, models: Mapping[str, Model]) -> dict[Key, Wish]:
        return {
            (name, number): wish for name, model in models.items() for number, wish in self._wishes_of(model).items()
        }

    def _wishes_of(self, model: Model) -> dict[int, Wish]:
        return placement.wishes(model, self._wall(), self._keep_warm_s, self._ages(model))

    def _ages(self, model: Model) -> Mapping[int, float]:
        """Of the versions that are awake; what was not used for too long, and is not loading, falls asleep here."""
        now, idle = self._monotonic(), serving_policy.idle_s(model)
        ages = self._demand.ages(model.name, now)
        overdue = [number for number, age in ages.items() if age >= idle]
        if not overdue:
            return ages
        workers = self._fleet.states(model.name)
        for number in overdue:
            key, states = (model.name, number), workers.get(number, ())
            if State.LOADING in states and State.AVAILABLE not in states:
                self._demand.used(key, now)
            else:
                self._demand.sleep(key)
        return self._demand.ages(model.name, now)

    def _needs(
        self, wishes: Mapping[Key, Wish], held: Mapping[Key, Held], changed: Mapping[str, Model] | None = None
    ) -> dict[Key, int]:
        """Bytes of one worker of each version."""
        reported, models = self._fleet.memory(), {**self._models, **changed} if changed else self._models
        keys, least = wishes.keys() | held.keys(), self._least
        return {key: placement.memory_of(models.get(key[0]), key[1], reported, least) for key in keys}
