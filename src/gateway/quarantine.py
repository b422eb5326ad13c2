"""Requests that were running when a worker died: run alone the next time, and not at all after a second death.

Decisions only. What has been answered while it ran alone is innocent, and is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from ..errors import (
    DeadlineExceeded,
    LeaseFenced,
    MemoryPressure,
    PenstockError,
    PredictedLate,
    QueueFull,
    WorkerDraining,
)

_CAPACITY = 1024
_SECONDS = 600.0
_DEATHS = 2
_NOT_RUN = (DeadlineExceeded, LeaseFenced, MemoryPressure, PredictedLate, QueueFull, WorkerDraining)
_NOBODY: frozenset[str] = frozenset()


class Quarantine:
    """The fingerprints of one gateway."""

    def __init__(self) -> None:
        # Which workers died, and until when that is remembered; the fingerprint noted last stands last.
        self._deaths: OrderedDict[bytes, tuple[frozenset[str], float]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether there is anybody to look for: a fingerprint costs as much as the request is long."""
        return bool(self._deaths)

    def died(self, worker: str, version: tuple[str, int], request: bytes, now: float) -> int:
        """A worker died while it had this request, perhaps more than once; returns how many have by now."""
        fingerprint = _fingerprint(version, request)
        dead = self._known(fingerprint, now) | {worker}
        self._deaths[fingerprint] = dead, now + _SECONDS
        self._deaths.move_to_end(fingerprint)
        if len(self._deaths) > _CAPACITY:
            self._deaths.popitem(last=False)
        return len(dead)

    def deaths(self, version: tuple[str, int], request: bytes, now: float) -> int:
        """How many workers died while they had this request, of late."""
        return len(self._known(_fingerprint(version, request), now)) if self._deaths else 0

    def survived(self, version: tuple[str, int], request: bytes) -> None:
        """It ran alone, and the worker lives."""
        self._deaths.pop(_fingerprint(version, request), None)

    def _known(self, fingerprint: bytes, now: float) -> frozenset[str]:
        dead, until = self._deaths.get(fingerprint, (_NOBODY, 0.0))
        if dead and until <= now:
            del self._deaths[fingerprint]
            return _NOBODY
        return dead


def is_poison(deaths: int) -> bool:
    """Whether a request is not run any more after so many deaths."""
    return deaths >= _DEATHS


def is_verdict(error: PenstockError) -> bool:
    """Whether a worker that fails with this has run the request and lives. What it refused is as suspect as before."""
    return not isinstance(error, _NOT_RUN)


def _fingerprint(version: tuple[str, int], request: bytes) -> bytes:
    return sha256(f"{version[0]}/{version[1]}\n".encode() + request).digest()
