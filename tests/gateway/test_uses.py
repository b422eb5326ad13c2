from __future__ import annotations

from dataclasses import dataclass

from penstock.gateway.refusals import Key
from penstock.gateway.uses import INTERVAL, MAX_USES, Use, Uses

A, B = ("a", 1), ("b", 2)


@dataclass
class Lane:
    key: Key
    used_at: float
    needs_worker: bool = False
    is_busy: bool = False


def told(uses: Uses, now: float, *lanes: Lane) -> list[Use]:
    return uses.due(lanes, now)


def test_a_use_is_told_once_and_a_later_one_again() -> None:
    uses, lane = Uses(), Lane(A, 10.0)
    assert told(uses, 10.5, lane) == [Use(A, 0.5, waiting=False)]
    assert told(uses, 11.5, lane) == []
    lane.used_at = 12.0
    assert told(uses, 12.5, lane) == [Use(A, 0.5, waiting=False)]


def test_it_is_in_use_while_a_worker_has_a_request() -> None:
    uses, lane = Uses(), Lane(A, 10.0, is_busy=True)
    assert [told(uses, now, lane) for now in (20.0, 21.0)] == [[Use(A, 0.0, waiting=False)]] * 2


def test_that_requests_wait_is_told_each_time_until_there_is_a_worker() -> None:
    uses, lane = Uses(), Lane(A, 10.0, needs_worker=True)
    for now in (10.5, 11.5):
        assert told(uses, now, lane, Lane(B, 10.0)) == [
            Use(A, 0.0, waiting=True),
            *([Use(B, 0.5, waiting=False)] if now == 10.5 else []),
        ]
    lane.needs_worker = False
    assert told(uses, 12.5, lane) == [Use(A, 2.5, waiting=False)]


def test_the_first_that_waits_is_told_at_once_and_others_within_a_second_not() -> None:
    uses = Uses()
    assert uses.ask_for(A, 10.0)
    assert not uses.ask_for(A, 10.0 + INTERVAL / 2)
    assert uses.ask_for(B, 10.0)
    assert {use.key for use in uses.asked()} == {A, B}
    assert uses.asked() == []
    assert uses.ask_for(A, 10.0 + INTERVAL)


def test_what_was_to_be_told_at_once_is_told_with_the_rest_if_that_is_sooner() -> None:
    uses = Uses()
    uses.ask_for(A, 10.0)
    assert told(uses, 10.1, Lane(A, 10.0)) == [Use(A, 0.0, waiting=True)]
    assert uses.asked() == []


def test_a_report_has_a_bound_and_the_rest_comes_with_the_next_those_that_wait_first() -> None:
    uses = Uses()
    lanes = [Lane((str(n), 1), 1.0, needs_worker=n % 2 == 1) for n in range(2 * MAX_USES)]
    first = told(uses, 2.0, *lanes)
    assert len(first) == MAX_USES
    assert all(use.waiting for use in first)
    for lane in lanes:
        lane.needs_worker = False
    seen = {use.key for use in (*told(uses, 3.0, *lanes), *told(uses, 4.0, *lanes))}
    assert len(seen) == 2 * MAX_USES
    assert told(uses, 5.0, *lanes) == []


def test_lanes_that_are_gone_are_forgotten() -> None:
    uses = Uses()
    told(uses, 1.0, Lane(A, 1.0))
    uses.ask_for(B, 1.0)
    told(uses, 5.0)
    assert (uses._told, uses._asked_at, uses._asked) == ({}, {}, set())
