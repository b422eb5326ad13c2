from __future__ import annotations

from collections import deque

import pytest

from penstock import errors
from penstock.gateway.retry import Attempts, RetryBudget, costs_budget, may_retry

LOST, DRAINING, FENCED, FULL = errors.WorkerLost, errors.WorkerDraining, errors.LeaseFenced, errors.QueueFull


@pytest.mark.parametrize(
    ("error", "attempts", "others", "expected"),
    [
        (LOST, Attempts(1, 1), 1, True),
        (LOST, Attempts(1, 1), 0, True),  # its successor may be there in a moment
        (LOST, Attempts(2, 2), 5, False),  # it may be the request that kills
        (DRAINING, Attempts(1, 0), 1, True),
        (DRAINING, Attempts(2, 0), 1, True),
        (DRAINING, Attempts(3, 0), 1, False),
        (DRAINING, Attempts(2, 1), 1, True),
        (FENCED, Attempts(1, 0), 0, True),
        (FULL, Attempts(1, 0), 1, True),
        (FULL, Attempts(1, 0), 0, False),
        (FULL, Attempts(3, 0), 4, False),
        (errors.ModelError, Attempts(1, 0), 3, False),
        (errors.InvalidTensor, Attempts(1, 0), 3, False),
        (errors.DeadlineExceeded, Attempts(1, 0), 3, False),
        (errors.ExpiredInQueue, Attempts(1, 0), 3, False),
        (errors.DeviceOutOfMemory, Attempts(1, 0), 3, False),
        (errors.Internal, Attempts(1, 0), 3, False),
        (errors.EmptyResponse, Attempts(1, 0), 3, False),
    ],
)
def test_which_failures_are_tried_again(
    error: type[errors.PenstockError], attempts: Attempts, others: int, expected: bool
) -> None:
    assert may_retry(error("..."), attempts, others) is expected


def test_only_a_lost_worker_may_have_begun() -> None:
    attempts = Attempts().after(LOST("...")).after(DRAINING("...")).after(FULL("..."))
    assert attempts == Attempts(3, 1)


@pytest.mark.parametrize(("error", "costs"), [(LOST, True), (FULL, True), (DRAINING, False), (FENCED, False)])
def test_a_refusal_that_says_nothing_of_load_is_free(error: type[errors.PenstockError], costs: bool) -> None:
    assert costs_budget(error("...")) is costs


@pytest.mark.parametrize("rate", [100, 500, 2000])
def test_when_everything_fails_there_are_at_most_13_percent_more_attempts_in_any_ten_seconds(rate: int) -> None:
    budget = RetryBudget()
    window: deque[tuple[float, int]] = deque()
    requests = attempts = 0
    for number in range(rate * 40):
        now = number / rate
        budget.on_request(now)
        made = 1 + budget.take(now)
        window.append((now, made))
        requests, attempts = requests + 1, attempts + made
        while window[0][0] <= now - 10:
            attempts -= window.popleft()[1]
            requests -= 1
        if now > 10:
            assert attempts / requests <= 1.13 + 1e-9


def test_a_quiet_model_may_retry_three_times_a_second() -> None:
    budget = RetryBudget()
    budget.on_request(0.0)
    assert sum(budget.take(0.5) for _ in range(100)) == 30


def test_spent_retries_come_back_after_eleven_seconds() -> None:
    budget = RetryBudget()
    while budget.take(0.0):
        pass
    assert not budget.take(10.9)
    assert budget.take(11.0)
