from __future__ import annotations

import math
from random import Random

import pytest

from penstock import errors
from penstock.client.retry import Attempts, retry_delay


class Most(Random):
    """Always the greatest of a range."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.parametrize(
    ("error", "attempt", "remaining", "expected"),
    [
        (errors.Draining("x"), 0, math.inf, 0.05),
        (errors.Draining("x"), 1, math.inf, 0.1),
        (errors.Draining("x"), 4, math.inf, 0.8),
        (errors.Draining("x"), 5, math.inf, 1.0),
        (errors.Draining("x"), 5000, math.inf, 1.0),
        (errors.NoLiveWorker("x"), 0, math.inf, 1.05),
        (errors.NoLiveWorker("x", retry_after=0.2), 0, math.inf, 0.25),
        (errors.NoLiveWorker("x"), 0, 1.05, None),
        (errors.Draining("x"), 0, 0.05, None),
        (errors.Draining("x"), 0, 0.0501, 0.05),
        (errors.Draining("x"), 0, -1.0, None),
        (errors.StreamBroken("x"), 0, math.inf, None),
        (errors.QueueFull("x"), 0, math.inf, None),
        (errors.ModelError("x"), 0, math.inf, None),
        (errors.DeadlineExceeded("x"), 0, math.inf, None),
    ],
)
def test_the_wait_before_the_next_attempt(
    error: errors.PenstockError, attempt: int, remaining: float, expected: float | None
) -> None:
    assert retry_delay(error, attempt, remaining, Most()) == pytest.approx(expected)


def test_the_jitter_covers_the_whole_range() -> None:
    delays = [retry_delay(errors.Draining("x"), 3, math.inf, Random(n)) or 0.0 for n in range(1000)]
    assert 0.0 <= min(delays) < 0.02
    assert 0.38 < max(delays) <= 0.4


def test_attempts_end_with_their_number() -> None:
    attempts = Attempts(2, math.inf, Most())
    error = errors.Draining("x")
    assert [attempts.delay(error, 0.0) for _ in range(3)] == [0.05, 0.1, None]


def test_attempts_end_with_their_time() -> None:
    attempts = Attempts(9, 10.0, Most())
    assert attempts.delay(errors.Draining("x"), 9.0) == 0.05
    assert attempts.delay(errors.Draining("x"), 9.95) is None


def test_the_timeout_is_what_is_left() -> None:
    attempts = Attempts(0, 10.0, Random())
    assert (attempts.timeout(4.0), attempts.timeout(11.0)) == (6.0, 0.0)
    assert Attempts(0, math.inf, Random()).timeout(4.0) is None
