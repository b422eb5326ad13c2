"""Asks shadows: after the caller has its answer, behind everything else, and only as much as nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..errors import DeadlineExceeded, MalformedRequest, PenstockError, QueueFull, ResourceExhausted
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
_PAUSE, _LATE = 0.005, 0.005
"""Seconds between two looks at what is due, and by how much a look may be late before it counts as having no time."""
_BUSY = QueueFull("the shadow's version is busy, or not there")


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
        self._due: list[tuple[Watched, bytes, float]] = []
        """Callers' requests, their answers, and how long those took."""

    def mirror(self, answered: Watched, response: bytes) -> None:
        """Have the shadow asked what a caller has just been answered, when the event loop has time for it."""
        size = len(answered.request) + len(response)
        if self._is_busy() or self.in_flight >= MAX_IN_FLIGHT or self.bytes + size > MAX_BYTES:
            self._figures.pair(answered.rules, answered.key[1]).dropped += 1
            return
        self.in_flight += 1
        self.bytes += size
        self._due.append((answered, response, self._loop.time() - answered.arrived))
        if len(self._due) == 1:
            self._look_later()

    def _look_later(self) -> None:
        self._loop.call_later(_PAUSE, self._look, self._loop.time() + _PAUSE)

    def _look(self, planned: float) -> None:
        """Ask what is due, unless the event loop is late: then callers need it."""
        if self._loop.time() - planned > _LATE:
            self._look_later()
            return
        due, self._due = self._due, []
        for answered, response, seconds in due:
            self._ask(_Mirrored(answered, response, seconds, self._loop.time(), self._ended))

    def _ask(self, asked: _Mirrored) -> None:
        rules = asked.rules
        assert rules.mirror is not None
        key = rules.name, rules.mirror.version
        lane = self._lane(key)
        if rules.mirror.version not in rules.available or lane.waiting >= MAX_WAITING:
            asked.failed(_BUSY)
            return
        if not self._is_single(key):
            asked.rows = rows(asked.request)
        try:
            lane.submit(asked)
        except PenstockError as error:
            asked.failed(error)

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
            self._compare(asked.rules, asked.version, asked.response, response)

    def _compare(self, rules: Rules, version: int, response: bytes, shadowed: bytes) -> None:
        mirror = rules.mirror
        assert mirror is not None

        def told(difference: Difference | None) -> None:
            counts = self._figures.pair(rules, version)  # not those of before: they may have been reported
            if difference is None:
                counts.uncompared += 1
            else:
                counts.differ(difference, mirror.tolerance)

        if max(len(response), len(shadowed)) > MAX_ANSWER:
            told(None)
            return
        one, other = outputs(response), outputs(shadowed)
        if one == other:
            self._figures.pair(rules, version).same += 1
        elif not self._comparer.offer(one, other, told):
            told(None)


class _Mirrored(Question):
    """A request that a shadow is asked. It is never tried again: that would spend what callers may need."""

    __slots__ = ("ended", "response", "rules", "seconds", "version")

    def __init__(
        self,
        answered: Watched,
        response: bytes,
        seconds: float,
        now: float,
        ended: Callable[[_Mirrored, bytes | PenstockError], None],
    ) -> None:
        super().__init__(answered.request, now, now + TIMEOUT, _LOWEST, f"{answered.request_id}.shadow")
        self.attempts = Attempts(count=MAX_ATTEMPTS)
        self.rules, self.version = answered.rules, answered.key[1]
        self.seconds = seconds
        """That its caller waited."""
        self.response = response
        self.ended = ended

    def answered(self, response: bytes, trailers: Pairs) -> None:
        """See Question."""
        self.ended(self, response)

    def failed(self, error: PenstockError) -> None:
        """See Question."""
        self.ended(self, error)


def outputs(response: bytes) -> bytes:
    """An answer without what names its version, which is its first field. What is no answer stays as it is."""
    try:
        number, _, end = next(fields(response), (0, 0, 0))
    except MalformedRequest:
        return response
    return response[end:] if number == 1 else response
