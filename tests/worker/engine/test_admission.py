from __future__ import annotations

import math

import pytest

from penstock import errors
from penstock.worker.engine import BatchPolicy, ServiceTimes
from penstock.worker.engine.admission import refusal
from penstock.worker.engine.closing import Timeline
from penstock.worker.engine.queue import BatchQueue

from .test_queue import Request, waiting

FULL = 1.0
POLICY = BatchPolicy(max_batch_size=4, max_queue_size=8, max_queue_bytes=100)


def refused(
    request: Request, queue: BatchQueue[Request], *batches: float, now: float = 100.0
) -> errors.PenstockError | None:
    """What becomes of a request while these batches, handed over at 100, run; every batch takes a second."""
    times, line = ServiceTimes(), Timeline(asynchronous=True)
    times.learn(1, FULL)
    for seconds in batches:
        line.begin(100.0, seconds)
    return refusal(request, now, POLICY, queue, line, times)


@pytest.mark.parametrize(
    ("request_", "queue", "error"),
    [
        (Request("a"), waiting(), None),
        (Request("a", 99, size=999), waiting(), None),
        (Request("a", 3), waiting(Request("b", 5)), None),
        (Request("a", 4), waiting(Request("b", 5)), errors.QueueFull),
        (Request("a", size=90), waiting(Request("b")), None),
        (Request("a", size=91), waiting(Request("b")), errors.MemoryPressure),
        (Request("a", 4, streams=True), waiting(), None),
        (Request("a", 5, streams=True), waiting(), errors.BatchTooLarge),
    ],
)
def test_rows_and_bytes_that_wait_are_bounded_but_an_empty_queue_takes_anything(
    request_: Request, queue: BatchQueue[Request], error: type[errors.PenstockError] | None
) -> None:
    outcome = refused(request_, queue)
    assert (outcome and type(outcome)) == error


THREE = [Request("b", order=1) for _ in range(3)]


@pytest.mark.parametrize(
    ("queued", "batches", "deadline", "excess"),
    [
        ([], [], 100.001, None),
        ([], [], 100.0, "expired"),
        ([], [], 99.0, "expired"),
        ([], [FULL], 102.1, None),
        ([], [FULL], 101.5, 0.501),
        ([], [FULL, FULL], 102.5, 0.501),
        (THREE, [], 101.1, None),
        (THREE, [], 100.5, 0.501),
        ([*THREE, *THREE], [], 102.1, None),
        ([*THREE, *THREE], [], 101.5, 0.501),
        ([*THREE, *THREE], [FULL], 102.5, 0.501),
        ([*THREE, *THREE], [FULL], math.inf, None),
    ],
)
def test_who_could_not_be_answered_in_time_is_told_at_once_and_how_much_was_missing(
    queued: list[Request], batches: list[float], deadline: float, excess: float | str | None
) -> None:
    request = Request("a", order=2, deadline=deadline)
    queue = waiting(*(Request(one.name, order=one.order) for one in queued))
    outcome = refused(request, queue, *batches)
    if isinstance(excess, float):
        assert isinstance(outcome, errors.PredictedLate)
        assert outcome.retry_after == pytest.approx(excess)
    else:
        assert (outcome and type(outcome)) == (errors.ExpiredInQueue if excess else None)


def test_what_is_served_later_does_not_count() -> None:
    queue = waiting(*(Request("b", order=9) for _ in range(6)))
    assert refused(Request("a", order=2, deadline=102.1), queue, FULL) is None


def test_what_is_answered_as_it_runs_need_only_begin_in_time() -> None:
    request = Request("a", deadline=101.1, streams=True)
    assert refused(request, waiting(), FULL) is None
    assert isinstance(refused(request, waiting(), FULL, FULL), errors.PredictedLate)
