"""What waits, the soonest first. Decisions only; the same in the gateway and in the worker.

A sorted list and not a heap, so that what is cancelled leaves at once and a place in the queue can be asked for. Moving
the list's pointers costs less than a microsecond at the few thousand that ever wait.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import count
from math import inf
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the queue must know of an item. Neither may change while it waits."""

    @property
    def order(self) -> float:
        """Smaller leaves sooner."""

    @property
    def rows(self) -> int:
        """Rows that it adds to a batch, at least 1."""


W = TypeVar("W", bound=Waiting)


class DeadlineQueue(Generic[W]):
    """Items by their order; those of equal order as they came."""

    def __init__(self) -> None:
        # The soonest stands last, where a list is cheapest to take from; a later ticket is therefore a smaller one.
        self._keys: list[tuple[float, int]] = []
        self._items: dict[tuple[float, int], W] = {}
        self._key_of: dict[int, tuple[float, int]] = {}
        self._tickets = count()
        self.rows = 0
        """Rows that wait."""

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[W]:
        """The soonest first. The queue must not change meanwhile."""
        return (self._items[key] for key in reversed(self._keys))

    def add(self, item: W) -> None:
        """Let an item wait. It must not be waiting already."""
        key = (-item.order, -next(self._tickets))
        insort(self._keys, key)
        self._items[key] = item
        self._key_of[id(item)] = key
        self.rows += item.rows

    def remove(self, item: W) -> bool:
        """Forget an item; False if it has left already."""
        key = self._key_of.pop(id(item), None)
        if key is None:
            return False
        del self._keys[bisect_left(self._keys, key)]
        del self._items[key]
        self.rows -= item.rows
        return True

    def first(self) -> W | None:
        """The soonest, which stays; None if nothing waits."""
        return self._items[self._keys[-1]] if self._keys else None

    def pop(self) -> W:
        """The soonest, which leaves.

        Raises:
            IndexError: nothing waits.
        """
        item = self._items.pop(self._keys.pop())
        del self._key_of[id(item)]
        self.rows -= item.rows
        return item

    def rows_ahead(self, order: float) -> int:
        """How many rows leave before a new item of that order: exact in items, with their mean number of rows."""
        if not self._keys:
            return 0
        sooner = len(self._keys) - bisect_left(self._keys, (-order, -inf))
        return round(sooner * self.rows / len(self._keys))
