"""When a process that has ended by itself is started again, and when it is given up. Decisions only."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

MAX_CRASHES = 5
"""So many within CRASH_WINDOW, or failed loads in a row, and a version is left alone until it is deployed again."""
CRASH_WINDOW = 60.0
"""Seconds."""
MAX_CRASH_WAIT = 30.0
FIRST_LOAD_WAIT, MAX_LOAD_WAIT = 1.0, 60.0
"""Seconds. A load that fails seldom mends itself at once; what it lacks may be there in a minute."""


@dataclass(slots=True)
class Crashes:
    """The recent history of one version's, or one server's, processes. `now` is in monotonic seconds."""

    times: list[float] = field(default_factory=list)
    """When processes ended that had been ready."""
    failed_loads: int = 0
    """In a row."""
    broken: bool = False
    _failed_at: float = -inf

    def note(self, now: float) -> float:
        """A process that had been ready ended; the seconds to wait before the next one is started."""
        self.times = [t for t in self.times if t > now - CRASH_WINDOW] + [now]
        self.broken = len(self.times) >= MAX_CRASHES
        doublings = len(self.times) - 1
        return min(0.25 * 2**doublings, MAX_CRASH_WAIT) if doublings else 0.0

    def note_failed_load(self, now: float, began: float) -> float:
        """A process that began then ended before it was ready; the seconds to wait as above.

        Instances that are loaded at the same time and fail together are one try.
        """
        if began >= self._failed_at:
            self.failed_loads += 1
            self._failed_at = now
        self.broken = self.failed_loads >= MAX_CRASHES
        return min(FIRST_LOAD_WAIT * 4.0 ** (self.failed_loads - 1), MAX_LOAD_WAIT)

    def note_ready(self) -> None:
        """A process is ready: the loads that failed before it do not count any longer."""
        self.failed_loads = 0

    @property
    def tries(self) -> int:
        """How many have failed in a row, whatever way."""
        return self.failed_loads or len(self.times)
