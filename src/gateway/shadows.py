"""Asks shadows: after the caller has its answer, behind everything else, and only as much as nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..errors import DeadlineExceeded, PenstockError, ResourceExhausted
from .comparer import MAX_BYTES as MAX_ANSWER
from .figures import Difference, Figures
from .lane import Lane
from .peek import rows
from .question import Pairs, Question
from .refusals import Key
from .retry import MAX_ATTEMPTS, Attempts
from .splitting import Rules
from .watched import Watched
from .wire import fields

MAX_IN_FLIGHT, MAX_BYTES = 64, 32 * 1024 * 1024
"""Mirrored requests, and bytes of requests and answers that are held for them."""
MAX_WAITING = 8
"""Requests that wait for the shadow's version: it is busy then, and gets none."""
TIMEOUT = 10.0
"""Seconds that a mirrored request has: with the lowest priority it then comes after all that callers ask meanwhile."""
_LOWEST = -3


class Compares(Protocol):
    """What compares two answers."""

    def offer(self, one: bytes, other: bytes, told: Callable[[Difference | None], None]) -> bool:
        """Compare them some time; False: there is no room."""


class Shadows:
    """The mirrored requests of a gateway. Belongs to the event loop.

    Args:
        lane: where a version's requests wait.
        figures: count what comes of it.
        comparer: compares answers whose bytes differ.
        is_single: whether a version cannot be batched.
        is_busy: whether the gateway has enough to do without.
    """

    def __init__(
        self,
        lane: Callable[[Key], Lane],
        figures: Figures,
        comparer: Compares,
        is_single: Callable[[Key], bool],
        is_busy: Callable[[], bool],
    ) -> None:
        self._lane = lane
        self._figures = figures
        self._comparer = comparer
        self._is_single = is_single
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self.in_flight = 0
        self.bytes = 0

    def mirror(self, answered: Watched, response: bytes) -> None:
        """Ask the shadow what a caller has just been answered."""
        rules = answered.rules
        assert rules.mirror is not None
        key = rules.name, rules.mirror.version
        size = len(answered.request) + len(response)
        if not (self._has_room(size) and rules.mirror.version in rules.available):
            self._figures.pair(rules, answered.key[1]).dropped += 1
            return
        lane = self._lane(key)
        if lane.waiting >= MAX_WAITING:
            self._figures.pair(rules, answered.key[1]).dropped += 1
            return
        asked = _Mirrored(answered, response, self._loop.time(), self._ended)
        if not self._is_single(key):
            asked.rows = rows(asked.request)
        self.in_flight += 1
        self.bytes += size
        try:
            lane.submit(asked)
        except PenstockError as error:
            asked.failed(error)

    def _has_room(self, size: int) -> bool:
        return not self._is_busy() and self.in_flight < MAX_IN_FLIGHT and self.bytes + size <= MAX_BYTES

    def _ended(self, asked: _Mirrored, response: bytes | PenstockError) -> None:
        """The shadow has answered, or has not."""
        self.in_flight -= 1
        self.bytes -= len(asked.request) + len(asked.response)
        counts = self._figures.pair(asked.rules, asked.version)
        if isinstance(response, (ResourceExhausted, DeadlineExceeded)):
            counts.dropped += 1
            return
        counts.mirrored += 1
        if isinstance(response, PenstockError):
            counts.failed += 1
        else:
            counts.answered(asked.seconds, self._loop.time() - asked.arrived)
            self._compare(asked.rules, asked.version, outputs(asked.response), outputs(response))

    def _compare(self, rules: Rules, version: int, one: bytes, other: bytes) -> None:
        mirror = rules.mirror
        assert mirror is not None

        def told(difference: Difference | None) -> None:
            counts = self._figures.pair(rules, version)  # not those of before: they may have been reported
            if difference is None:
                counts.uncompared += 1
            else:
                counts.differ(difference, mirror.tolerance)

        if one == other:
            self._figures.pair(rules, version).same += 1
        elif max(len(one), len(other)) > MAX_ANSWER or not self._comparer.offer(one, other, told):
            told(None)


class _Mirrored(Question):
    """A request that a shadow is asked. It is never tried again: that would spend what callers may need."""

    __slots__ = ("ended", "response", "rules", "seconds", "version")

    def __init__(
        self,
        answered: Watched,
        response: bytes,
        now: float,
        ended: Callable[[_Mirrored, bytes | PenstockError], None],
    ) -> None:
        super().__init__(answered.request, now, now + TIMEOUT, _LOWEST, f"{answered.request_id}.shadow")
        self.attempts = Attempts(count=MAX_ATTEMPTS)
        self.rules, self.version = answered.rules, answered.key[1]
        self.seconds = now - answered.arrived
        self.response = response
        self.ended = ended

    def answered(self, response: bytes, trailers: Pairs) -> None:
        """See Question."""
        self.ended(self, response)

    def failed(self, error: PenstockError) -> None:
        """See Question."""
        self.ended(self, error)


def outputs(response: bytes) -> bytes:
    """An answer without what names its version, which is its first field."""
    number, _, end = next(fields(response), (0, 0, 0))
    return response[end:] if number == 1 else response
