"""Why a lane does not answer, in words; and what is known of a version that has no worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import (
    DeadlineExceeded,
    ExpiredInQueue,
    PenstockError,
    PoisonRequest,
    PredictedLate,
    QueueFull,
    WorkerLost,
)

Key = tuple[str, int]
"""Model and version."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the directory says of a version without a worker."""

    is_expected: Callable[[Key], bool]
    """Whether a worker may appear in a moment."""
    why: Callable[[Key], PenstockError]
    """What to tell callers if none does."""
    is_on_demand: Callable[[Key], bool] = lambda key: False
    """Whether it is loaded because requests ask for it; they wait as long as they can."""
    ask_for: Callable[[Key], None] = lambda key: None
    """Have it loaded. Returns at once."""


class Refusals:
    """The errors of one version."""

    def __init__(self, key: Key) -> None:
        self.facts = {"model": key[0], "version": str(key[1])}
        self._what = f"version {key[1]} of model {key[0]!r}"

    def full(self, waiting: int) -> QueueFull:
        """As many wait as may."""
        text = f"{waiting} requests wait for {self._what}, and as many may wait"
        return QueueFull(text, metadata=self.facts)

    def late(self, ahead: int, excess: float) -> PredictedLate:
        """The answer would come so many seconds too late."""
        text = f"{ahead} rows wait for {self._what}: the answer would be about {excess * 1000:.0f} ms late"
        return PredictedLate(text, retry_after=max(excess, 0.001), metadata=self.facts)

    def expired(self) -> ExpiredInQueue:
        """It waited for too long."""
        text = f"the time was over before {self._what} could run the request; it was not run"
        return ExpiredInQueue(text, metadata=self.facts)

    def over(self) -> DeadlineExceeded:
        """There was no time left when a worker was to be asked."""
        return DeadlineExceeded("the deadline passed before a worker was asked", metadata=self.facts)

    def poison(self) -> PoisonRequest:
        """Two workers died of it."""
        text = f"workers of {self._what} died while they ran this request; it is not run again for ten minutes"
        return PoisonRequest(text, metadata=self.facts)

    def lost(self) -> WorkerLost:
        """A worker has gone while it had it."""
        text = "the connection to the worker broke while it held the request"
        return WorkerLost(text, metadata=self.facts)
