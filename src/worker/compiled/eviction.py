"""Which compiled packages are given up when there are too many. Decisions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """One package in the cache."""

    key: str
    size: int
    """In bytes."""
    used: float
    """When it was used last, in unix seconds."""


def evicted(kept: Sequence[Kept], most_bytes: int, needed: str) -> list[str]:
    """The keys of those that go, the least recently used first; never the one that is needed now."""
    total = sum(one.size for one in kept)
    gone = []
    for one in sorted(kept, key=lambda one: (one.used, one.key)):
        if total <= most_bytes:
            break
        if one.key != needed:
            gone.append(one.key)
            total -= one.size
    return gone
