"""Which of the versions that should be loaded may be, within a bound on memory and number. Decisions only.

What should be loaded is a wish of a rank. What is needed is granted first, and refused when it is asked for, not
later; what is only there to be quick (kept warm) gives way, the least recently used first. Whatever gives way is
unloaded before what takes its place is started: memory is never promised twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from ..errors import MemoryBudgetExceeded

Key = tuple[str, int]
"""Model and version."""


class Rank(IntEnum):
    """Why a version should be loaded. Of two versions the one with the smaller rank is the last to give way."""

    PINNED = 1
    """An operator has deployed it."""
    ALIASED = 2
    """An alias means it."""
    CHOSEN = 3
    """The model's policy names it."""
    SPARE = 4
    """It is there to be quick: it is kept warm, or is loaded on demand."""


@dataclass(frozen=True, slots=True)
class Wish:
    """That a version be loaded."""

    rank: Rank
    instances: int = 1
    yields: bool = False
    """Where there is no room it waits for it; else the change that asks for it is refused."""
    age: float = 0.0
    """Seconds since it was last of use, less than 0 if it is waited for; the greater, the sooner it gives way to others
    of its rank."""

    @property
    def needed(self) -> bool:
        """It does not give way."""
        return self.rank is not Rank.SPARE


@dataclass(frozen=True, slots=True)
class Budget:
    """What all workers together may have. 0: no bound."""

    memory: int = 0
    """Bytes."""
    versions: int = 0

    @property
    def bounded(self) -> bool:
        """Whether there is any bound."""
        return bool(self.memory or self.versions)


@dataclass(frozen=True, slots=True)
class Held:
    """The workers of a version, whatever they do."""

    workers: int
    ready: bool
    """One of them answers."""


@dataclass(slots=True)
class Allotment:
    """What may be loaded now."""

    granted: set[Key]
    waits: dict[Key, str]
    """What should be loaded and is not, and why, for a person."""


NO_ROOM = "the memory budget has no room for it beside what goes before it"


class _Room:
    """What is left of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._memory = self._versions = 0

    def fits(self, memory: int) -> bool:
        bound = self._budget
        return not (
            (bound.memory and self._memory + memory > bound.memory)
            or (bound.versions and self._versions + 1 > bound.versions)
        )

    def take(self, memory: int) -> None:
        self._memory += memory
        self._versions += 1


def allot(
    wishes: Mapping[Key, Wish],
    held: Mapping[Key, Held],
    needs: Mapping[Key, int],
    budget: Budget,
    begun: Collection[Key] = (),
    failed: Collection[Key] = (),
) -> Allotment:
    """Decide what may be loaded.

    Args:
        wishes: what should be.
        held: what is, or is on its way in or out.
        needs: bytes of one worker of each version in the other two; 0: not known.
        budget: the bound.
        begun: what was granted before, and has not failed since.
        failed: what did not load: the old version comes back, should it have made way.
    """
    found, room = Allotment(set(), {}), _Room(budget)
    ready = {key for key in begun if key in held and held[key].ready}
    fresh = set(begun) - ready
    order = sorted(wishes, key=lambda key: _order(wishes[key], fresh=key in fresh, failed=key in failed))
    is_new = False
    for key in order:
        wish, memory = wishes[key], wishes[key].instances * needs[key]
        stays = not wish.yields or (key in ready and not is_new)  # that it has grown is no reason to end its answers
        if (wish.needed and stays) or room.fits(memory):
            room.take(memory)
            found.granted.add(key)
            is_new = is_new or key not in begun
        else:
            found.waits[key] = NO_ROOM
    granted = [key for key in order if key in found.granted]
    kept = {key for key in begun if key in found.granted and wishes[key].needed and not wishes[key].yields}
    _hold_back(found, granted, wishes, held, needs, budget, kept)
    return found


def _order(wish: Wish, *, fresh: bool, failed: bool) -> tuple[bool, bool, bool, Rank, bool, float]:
    """A load that has begun is not given up for a later wish: of two that take turns neither would ever answer."""
    return (not wish.needed, wish.yields, failed, wish.rank, wish.needed or not fresh, wish.age)


def _hold_back(
    found: Allotment,
    order: Iterable[Key],
    wishes: Mapping[Key, Wish],
    held: Mapping[Key, Held],
    needs: Mapping[Key, int],
    budget: Budget,
    kept: Collection[Key],
) -> None:
    """Start nothing in the place of what is not gone yet; what is `kept` has its room, also while no worker runs."""
    leaving = [key for key in held if key not in found.granted]
    if not leaving:
        return
    room = _Room(budget)
    for key in leaving:
        room.take(held[key].workers * needs[key])
    for key in order:
        if key in held or key in kept:
            workers = held[key].workers if key in held else 0
            room.take(max(workers, wishes[key].instances) * needs[key])
    for key in order:
        memory = wishes[key].instances * needs[key]
        if key in held or key in kept:
            continue
        if room.fits(memory):
            room.take(memory)
        else:
            found.granted.discard(key)
            found.waits[key] = f"it waits until {_listed(leaving)} {'is' if len(leaving) == 1 else 'are'} unloaded"


def _listed(keys: Iterable[Key]) -> str:
    names = [f"{name}:{version}" for name, version in sorted(keys)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_room(
    name: str,
    others: Mapping[Key, Wish],
    before: Mapping[Key, Wish],
    after: Mapping[Key, Wish],
    needs: Mapping[Key, int],
    budget: Budget,
) -> None:
    """Refuse a change of a model for which there is no room, before anything is unloaded for it.

    Args:
        name: the model.
        others: what should be loaded of all other models.
        before: of this one, as it is.
        after: of this one, as it would be.
        needs: bytes of one worker of each version; 0: not known.
        budget: the bound.

    Raises:
        MemoryBudgetExceeded: more than there is would be needed, and more than now.
    """
    taken = _needed(others, needs)
    now, then = (tuple(map(sum, zip(taken, _needed(wishes, needs), strict=True))) for wishes in (before, after))
    mend = (
        f"undeploy something, raise the budget, or let {name!r} unload the old version first: "
        f"`penstock policy {name} --resource-preserving`"
    )
    if budget.memory and then[0] > budget.memory and then[0] > now[0]:
        text = f"loaded versions would need {_bytes(then[0])}, and memory_budget is {_bytes(budget.memory)}; {mend}"
        raise MemoryBudgetExceeded(text, metadata={"model": name})
    if budget.versions and then[1] > budget.versions and then[1] > now[1]:
        text = f"{then[1]} versions would be loaded, and max_loaded is {budget.versions}; {mend}"
        raise MemoryBudgetExceeded(text, metadata={"model": name})


def _needed(wishes: Mapping[Key, Wish], needs: Mapping[Key, int]) -> tuple[int, int]:
    """Bytes and versions that cannot be done without; of versions that make way for each other, the greatest."""
    memory = versions = 0
    greatest: dict[str, int] = {}
    for key, wish in wishes.items():
        need = wish.instances * needs[key]
        if wish.yields and wish.needed:
            greatest[key[0]] = max(need, greatest.get(key[0], 0))
        elif wish.needed:
            memory, versions = memory + need, versions + 1
    return memory + sum(greatest.values()), versions + len(greatest)


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
