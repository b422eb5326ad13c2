"""How long a batch of n rows takes: learned at warm-up, kept fresh by what runs. Decisions only."""

from __future__ import annotations

from bisect import bisect_left

_WEIGHT = 0.2
"""Of a new measurement."""
_MOST = 2.0
"""A measurement counts as this many times what was expected at most: after one stall no caller is refused for it."""


def buckets(most: int) -> list[int]:
    """The sizes that are worth measuring: powers of two up to `most`, those halfway between two of them, and `most`."""
    powers = [1 << bit for bit in range(most.bit_length())]
    sizes = {*powers, *(power * 3 // 2 for power in powers if power > 1), most}
    return sorted(size for size in sizes if size <= most)


class ServiceTimes:
    """Seconds by rows. Between the sizes that have been measured lie straight lines, beyond them nothing changes."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._seconds: list[float] = []

    def learn(self, rows: int, seconds: float) -> None:
        """Say how long a batch of that size takes; what was known of this size is forgotten."""
        at = bisect_left(self._rows, rows)
        if at < len(self._rows) and self._rows[at] == rows:
            self._seconds[at] = seconds
        else:
            self._rows.insert(at, rows)
            self._seconds.insert(at, seconds)

    def note(self, rows: int, seconds: float) -> None:
        """Say how long a batch took: what is known of the sizes next to it moves that way."""
        expected = self.predict(rows)
        if not expected or rows > self._rows[-1]:
            self.learn(rows, seconds)
            return
        change = (min(seconds / expected, _MOST) - 1) * _WEIGHT
        low, high, share = self._between(rows)
        self._seconds[low] *= 1 + change * (1 - share)
        self._seconds[high] *= 1 + change * share

    def predict(self, rows: int) -> float:
        """Seconds; 0 as long as nothing is known."""
        if not self._rows:
            return 0.0
        low, high, share = self._between(rows)
        return self._seconds[low] + share * (self._seconds[high] - self._seconds[low])

    def _between(self, rows: int) -> tuple[int, int, float]:
        """The known sizes on both sides, as places in the lists, and how far it is from the first to the second."""
        high = min(bisect_left(self._rows, rows), len(self._rows) - 1)
        if high == 0 or self._rows[high] <= rows:
            return high, high, 0.0
        low = high - 1
        return low, high, (rows - self._rows[low]) / (self._rows[high] - self._rows[low])
