"""Which subchannel gets the next request: immutable snapshots that never wait. Decisions only.

The balancer publishes a new picker whenever the set of ready subchannels changes (as grpc-go's balancers do). Pickers
bind a request when it arrives; they are here for comparison with late binding, and for requests that are streams of
answers. The power of two random choices is Mitzenmacher's (1996).
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

    def predicted(self, now: float) -> float:
        """When one more row would be done."""


S = TypeVar("S", bound=Loadable)


class Picker(Protocol[S]):
    """An immutable chooser over the subchannels that were ready when it was made."""

    def pick(self, tried: Sequence[S], now: float) -> S | None:
        """One of them, one that was not tried if there is one; None if there are none at all."""


class RoundRobin(Generic[S]):
    """Each in its turn."""

    def __init__(self, subchannels: Sequence[S], random: Random) -> None:
        self._subchannels = tuple(subchannels)
        # A random start, so that many gateways do not begin with the same worker.
        self._turns = count(random.randrange(len(self._subchannels)) if self._subchannels else 0)

    def pick(self, tried: Sequence[S], now: float) -> S | None:
        """The next one."""
        fresh = _fresh(self._subchannels, tried)
        return fresh[next(self._turns) % len(fresh)] if fresh else None


class PowerOfTwoChoices(Generic[S]):
    """The less busy of two at random."""

    def __init__(self, subchannels: Sequence[S], random: Random) -> None:
        self._subchannels = tuple(subchannels)
        self._random = random

    def pick(self, tried: Sequence[S], now: float) -> S | None:
        """One of two."""
        fresh = _fresh(self._subchannels, tried)
        if len(fresh) < 2:
            return fresh[0] if fresh else None
        one, other = _two(len(fresh), self._random)
        return min(fresh[one], fresh[other], key=lambda subchannel: subchannel.in_flight)


class LeastPredictedCompletion(Generic[S]):
    """Who would be done with it first, by what workers say with every answer and what was sent since."""

    def __init__(self, subchannels: Sequence[S], random: Random) -> None:
        self._subchannels = tuple(subchannels)

    def pick(self, tried: Sequence[S], now: float) -> S | None:
        """The soonest."""
        fresh = _fresh(self._subchannels, tried)
        return min(fresh, key=lambda subchannel: subchannel.predicted(now)) if fresh else None


def _two(count: int, random: Random) -> tuple[int, int]:
    """Two different numbers below `count`; `Random.sample` takes ten times as long."""
    one, other = int(random.random() * count), int(random.random() * (count - 1))
    return one, other + (other >= one)


def _fresh(subchannels: Sequence[S], tried: Sequence[S]) -> Sequence[S]:
    if not tried:
        return subchannels
    return [s for s in subchannels if s not in tried] or subchannels


POLICIES = {
    "late_binding": PowerOfTwoChoices,  # for generators, which do not wait in the lane
    "round_robin": RoundRobin,
    "power_of_two_choices": PowerOfTwoChoices,
    "least_predicted_completion": LeastPredictedCompletion,
}
"""By the names that the configuration uses."""
