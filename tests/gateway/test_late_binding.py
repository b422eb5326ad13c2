from __future__ import annotations

from math import inf

import pytest

from penstock.gateway.late_binding import Forecast, idle_wait, is_hopeless, is_late, predicted, starts_at

FULL = 0.026


def forecast(free: float = 0.0, waiting: int = 0, now: float = 0.0, full: float = FULL) -> Forecast:
    """A worker of batches of 16, 10 ms + 1 ms a row."""
    made = Forecast()
    made.batch, made.credit = 16, 32
    made.reported(now, free, full - 0.015, full, waiting)
    return made


@pytest.mark.parametrize(
    ("workers", "idle", "share"),
    [(1, 1, 0.0), (2, 2, 0.0), (2, 1, 1 / 2), (4, 4, 0.0), (4, 3, 1 / 12), (4, 2, 1 / 6), (4, 1, 1 / 4), (4, 0, 1 / 4)],
)
def test_the_fewer_are_idle_the_longer_one_waits(workers: int, idle: int, share: float) -> None:
    assert idle_wait(FULL, workers, idle) == pytest.approx(share * FULL)


@pytest.mark.parametrize(
    ("arrived", "deadline", "wait", "seconds", "expected"),
    [
        (10.0, 99.0, 0.013, 0.012, 10.013),
        (9.99, 99.0, 0.013, 0.012, 10.003),
        (9.0, 99.0, 0.013, 0.012, 10.0),  # it has waited long enough
        (10.0, 10.025, 0.013, 0.012, 10.011),  # the deadline is nearer
        (10.0, 10.005, 0.013, 0.012, 10.0),  # too late already: at once
    ],
)
def test_the_wait_ends_before_the_oldest_is_late(
    arrived: float, deadline: float, wait: float, seconds: float, expected: float
) -> None:
    assert starts_at(10.0, arrived, deadline, wait, seconds) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("free", "ahead", "rows", "workers", "expected"),
    [
        (0.0, 0, 1, 1, 0.011),
        (0.0, 3, 1, 1, 0.014),
        (0.020, 0, 1, 1, 0.031),
        (0.020, 15, 1, 1, 0.046),
        (0.020, 16, 1, 1, 0.072),  # a batch of others goes first
        (0.020, 32, 1, 1, 0.098),
        (0.020, 32, 1, 4, 0.059),  # four share them
        (0.0, 0, 16, 1, 0.026),
        (0.0, 0, 40, 1, 0.078),  # it is three batches itself
    ],
)
def test_when_a_request_will_be_done(free: float, ahead: int, rows: int, workers: int, expected: float) -> None:
    assert predicted(0.0, free, ahead, rows, forecast(free), workers) == pytest.approx(expected)


def test_what_a_worker_has_not_said_predicts_nothing() -> None:
    assert predicted(5.0, -inf, 1000, 1, Forecast(), 1) == 5.0


def test_late_leaves_time_for_the_way_back_and_hopeless_leaves_room_for_doubt() -> None:
    assert not is_late(1.0, 1.002)
    assert is_late(1.0, 1.0009)
    assert not is_hopeless(1.010, 1.0, FULL)
    assert is_hopeless(1.014, 1.0, FULL)


def test_rows_that_leave_together_begin_together_on_an_idle_worker() -> None:
    worker = forecast()
    for _ in range(4):
        worker.sent(1, inf, 1.0)
    assert worker.free_at == pytest.approx(1.014)
    assert (worker.forming, worker.credit) == (0, 28)


def test_what_comes_later_forms_the_next_batch_and_begins_when_the_first_is_done() -> None:
    worker = forecast()
    worker.sent(4, inf, 1.0)
    worker.sent(2, inf, 1.005)
    assert worker.forming == 2
    assert worker.completion(1, 1.005) == pytest.approx(1.027)
    worker.advance(1.020)
    assert worker.forming == 0
    assert worker.free_at == pytest.approx(1.026)


def test_a_report_corrects_what_was_reckoned_but_not_what_it_cannot_know() -> None:
    worker = forecast()
    worker.sent(16, inf, 1.0)
    worker.reported(1.0002, 0.0, 0.011, FULL, 0)  # written before the rows arrived
    assert worker.free_at == pytest.approx(1.0262)
    worker.reported(1.010, 0.012, 0.011, FULL, 5)
    assert worker.free_at == pytest.approx(1.022)
    assert worker.forming == 5


def learned(took: float, times: int = 100) -> Forecast:
    """A worker that was idle each time, and needed so long for a batch of four rows that its device takes 14 ms for."""
    worker = forecast()
    for number in range(times):
        at = 10.0 * number
        for question in range(1, 5):
            worker.sent(1, inf, at, question)
        assert worker.first == 1
        worker.answered(at + took)
        worker.reported(at + took, 0.0, 0.011, FULL, 0)
    return worker


def test_what_an_idle_worker_takes_longer_is_learned_and_reckoned_with() -> None:
    worker = learned(0.016)
    assert worker.lag == pytest.approx(0.002, rel=0.01)
    assert worker.completion(1, 5000.0) == pytest.approx(5000.013, abs=1e-4)
    worker.sent(1, inf, 5000.0)
    assert worker.free_at == pytest.approx(5000.013, abs=1e-4)
    worker.reported(5000.001, 0.012, 0.011, FULL, 0)
    assert worker.completion(1, 5000.001) == pytest.approx(5000.024)  # a busy one hides it


@pytest.mark.parametrize(("took", "lag"), [(0.010, 0.0), (0.014, 0.0), (5.0, 0.005)])
def test_no_stall_and_no_faster_batch_spoils_it(took: float, lag: float) -> None:
    assert learned(took).lag == pytest.approx(lag, rel=0.01)


def test_only_what_met_an_idle_worker_tells_the_lag() -> None:
    worker = forecast(0.020)
    worker.sent(1, inf, 0.0, 7)
    assert worker.first == 0


def test_the_longer_the_way_the_longer_a_report_does_not_know_what_was_sent() -> None:
    near, far = forecast(), learned(0.016)
    for worker in (near, far):
        worker.sent(16, inf, 5000.0)
        worker.reported(5000.0015, 0.0, 0.011, FULL, 0)
    assert near.free_at <= 5000.0015
    assert far.free_at > 5000.026


def test_a_worker_that_has_not_said_how_fast_it_is_is_always_open() -> None:
    worker = Forecast()
    worker.sent(3, inf, 1.0)
    worker.sent(3, inf, 2.0)
    worker.advance(3.0)
    assert (worker.forming, worker.opens_at) == (0, -inf)


def test_a_worker_opens_shortly_before_it_is_free_and_a_short_one_is_always_open() -> None:
    assert forecast(0.020).opens_at == pytest.approx(0.015)
    assert forecast(0.9, full=1.0).opens_at == pytest.approx(0.75)
    assert forecast(0.004, full=0.005).opens_at == -inf


@pytest.mark.parametrize(
    ("forming", "now", "tightest", "closed"),
    [
        (0, 0.019, inf, False),
        (3, 0.017, inf, False),
        (3, 0.0185, inf, True),  # the worker has closed it by now
        (16, 0.017, inf, True),
        (3, 0.017, 0.0360, False),
        (3, 0.017, 0.0349, True),  # one more row, and the first would be late
    ],
)
def test_when_nothing_more_should_join(forming: int, now: float, tightest: float, closed: bool) -> None:
    worker = forecast(0.020, forming)
    worker.tightest = tightest
    assert worker.is_closed(now) is closed
