"""Which versions that are only loaded on demand are in demand, and since when they are not used. Decisions only.

A version *wakes* when requests wait for it, or a worker has loaded it for another reason; it *sleeps* again when it has
not been used for a while, or gives way to others. Uses that are reported late do not wake it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .budget import Key

PATIENCE_S = 3.0
"""Gateways say once a second that requests wait; for so long that counts."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a gateway says of a version."""

    key: Key
    ago: float
    """Seconds since it was asked for last."""
    waiting: bool
    """Requests wait for it."""


class Demand:
    """The versions that are awake. `now` is in monotonic seconds."""

    def __init__(self) -> None:
        self._used: dict[str, dict[int, float]] = {}
        """By model and version that is awake: its last use."""
        self._asked: dict[Key, tuple[float, float]] = {}
        """When it was first said that requests wait, and when last."""

    def wake(self, key: Key, now: float) -> None:
        """It is loaded, and counts as used now; nobody waits any longer."""
        self._asked.pop(key, None)
        self._used.setdefault(key[0], {})[key[1]] = now

    def asked(self, key: Key, now: float) -> None:
        """Requests wait for it."""
        since = self._asked[key][0] if self.is_waited_for(key, now) else now
        self.wake(key, now)
        self._asked[key] = since, now

    def used(self, key: Key, at: float) -> None:
        """It was used then; one that sleeps goes on sleeping."""
        versions = self._used.get(key[0], {})
        if key[1] in versions:
            versions[key[1]] = max(versions[key[1]], at)

    def sleep(self, key: Key) -> None:
        """It need not be loaded any longer."""
        self._asked.pop(key, None)
        versions = self._used.get(key[0], {})
        versions.pop(key[1], None)
        if not versions:
            self._used.pop(key[0], None)

    def ages(self, name: str, now: float) -> Mapping[int, float]:
        """By version of a model that is awake: seconds since its last use.

        Where requests wait it is less than 0: so many seconds they have waited. Who has waited longest goes first; else
        of three models with room for two the third would wait as long as the others are in use.
        """
        return {number: self._age((name, number), at, now) for number, at in self._used.get(name, {}).items()}

    def _age(self, key: Key, used: float, now: float) -> float:
        return self._asked[key][0] - now if self.is_waited_for(key, now) else now - used

    def is_waited_for(self, key: Key, now: float) -> bool:
        """Whether requests wait for it still."""
        return key in self._asked and now - self._asked[key][1] < PATIENCE_S
