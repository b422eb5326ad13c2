"""Looks after a worker while it has questions: is it there, and has it perhaps forgotten one?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ..errors import DeadlineExceeded
from .question import Question

_SILENCE = 2.0
"""Seconds without a word after which a worker may be gone, and seconds after its deadline that a question is given."""
_TICK = 0.25


class Watchdog:
    """Runs from the first question on, until there is none.

    Args:
        questions: what the worker has.
        on_silence: called now and then while nothing is heard of it.
    """

    def __init__(self, questions: Mapping[int, Question], on_silence: Callable[[], None]) -> None:
        self.heard = 0.0
        """When the worker last said something, or should have begun to."""
        self.runs = False
        self._questions = questions
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """There is a question."""
        self.runs = True
        self._timer = self._loop.call_later(_TICK, self._look)

    def stop(self) -> None:
        """No timer is left behind."""
        self.runs = False
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        self.runs = False
        for question in [q for q in self._questions.values() if q.deadline + _SILENCE < now]:
            question.abandon()
            question.failed(DeadlineExceeded("the deadline passed before the worker answered"))
        if not self._questions:
            return
        if not self.runs:  # unless one was sent in the place of those
            self.start()
        if now - self.heard > _SILENCE:
            self._on_silence()
