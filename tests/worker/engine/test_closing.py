from __future__ import annotations

import pytest

from penstock.lanes import RETURN_ALLOWANCE
from penstock.worker.engine.closing import LEAD, Start, Timeline
from penstock.worker.engine.service_time import ServiceTimes


def line(*batches: float, asynchronous: bool = True) -> Timeline:
    """With batches that were handed over at 100."""
    made = Timeline(asynchronous=asynchronous)
    for seconds in batches:
        made.begin(100.0, seconds)
    return made


@pytest.mark.parametrize(
    ("asynchronous", "batches", "now", "at"),
    [
        (True, [], 100.0, 100.0),
        (True, [0.026], 100.0, 100.026 - LEAD),
        (True, [0.026], 100.02, 100.026 - LEAD),
        (True, [0.026], 100.025, 100.025),
        (True, [0.026], 100.030, 100.030),
        (True, [0.001], 100.0, 100.0),
        (True, [0.0], 100.0, 100.0),
        (True, [0.026, 0.026], 100.0, None),
        (True, [0.026, 0.026], 100.2, None),
        (False, [], 100.0, 100.0),
        (False, [0.026], 100.0, 100.026 - LEAD),
        (False, [0.001], 100.0, None),
        (False, [0.0], 100.0, None),
        (False, [0.026, 0.026], 100.0, None),
    ],
    ids=[
        "an idle device takes it at once",
        "a busy one shortly before it is free",
        "whenever it is asked",
        "at once if that is soon",
        "or was to be before now",
        "after a short batch at once",
        "also if nothing is known",
        "a third batch has to wait",
        "whatever was predicted",
        "an idle processor takes it at once",
        "a busy one shortly before it is free",
        "unless the gap costs less than the smaller batch",
        "or nothing is known",
        "and never two",
    ],
)
def test_when_a_batch_is_closed(asynchronous: bool, batches: list[float], now: float, at: float | None) -> None:
    assert line(*batches, asynchronous=asynchronous).close_at(now) == (None if at is None else pytest.approx(at))


def test_a_batch_begins_when_all_before_it_are_done() -> None:
    assert line().start(100.0) == 100.0
    assert line(0.02).start(100.005) == pytest.approx(100.02)
    assert line(0.02, 0.03).start(100.005) == pytest.approx(100.05)


def test_every_batch_that_comes_back_corrects_the_prediction() -> None:
    late = line(0.02, 0.03)
    late.end(100.025)
    assert late.start(100.025) == pytest.approx(100.055)
    late.end(100.050)
    assert not late.busy


def test_what_an_idle_device_takes_longer_is_learned_and_a_busy_one_hides_it() -> None:
    made = line()
    for number in range(100):
        at = 200.0 + number
        made.begin(at, 0.020)
        made.begin(at, 0.020)
        made.end(at + 0.021)
        made.end(at + 0.500)  # whatever it was, it was not the way to an idle device
    assert made.start(300.0) == pytest.approx(300.001, abs=1e-5)
    assert made.busy_for(300.0) == 0.0
    made.begin(300.0, 0.020)
    assert made.busy_for(300.0) == pytest.approx(0.021, abs=1e-5)
    assert made.start(300.0) == pytest.approx(300.021, abs=1e-5)


def test_a_batch_begins_at_once_where_the_device_should_have_been_free() -> None:
    assert line(0.02).start(100.5) == 100.5


FULL = 0.050


@pytest.mark.parametrize(
    ("batches", "now", "waiting", "running", "room"),
    [
        ([], 100.0, 0, 0, 32),
        ([], 100.0, 10, 0, 22),
        ([], 100.0, 40, 0, 0),
        ([FULL], 100.0, 0, 16, 0),
        ([FULL], 100.042, 0, 16, 0),
        ([FULL], 100.045, 0, 16, 16),
        ([FULL], 100.045, 6, 16, 10),
        ([FULL], 100.060, 0, 16, 16),
        ([FULL, FULL], 100.049, 0, 32, 0),
        ([FULL, FULL], 100.095, 0, 32, 16),
    ],
)
def test_rows_are_let_in_shortly_before_they_can_run(
    batches: list[float], now: float, waiting: int, running: int, room: int
) -> None:
    assert line(*batches).room(now, FULL, 16, waiting, running) == room


@pytest.mark.parametrize(
    ("asynchronous", "waiting", "running", "room"),
    [(True, 0, 0, 48), (True, 4, 32, 12), (True, 30, 32, 0), (False, 0, 0, 32), (False, 4, 16, 12), (False, 30, 16, 0)],
)
def test_rows_for_short_batches_are_let_in_while_others_run(
    asynchronous: bool, waiting: int, running: int, room: int
) -> None:
    short = line(0.004, asynchronous=asynchronous)
    assert short.room(100.0, 0.004, 16, waiting, running) == room
    assert short.grant_at(100.0, 0.004) == 100.0


@pytest.mark.parametrize(("full", "notice"), [(0.020, 0.005), (0.050, 0.0075), (1.0, 0.15)])
def test_the_notice_is_longer_where_batches_are(full: float, notice: float) -> None:
    assert line(full).grant_at(100.0, full) == pytest.approx(100.0 + full - notice)


def start() -> Start:
    times = ServiceTimes()
    times.learn(1, 0.011)
    times.learn(16, 0.026)
    return Start(100.0, times)


@pytest.mark.parametrize(("rows", "seconds"), [(1, 0.011), (6, 0.016), (16, 0.026)])
def test_callers_have_their_answers_when_the_batch_is_done_and_they_were_told(rows: int, seconds: float) -> None:
    assert start().end(rows) == pytest.approx(100.0 + seconds + RETURN_ALLOWANCE)


@pytest.mark.parametrize(
    ("ahead", "rows", "seconds"),
    [
        (0, 1, 0.011),
        (5, 1, 0.016),
        (15, 1, 0.026),
        (16, 1, 0.026 + 0.011),
        (37, 1, 2 * 0.026 + 0.016),
        (0, 40, 2 * 0.026 + 0.018),
        (8, 40, 3 * 0.026),
        (0, 0, 0.0),
        (15, 0, 0.0),
        (33, 0, 2 * 0.026),
    ],
)
def test_what_is_ahead_runs_first(ahead: int, rows: int, seconds: float) -> None:
    assert start().end_of(ahead, rows, 16) == pytest.approx(100.0 + seconds + RETURN_ALLOWANCE)
