"""Which versions' files a host gives up that no worker holds. Decisions only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cached:
    """The files of one version in the cache."""

    name: str
    version: str
    size: int
    """In bytes."""
    used: float
    """Unix time in seconds when a worker last began to load it."""


def given_up(cached: Iterable[Cached], now: float, keep_s: float, most_bytes: int) -> list[Cached]:
    """Those that were not used for `keep_s` seconds, and of the others the longest unused above `most_bytes` bytes.

    All count, also those that workers hold; who removes finds out which these are, and leaves them.
    """
    room = most_bytes
    gone = []
    for one in sorted(cached, key=lambda one: one.used, reverse=True):
        room -= one.size
        if now - one.used > keep_s or room < 0:
            gone.append(one)
    return gone
