from __future__ import annotations

import math
from dataclasses import replace

import pytest

from penstock.bench.samples import Samples
from penstock.bench.search import Bisection, held
from penstock.bench.statistics import summarise


@pytest.mark.parametrize("limit", [52.0, 60.0, 77.7, 99.0])
def test_the_answer_is_the_greatest_rate_tried_that_was_held(limit: float) -> None:
    search = Bisection(50, 105, tolerance=1)
    tries = 0
    while (rate := search.next()) is not None:
        search.note(rate, rate <= limit)
        tries += 1
    assert limit - 2 < search.best <= limit
    assert tries == math.ceil(math.log2(55))


def test_a_server_that_holds_nothing_reaches_nothing() -> None:
    search = Bisection(50, 100, tolerance=1)
    while (rate := search.next()) is not None:
        search.note(rate, False)
    assert search.best == 0


@pytest.mark.parametrize(("low", "high", "tolerance"), [(5, 5, 1), (6, 5, 1), (-1, 5, 1), (1, 5, 0)])
def test_an_empty_interval_is_refused(low: float, high: float, tolerance: float) -> None:
    with pytest.raises(ValueError, match="no interval"):
        Bisection(low, high, tolerance)


def test_a_rate_is_held_if_99_of_100_are_on_time() -> None:
    due = [step / 100 for step in range(100)]
    took = [0.01] * 99 + [0.2]
    summary = summarise(Samples(0, 1, due, [0] * 100, took, [0] * 100), limit=0.05)
    assert held(summary)
    assert not held(summarise(Samples(0, 1, due, [0] * 100, [0.2, *took[1:]], [0] * 100), limit=0.05))
    assert not held(replace(summary, void="the generator was late"))
