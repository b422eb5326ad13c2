"""Which rows of a buffer are taken, and where the next ones go. Decisions only.

A ring, so that rows that arrive one after another lie side by side: a batch of them needs no copy. The map of what is
taken is searched by `bytearray.find`, which looks at thousands of rows in a microsecond.
"""

from __future__ import annotations


class Slots:
    """The rows 0 to capacity - 1, taken and given back in runs."""

    def __init__(self, capacity: int) -> None:
        self._map = bytearray(capacity)
        self._next = 0
        self.taken = 0
        """How many rows are taken."""

    def take(self, rows: int) -> int | None:
        """The first of so many neighbouring rows, after those taken last if there is room; None if there is none."""
        if not self.taken:
            self._next = 0  # whoever is alone uses the same few rows again, which are in the processor's cache
        start = self._find(rows)
        if start < 0:
            return None
        self._map[start : start + rows] = b"\1" * rows
        self._next = start + rows
        self.taken += rows
        return start

    def free(self, start: int, rows: int) -> None:
        """Give rows back."""
        self._map[start : start + rows] = bytes(rows)
        self.taken -= rows

    def make_room(self, rows: int) -> None:
        """A new batch begins to collect: let it begin where so many neighbours are free, so that it need not wrap."""
        start = self._find(rows)
        if start >= 0:
            self._next = start

    def _find(self, rows: int) -> int:
        free = bytes(rows)
        start = self._map.find(free, self._next)
        return start if start >= 0 else self._map.find(free)
