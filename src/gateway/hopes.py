"""How long requests wait for a worker where there is none: the gap while a lost one is replaced. Decisions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from math import inf

from .question import Question

MAX_WAIT_FOR_WORKER = 1.0
"""Seconds, and at most a fifth of the time that the caller gave."""
TO_SAY_SO = 0.25
"""Seconds left to tell a caller that the version is still being loaded."""
MAX_FOR_LOAD = 1024
"""Requests that wait for a version that is loaded because of them: they must not take the whole gateway's room."""
_SLACK = 8


def patience(time_left: float, *, on_demand: bool = False) -> float:
    """Seconds that a request waits for a worker; for a version that is loaded because of it, nearly all it has."""
    if on_demand:
        return max(time_left - min(TO_SAY_SO, 0.2 * time_left), 0.0)
    return max(min(MAX_WAIT_FOR_WORKER, 0.2 * time_left), 0.0)


class Hopes:
    """The requests that wait for a worker, by when they give up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Question]] = []
        self._tickets = count()

    def add(self, question: Question, until: float) -> None:
        """Let one hope until then."""
        heappush(self._heap, (until, next(self._tickets), question))

    def given_up(self, now: float) -> Iterator[Question]:
        """Those whose patience has ended."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)[2]

    def next_end(self) -> float:
        """When the next one gives up."""
        return self._heap[0][0] if self._heap else inf

    def trim(self, waiting: int, waits: Callable[[Question], bool]) -> None:
        """Forget those that do not wait any longer, once they are many: some hope for a minute, and are abandoned.

        Args:
            waiting: how many wait.
            waits: whether one does.
        """
        if len(self._heap) <= 2 * waiting + _SLACK:
            return
        first: dict[int, tuple[float, int, Question]] = {}
        for entry in sorted(self._heap):  # which is a heap, too
            if waits(entry[2]):
                first.setdefault(id(entry[2]), entry)
        self._heap = list(first.values())

    def clear(self) -> None:
        """There is a worker."""
        self._heap.clear()
