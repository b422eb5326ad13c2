"""Requests that were running when a worker died: each runs alone, and a worker has one of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from .question import Question

W = TypeVar("W")


class Suspects(Generic[W]):
    """The suspects of a lane: those that wait, and those that are being tested."""

    def __init__(self) -> None:
        self._waiting: dict[Question, None] = {}
        self._tested: dict[W, Question] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Question]:
        """Those that wait, as they came."""
        return iter(tuple(self._waiting))

    def add(self, question: Question) -> None:
        """Let one wait."""
        self._waiting[question] = None

    def remove(self, question: Question) -> None:
        """It does not wait any longer."""
        self._waiting.pop(question, None)

    @property
    def busy(self) -> tuple[W, ...]:
        """Workers that have one."""
        return tuple(self._tested)

    def test(self, worker: W, question: Question) -> None:
        """A worker is given one."""
        self._waiting.pop(question, None)
        self._tested[worker] = question

    def ended(self, worker: W, question: Question) -> None:
        """A worker does not have this one any longer, whatever became of it."""
        if self._tested.get(worker) is question:
            del self._tested[worker]
