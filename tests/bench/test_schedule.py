from __future__ import annotations

from itertools import pairwise

import pytest

from penstock.bench.schedule import poisson


def test_the_same_seed_draws_the_same_arrivals() -> None:
    assert poisson(100, 2, seed=5) == poisson(100, 2, seed=5)
    assert poisson(100, 2, seed=5) != poisson(100, 2, seed=6)


def test_arrivals_come_in_order_and_within_the_time() -> None:
    arrivals = poisson(300, 3, seed=1)
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] < arrivals[-1] < 3


def test_as_many_arrive_as_the_rate_says_and_gaps_scatter_as_they_must() -> None:
    arrivals = poisson(1000, 50, seed=2)
    gaps = [after - before for before, after in pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert len(arrivals) == pytest.approx(50_000, rel=0.02)
    assert variance == pytest.approx(mean**2, rel=0.05)
