"""May this request be tried again, elsewhere, and when. Decisions only.

Retries are ours and not grpc's: C-core silently does not retry messages above 256 KiB, and retries what we must not.
The budget (Finagle's and Linkerd's idea) keeps retries from multiplying a load that is too much already.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..errors import LeaseFenced, PenstockError, QueueFull, WorkerDraining, WorkerLost

MAX_ATTEMPTS = 3
MAX_STARTED = 2
"""Attempts that may have begun to run: a request that kills workers must not kill them all."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """What has been tried for one request."""

    count: int = 0
    started: int = 0

    def after(self, error: PenstockError) -> Attempts:
        """Count one more, which ended with `error`."""
        return Attempts(self.count + 1, self.started + isinstance(error, WorkerLost))


def may_retry(error: PenstockError, attempts: Attempts, others: int) -> bool:
    """Whether another attempt makes sense after this one failed.

    Args:
        error: how the last attempt ended.
        attempts: including the last one.
        others: ready workers that were not tried yet.
    """
    if attempts.count >= MAX_ATTEMPTS or attempts.started >= MAX_STARTED:
        return False
    if isinstance(error, QueueFull):
        return others > 0
    return isinstance(error, (WorkerDraining, LeaseFenced, WorkerLost))


def costs_budget(error: PenstockError) -> bool:
    """A worker that refuses because it ends does not say that there is too much load; the rest might."""
    return not isinstance(error, (WorkerDraining, LeaseFenced))


class RetryBudget:
    """For one model: retries may be 10 % of the requests of the last 10 s, and 3 a second besides."""

    RATIO, WINDOW, PER_SECOND = 0.1, 10.0, 3.0

    def __init__(self) -> None:
        self._slots: deque[list[float]] = deque()  # [second, requests, retries]

    def on_request(self, now: float) -> None:
        """A request arrived."""
        self._slot(now)[1] += 1

    def take(self, now: float) -> bool:
        """Spend one retry, if there is one."""
        slot = self._slot(now)
        # Whole seconds are counted: fewer for the requests than for the retries, so that the bound always holds.
        requests = sum(s[1] for s in self._slots if s[0] > slot[0] - self.WINDOW)
        retries = sum(s[2] for s in self._slots)
        if retries + 1 > self.RATIO * requests + self.PER_SECOND * self.WINDOW:
            return False
        slot[2] += 1
        return True

    def _slot(self, now: float) -> list[float]:
        second = float(int(now))
        while self._slots and self._slots[0][0] < second - self.WINDOW:
            self._slots.popleft()
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append([second, 0, 0])
        return self._slots[-1]
