from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.late_binding import Forecast
from penstock.gateway.openings import Openings


@dataclass(eq=False)
class Worker:
    name: str
    forecast: Forecast = field(default_factory=Forecast)


def worker(name: str, free: float = 0.0, credit: int = 16, waiting: int = 0, full: float = 0.026) -> Worker:
    made = Worker(name)
    made.forecast.batch, made.forecast.credit = 16, credit
    made.forecast.reported(0.0, free, full - 0.015, full, waiting)
    return made


def test_the_soonest_of_those_that_are_open_comes_first() -> None:
    slow, quick = worker("slow", full=0.052), worker("quick")
    assert Openings([slow, quick]).best(0.0) is quick


def test_a_busy_worker_opens_shortly_before_it_is_free() -> None:
    busy, busier = worker("busy", 0.020), worker("busier", 0.025)
    openings = Openings([busy, busier])
    assert openings.best(0.010) is None
    assert openings.opens_next() == pytest.approx(0.015)
    assert openings.best(0.0151) is busy
    assert openings.idle == 1


def test_without_credit_nothing_is_sent_however_idle() -> None:
    dry, busy = worker("dry", credit=0), worker("busy", 0.020)
    openings = Openings([dry, busy])
    assert openings.best(0.0) is None
    dry.forecast.credit = 5
    openings.changed(dry, 0.0)
    assert openings.best(0.0) is dry
    assert openings.room(dry) == 5


def test_a_batch_that_was_begun_is_filled_before_an_idle_worker_is_taken() -> None:
    begun, idle = worker("begun", 0.002, waiting=3), worker("idle")
    openings = Openings([begun, idle], -0.0005)
    assert openings.best(-0.0005) is begun
    assert openings.room(begun) == 13
    assert openings.best(0.001) is idle  # the begun one is closed now


def test_who_was_tried_is_avoided_while_another_is_open() -> None:
    first, second = worker("first"), worker("second", full=0.040)
    openings = Openings([first, second])
    assert openings.best(0.0, (first,)) is second
    assert openings.best(0.0, (first, second)) is first


def test_a_worker_that_is_alone_is_open_as_long_as_it_has_credit() -> None:
    alone = worker("alone", 0.020, credit=1)
    openings = Openings([alone])
    assert openings.best(0.0) is alone
    alone.forecast.sent(3, inf, 0.0)
    assert openings.best(0.0) is None


def test_those_that_are_quick_are_kept_supplied() -> None:
    one, other = worker("one", 0.004, full=0.005), worker("other", 0.003, full=0.005)
    openings = Openings([one, other])
    assert openings.best(0.0) is other
    assert openings.room(other) == 16


def test_when_the_next_will_be_free() -> None:
    assert Openings([worker("a", 0.020), worker("b", 0.010, credit=0)]).next_free(0.0) == pytest.approx(0.010)
    assert Openings([worker("a", 0.020)]).next_free(0.0) == pytest.approx(0.020)
    assert Openings([worker("a", 0.020), worker("b")]).next_free(0.0) == 0.0


@given(st.integers(2, 6), st.randoms(use_true_random=False))
def test_whatever_happens_only_workers_with_credit_and_room_are_chosen(count: int, random: Random) -> None:
    workers = [worker(str(n), random.random() / 20, random.randrange(20)) for n in range(count)]
    openings = Openings(workers)
    now = 0.0
    for _ in range(60):
        now += random.random() / 200
        chosen = random.choice(workers)
        if random.random() < 0.3:
            chosen.forecast.credit += random.randrange(8)
            chosen.forecast.reported(now, random.random() / 30, 0.011, 0.026, random.randrange(5))
            openings.changed(chosen, now)
        best = openings.best(now)
        assert 0 <= openings.idle <= count
        if best is not None:
            assert best.forecast.credit > 0
            assert openings.room(best) > 0
            best.forecast.sent(1 + random.randrange(3), now + 0.05, now)
            openings.changed(best, now)
