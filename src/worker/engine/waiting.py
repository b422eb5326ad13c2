"""What the queue must know of a request, and who may choose among those that wait."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

WINDOW = 4
"""Batches from whose rows a joiner chooses one."""


class Waiting(Protocol):
    """What the queue must know of a request. None of it may change while it waits. Two are equal if they are one."""

    @property
    def rows(self) -> int:
        """Rows that it adds to a batch, at least 1."""

    @property
    def order(self) -> float:
        """Smaller leaves sooner."""

    @property
    def key(self) -> Hashable:
        """Only requests of equal keys run together."""

    @property
    def suspect(self) -> bool:
        """It runs in a batch of its own."""

    @property
    def streams(self) -> bool:
        """It is answered as it runs, not at its end."""

    @property
    def deadline(self) -> float:
        """When its answer is of no use any longer."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""


J = TypeVar("J")


class Joiner(Protocol[J]):
    """Chooses which of the waiting requests make a batch: those that fit together best."""

    def __call__(self, waiting: Sequence[J], rows: int, soon: float) -> Sequence[J]:
        """Choose.

        Args:
            waiting: of one key, the soonest first; at most 4 * `rows` rows together, at least one request. Each of them
                could be answered in time if it ran now.
            rows: the most that run together.
            soon: what has an earlier deadline than this cannot wait for the batch after this one.

        Returns:
            Some of `waiting`, in any order, of at most `rows` rows together. The first of `waiting` must be among them,
            so that nothing waits for ever; those with a deadline before `soon` should.
        """
