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
        self._asked: dict[Key, float] = {}
        """When it was last said that requests wait."""

    def wake(self, key: Key, now: float) -> None:
        """It is loaded, or to be loaded, and counts as used now."""
        self._used.setdefault(key[0], {})[key[1]] = now

    def asked(self, key: Key, now: float) -> None:
        """Requests wait for it."""
        self.wake(key, now)
        self._asked[key] = now

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
        """By version of a model that is awake: seconds since its last use."""
        return {number: now - at for number, at in self._used.get(name, {}).items()}

    def is_waited_for(self, key: Key, now: float) -> bool:
        """Whether requests wait for it still."""
        return key in self._asked and now - self._asked[key] < PATIENCE_S
