"""Which subchannel gets the next request: immutable snapshots that never wait. Decisions only.

The balancer publishes a new picker whenever the set of ready subchannels changes (as grpc-go's balancers do). Two
policies are here; the power of two random choices is Mitzenmacher's (1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Generic, Protocol, TypeVar


class Loadable(Protocol):
    """What a picker must know of a subchannel."""

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""


S = TypeVar("S", bound=Loadable)


class Picker(Protocol[S]):
    """An immutable chooser over the subchannels that were ready when it was made."""

    def pick(self, tried: Sequence[S]) -> S | None:
        """One of them, one that was not tried if there is one; None if there are none at all."""


class RoundRobin(Generic[S]):
    """Each in its turn."""

    def __init__(self, subchannels: Sequence[S], random: Random) -> None:
        self._subchannels = tuple(subchannels)
        # A random start, so that many gateways do not begin with the same worker.
        self._turns = count(random.randrange(len(self._subchannels)) if self._subchannels else 0)

    def pick(self, tried: Sequence[S]) -> S | None:
        """The next one."""
        fresh = _fresh(self._subchannels, tried)
        return fresh[next(self._turns) % len(fresh)] if fresh else None


class PowerOfTwoChoices(Generic[S]):
    """The less busy of two at random."""

    def __init__(self, subchannels: Sequence[S], random: Random) -> None:
        self._subchannels = tuple(subchannels)
        self._random = random

    def pick(self, tried: Sequence[S]) -> S | None:
        """One of two."""
        fresh = _fresh(self._subchannels, tried)
        if len(fresh) < 2:
            return fresh[0] if fresh else None
        one, other = _two(len(fresh), self._random)
        return min(fresh[one], fresh[other], key=lambda subchannel: subchannel.in_flight)


def _two(count: int, random: Random) -> tuple[int, int]:
    """Two different numbers below `count`; `Random.sample` takes ten times as long."""
    one, other = int(random.random() * count), int(random.random() * (count - 1))
    return one, other + (other >= one)


def _fresh(subchannels: Sequence[S], tried: Sequence[S]) -> Sequence[S]:
    if not tried:
        return subchannels
    return [s for s in subchannels if s not in tried] or subchannels


POLICIES = {"round_robin": RoundRobin, "power_of_two_choices": PowerOfTwoChoices}
"""By the names that the configuration uses."""
