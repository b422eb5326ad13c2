"""Whether a message should wait for the answer to the one before. Decisions only.

A message costs as much as what a dozen requests in it do, and where many are asked each moment brings another one. So
under load no second message follows one whose answer will be here in a moment: what comes meanwhile collects (Nagle's
idea, RFC 896). Where little is said, or the answer takes long, nothing waits.
"""

from __future__ import annotations

from collections import deque
from math import inf

BRIEF = 0.001
"""Seconds. A worker whose full batch takes longer is kept supplied instead."""
_COUNT, _WITHIN = 8, 0.02
"""So many messages within so many seconds are many."""
_MOST = 0.005
"""Seconds that a message waits at most."""


class Pace:
    """Of one stream of messages to a worker. `now` is in the event loop's time."""

    __slots__ = ("_left", "_unanswered", "answer_at")

    def __init__(self) -> None:
        self.answer_at = -inf
        """When what the worker has should be answered; long ago: it is not worth waiting for."""
        self._left = deque([-inf] * _COUNT, _COUNT)
        self._unanswered = False

    def left(self, now: float) -> None:
        """A message has left."""
        self._left.append(now)
        self._unanswered = True

    def answered(self) -> None:
        """An answer has come."""
        self._unanswered = False

    def hold(self, now: float) -> float:
        """Seconds for which the next message should go on collecting, unless an answer comes before; 0: none."""
        if not self._unanswered or now - self._left[0] > _WITHIN:
            return 0.0
        return max(0.0, min(self.answer_at - now, _MOST))
