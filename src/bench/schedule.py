"""When requests arrive in an open loop: drawn in advance, so that a slow server cannot make the load lighter."""

from __future__ import annotations

from itertools import accumulate, takewhile
from random import Random


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times in [0, seconds), in order; the same for the same seed.

    Args:
        rate: arrivals per second in the mean.
        seconds: how long.
        seed: of the random gaps.
    """
    random = Random(seed)
    gaps = iter(lambda: random.expovariate(rate), None)
    return list(takewhile(lambda time: time < seconds, accumulate(gaps)))
