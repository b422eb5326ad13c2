"""When the next batch is closed, and who can still be answered by it. Decisions only: `now` is passed in.

A batch is closed as late as keeps the device busy: until then it can grow, and the oldest that it could not answer in
time are known. It is not closed earlier because it is full, and not made smaller for the sake of the oldest.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ...lanes import RETURN_ALLOWANCE
from .service_time import ServiceTimes

LEAD = 0.0015
"""Seconds from closing a batch to its start on the device. An event loop's timers are late by up to a millisecond."""
TICK = 1e-6
"""Seconds that do not matter; timers may be early by less."""
IN_FLIGHT = 2
"""Batches that the device is given at once: one runs, one follows it without a gap."""

_WORTH_IT = 0.003
"""Seconds. Where the device is this process's CPU, the gap after a shorter batch is cheaper than a smaller batch."""
_SHORT = 0.005
"""Seconds. Who sends needs about as long for one round: full batches up to this long must find the next ones here."""
_MOST_LAG, _WEIGHT = 0.005, 0.1
"""Seconds that one batch can say the lag to be at most, and how much it counts."""
_LEAST_NOTICE = 0.005
_NOTICE = 0.15
"""When what forms is let in, before the device is free: seconds, and as a share of a full batch."""


class Timeline:
    """What the device has been given, and when it will be done with it as far as can be told from here."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        self._flights: deque[float] = deque()
        self._free_at = 0.0
        self._bare_end: float | None = None
        self._lag = 0.0
        """Seconds that an idle device takes longer than the batch itself: to begin, and until its end is heard of.

        One batch after the other hides them, so they belong to no batch's time.
        """

    @property
    def busy(self) -> bool:
        """It has been given a batch."""
        return bool(self._flights)

    def begin(self, now: float, seconds: float) -> None:
        """A batch that should take so long is handed over."""
        if not self._flights:
            self._bare_end = now + seconds
        self._free_at = self.start(now) + seconds
        self._flights.append(seconds)

    def end(self, now: float) -> None:
        """The first batch came back. From here the prediction begins anew: its errors must not add up."""
        self._flights.popleft()
        if self._bare_end is not None:
            self._lag += _WEIGHT * (min(max(now - self._bare_end, 0.0), _MOST_LAG) - self._lag)
            self._bare_end = None
        self._free_at = now + sum(self._flights)

    def start(self, now: float) -> float:
        """From when on to count what a batch takes that is handed over now."""
        return max(now, self._free_at) if self._flights else now + self._lag

    def busy_for(self, now: float) -> float:
        """Seconds until all that it was given is done; 0: it has nothing."""
        return max(0.0, self._free_at - now) if self._flights else 0.0

    def close_at(self, now: float) -> float | None:
        """When to close the next batch, if anything waits; None: not before a batch comes back."""
        if not self._flights:
            return now
        if len(self._flights) == IN_FLIGHT or (not self._asynchronous and self._flights[0] < _WORTH_IT):
            return None
        return max(now, self._free_at - LEAD)

    def grant_at(self, now: float, full: float) -> float:
        """From when on rows for the batch that forms are welcome. What comes sooner might be served sooner elsewhere.

        Args:
            now: the time.
            full: seconds of a full batch.
        """
        if not self._flights or full <= _SHORT:
            return now
        return max(now, self._free_at - max(_LEAST_NOTICE, _NOTICE * full))

    def room(self, now: float, full: float, most: int, waiting: int, running: int) -> int:
        """Rows that are welcome now.

        Args:
            now: the time.
            full: seconds of a full batch.
            most: rows of a full batch.
            waiting: rows that wait.
            running: rows that the device has been given.
        """
        if full <= _SHORT:
            return max(0, (IN_FLIGHT + self._asynchronous) * most - waiting - running)
        if self.grant_at(now, full) > now + TICK:
            return 0
        return max(0, (1 if self._flights else 2) * most - waiting)


@dataclass(frozen=True, slots=True)
class Start:
    """The beginning of a batch, and what follows from it."""

    at: float
    times: ServiceTimes

    def end(self, rows: int) -> float:
        """When its callers have their answers, if it has so many rows."""
        return self.at + self.times.predict(rows) + RETURN_ALLOWANCE

    def end_of(self, ahead: int, rows: int, most: int) -> float:
        """When a request's answer is there.

        Args:
            ahead: rows that are served before it.
            rows: its own; 0: it is answered as it runs.
            most: rows of a full batch.
        """
        batches, rest = divmod(ahead + rows, most)
        own = self.times.predict(rest) if rows and rest else 0.0
        return self.at + batches * self.times.predict(most) + own + RETURN_ALLOWANCE
