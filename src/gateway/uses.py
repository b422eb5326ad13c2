"""What the registry is to be told of the use of versions that are loaded on demand. Decisions only.

It is told at once, but once a second at most, that requests wait for a version, so that it is loaded; and once a second
which versions were used meanwhile, so that they stay loaded. No request waits for this to be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from .refusals import Key

INTERVAL = 1.0
"""Seconds between two reports of the same thing."""
MAX_USES = 1000
"""In one report; those that requests wait for go first, the rest are reported a second later."""


class UsedLane(Protocol):
    """A version's lane, as far as it matters here."""

    @property
    def key(self) -> Key:
        """Model and version."""

    @property
    def used_at(self) -> float:
        """When it was asked for last."""

    @property
    def is_busy(self) -> bool:
        """A worker has a request."""

    @property
    def needs_worker(self) -> bool:
        """Requests wait, and there is no worker, or only such as will end."""


@dataclass(frozen=True, slots=True)
class Use:
    """That a version was asked for."""

    key: Key
    ago: float
    """Seconds."""
    waiting: bool
    """Requests wait for it."""


class Uses:
    """What is to be told, and what has been. `now` is in the loop's time."""

    def __init__(self) -> None:
        self._asked: set[Key] = set()
        """Not told yet."""
        self._asked_at: dict[Key, float] = {}
        self._told: dict[Key, float] = {}
        """The last use that was told."""

    def ask_for(self, key: Key, now: float) -> bool:
        """Requests wait for a version that is not there; whether that is to be told at once."""
        if now - self._asked_at.get(key, -inf) < INTERVAL:
            return False
        self._asked_at[key] = now
        self._asked.add(key)
        return True

    def asked(self) -> list[Use]:
        """What is to be told at once."""
        found = [Use(key, 0.0, waiting=True) for key in self._asked][:MAX_USES]
        self._asked -= {use.key for use in found}
        return found

    def due(self, lanes: Iterable[UsedLane], now: float) -> list[Use]:
        """What is to be told once a second.

        Args:
            lanes: of the versions that are loaded on demand.
            now: the time.
        """
        known = list(lanes)
        waiting = self._asked | {lane.key for lane in known if lane.needs_worker}
        used = {lane.key: now if lane.is_busy else lane.used_at for lane in known if lane.key not in waiting}
        news = [key for key, at in used.items() if at > self._told.get(key, -inf)]
        news.sort(key=lambda key: self._told.get(key, -inf))
        found = [Use(key, 0.0, waiting=True) for key in waiting]
        found += [Use(key, now - used[key], waiting=False) for key in news]
        del found[MAX_USES:]
        told = {use.key for use in found}
        self._asked -= told
        self._asked_at = {key: at for key, at in self._asked_at.items() if now - at < INTERVAL}
        self._told = {key: at if key in told else self._told.get(key, -inf) for key, at in used.items()}
        return found
