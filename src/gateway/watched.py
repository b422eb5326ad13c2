"""A question whose end is counted: stands between the lane and the caller's own, where its alias has traffic rules."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PenstockError
from .figures import Outcome, outcome_of, outcome_of_abandoned
from .question import Pairs, Question
from .refusals import Key
from .splitting import Rules


class Watched(Question):
    """Waits and is sent in the place of a caller's question.

    Args:
        asked: the caller's.
        rules: of the alias by which it came.
        version: that was chosen for it.
        ended: told once how it ended, after the caller, with the answer if there was one.
        clock: the event loop's.
    """

    __slots__ = ("asked", "clock", "ended", "key", "rules")

    def __init__(
        self,
        asked: Question,
        rules: Rules,
        version: int,
        ended: Callable[[Watched, Outcome, bytes], None],
        clock: Callable[[], float],
    ) -> None:
        told = asked.request_id, asked.traceparent, asked.timings
        super().__init__(asked.request, asked.arrived, asked.deadline, asked.priority, *told)
        self.asked = asked
        self.rules = rules
        self.key: Key = (rules.name, version)
        self.ended = ended
        self.clock = clock
        asked.holder = self

    def answered(self, response: bytes, trailers: Pairs) -> None:
        """See Question."""
        self._let_go().answered(response, trailers)
        self.ended(self, Outcome.ANSWERED, response)

    def failed(self, error: PenstockError) -> None:
        """See Question."""
        self._let_go().failed(error)
        self.ended(self, outcome_of(error), b"")

    def refused(self, error: BaseException) -> None:
        """It was not let in, which its caller is told by whoever tried."""
        self._let_go()
        self.ended(self, outcome_of(error), b"")

    def abandon(self, question: Question | None = None) -> None:
        """See Question and, for the caller's own, Holder."""
        self._let_go()
        super().abandon()
        self.ended(self, outcome_of_abandoned(self.arrived, self.deadline, self.clock()), b"")

    def _let_go(self) -> Question:
        asked = self.asked
        asked.holder, asked.tried = None, self.tried
        return asked
