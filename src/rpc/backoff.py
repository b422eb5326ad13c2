"""How long to wait before trying again. Decisions only."""

from __future__ import annotations

from random import Random

FIRST_S, MOST_S = 0.2, 10.0


class Backoff:
    """Waits with full jitter, each up to twice as long as the one before it could be, until `reset`."""

    def __init__(self, random: Random, first_s: float = FIRST_S, most_s: float = MOST_S) -> None:
        self._random = random
        self._first_s = first_s
        self.most_s = most_s
        self._bound_s = first_s

    def next(self) -> float:
        """Seconds to wait now."""
        bound_s, self._bound_s = self._bound_s, min(2 * self._bound_s, self.most_s)
        return self._random.uniform(0.0, bound_s)

    def reset(self) -> None:
        """It went well: begin anew."""
        self._bound_s = self._first_s
