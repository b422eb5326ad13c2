"""Which of the requests that wait run together where shorter ones are filled up: those of similar length.

Decisions only. Taken as they come, batches of 32 texts are half filled in; chosen by length from a window of four
batches, a sixth. Nothing waits longer for it than it can: the request whose turn it is runs whatever its length, and so
do those that have no time for another batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from .padding import Layout, Lengths, Shaped

_TRIALS = 16
"""Places where the sorted requests may be cut: more of them fill in little less and take longer to look at."""


class Waiting(Protocol):
    """What must be known of a request."""

    @property
    def rows(self) -> int:
        """Rows that it adds to a batch."""

    @property
    def inputs(self) -> Sequence[Shaped]:
        """Its inputs."""

    @property
    def deadline(self) -> float:
        """When its answer is of no use any longer."""


W = TypeVar("W", bound=Waiting)


class _Item(NamedTuple):
    """One of those that wait. A tuple, since hundreds are made for each batch."""

    elements: int
    """In one of its rows."""
    place: int
    rows: int
    lengths: Lengths
    """With its bucket's, if there are buckets: what they take cannot be helped here."""


class ByLength:
    """The engine's joiner for a model whose requests are filled up."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._most = layout.padding.max_pad_fraction or 1.0

    def __call__(self, waiting: Sequence[W], rows: int, soon: float) -> Sequence[W]:
        """Choose.

        Args:
            waiting: of one group, the soonest first; at least one.
            rows: the most that run together.
            soon: what has an earlier deadline than this cannot wait for the batch after this one.

        Returns:
            Some of `waiting`: the first, those that cannot wait as far as `max_pad_fraction` allows, and of the others
            as many as there is room for, chosen so that little is filled in.
        """
        items = [self._item(place, request) for place, request in enumerate(waiting)]
        batch = items[:1]
        for item, request in zip(items[1:], waiting[1:], strict=True):
            if request.deadline < soon and self._fits([*batch, item], rows):
                batch.append(item)
        taken = {item.place for item in batch}
        others = sorted(item for item in items if item.place not in taken)
        return [waiting[item.place] for item in self._fill(batch, others, rows)]

    def _item(self, place: int, request: Waiting) -> _Item:
        lengths = self._layout.rounded(self._layout.lengths(request.inputs))
        return _Item(self._layout.elements(lengths), place, request.rows, lengths)

    def _fits(self, batch: Sequence[_Item], rows: int) -> bool:
        return _rows(batch) <= rows and self._filled_in(batch) <= self._most

    def _filled_in(self, batch: Sequence[_Item]) -> float:
        """As a share of all elements."""
        longest = self._layout.longest([lengths for _, _, _, lengths in batch])
        every = self._layout.elements(longest) * _rows(batch)
        return 1 - sum([elements * rows for elements, _, rows, _ in batch]) / every if every else 0.0

    def _fill(self, batch: list[_Item], others: Sequence[_Item], rows: int) -> list[_Item]:
        """The best of the batches that end at different lengths: the fullest, and of these the least filled in."""
        best, score = batch, (_rows(batch), 0.0)
        for end in range(len(others), 0, -max(1, len(others) // _TRIALS)):
            trial = self._trial(batch, others[:end], rows)
            found = (_rows(trial), -self._filled_in(trial))
            if found > score:
                best, score = trial, found
        return best

    def _trial(self, batch: Sequence[_Item], others: Sequence[_Item], rows: int) -> list[_Item]:
        """The batch with as many of the longest others as there is room for, as far as the bound allows."""
        room = rows - _rows(batch)
        trial = list(batch)
        for item in reversed(others):
            if item.rows <= room:
                trial.append(item)
                room -= item.rows
            if not room:
                break
        if self._most < 1:
            while len(trial) > len(batch) and self._filled_in(trial) > self._most:
                trial.pop()  # the shortest: the others are nearer to the longest
        return trial


def _rows(items: Sequence[_Item]) -> int:
    return sum([rows for _, _, rows, _ in items])
