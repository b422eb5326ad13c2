from __future__ import annotations

from random import Random

from penstock.rpc.backoff import Backoff


class Most(Random):
    """Always the end of a range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_waits_grow_from_a_fifth_of_a_second_to_ten() -> None:
    backoff = Backoff(Most())
    assert [backoff.next() for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    backoff.reset()
    assert backoff.next() == 0.2


def test_waits_are_spread_over_the_whole_range() -> None:
    waits = []
    for seed in range(1000):
        backoff = Backoff(Random(seed))
        backoff.next()
        waits.append(backoff.next())
    assert min(waits) < 0.01
    assert max(waits) > 0.39
